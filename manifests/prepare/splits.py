"""Train, validation and test splits that keep groups together, stay put when rows are added, and never leak.

A group is a lesion, a patient or a near-duplicate cluster. Each group is sent to a split by a hash of its own
name and the seed, so that no other row has a say in it.
"""

from __future__ import annotations

import hashlib
from collections import Counter, defaultdict
from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from pathlib import Path

from manifests.errors import BadInput
from manifests.format.reading import open_manifest
from manifests.storage.base import Storage

PROTECTION = {"train": 0, "validation": 1, "test": 2}
"""A leak is mended in favour of the split that must stay clean for longest."""


def unit_hash(*parts: str | int) -> float:
    """A number in [0, 1) that depends on `parts` alone, the same on every machine."""
    text = "\x1f".join(str(part) for part in parts).encode("utf-8", "surrogatepass")
    return int.from_bytes(hashlib.sha256(text).digest()[:8], "big") / 2**64


def grouped_split(
    groups: Sequence[str],
    classes: Sequence[str],
    validation_fraction: float,
    test_fraction: float,
    seed: int,
    missing: Sequence[str] = ("test", "validation"),
) -> list[str]:
    """A split for every row: rows of one group share it, and every class is spread in the same proportions.

    A group's place is `unit_hash(seed, group)`, cut, within its stratum (the rarest class of its rows), at the
    fractions: adding rows moves no group that was there, unless the new rows join it to another. Only where the
    hash leaves a split without any group of a class is one of its training groups moved there, as long as two
    remain for training; a split that is not `missing`, or whose fraction is 0, gets none.
    Raises BadInput when the fractions leave nothing to train on.
    """
    if validation_fraction + test_fraction >= 1:
        raise BadInput(
            f"validation_fraction {validation_fraction} and test_fraction {test_fraction} leave nothing to train on; "
            "their sum must be under 1"
        )
    fractions = {"test": test_fraction, "validation": validation_fraction}
    wanted = [split for split in missing if fractions[split] > 0]
    strata = group_strata(groups, classes)
    by_stratum: dict[str, list[str]] = defaultdict(list)
    for group, dx in strata.items():
        by_stratum[dx].append(group)
    chosen: dict[str, str] = {}
    for dx in sorted(by_stratum):
        ordered = sorted(by_stratum[dx], key=lambda g: (unit_hash(seed, g), g))
        for group in ordered:
            place = unit_hash(seed, group)
            held_out = "test" if place < test_fraction else "validation"
            chosen[group] = held_out if place < test_fraction + validation_fraction else "train"
        _fill_empty_splits(ordered, chosen, wanted)
    return [chosen[group] for group in groups]


def group_strata(groups: Sequence[str], classes: Sequence[str]) -> dict[str, str]:
    """The stratum of each group: of the classes that its rows have, the one that is rarest over all rows."""
    counts = Counter(classes)
    strata: dict[str, str] = {}
    for group, dx in zip(groups, classes, strict=True):
        known = strata.get(group)
        if known is None or (counts[dx], dx) < (counts[known], known):
            strata[group] = dx
    return strata


def _fill_empty_splits(ordered: Sequence[str], chosen: dict[str, str], wanted: Sequence[str]) -> None:
    """Give a small class at least one group in each held-out split, taken from the training groups."""
    for split in wanted:
        have = Counter(chosen[group] for group in ordered)
        if have[split] == 0 and have["train"] >= 3:
            nearest = next(group for group in ordered if chosen[group] == "train")
            chosen[nearest] = split
    if ordered and not any(chosen[group] == "train" for group in ordered):
        chosen[ordered[-1]] = "train"


def grouped_folds(groups: Sequence[str], classes: Sequence[str], folds: int, seed: int) -> list[int]:
    """A fold in 0..folds-1 for every row, by the hash of its group: k-fold cross-validation without leaks.

    As in `grouped_split`, adding rows moves no group, save where a class has left a fold empty: such a fold gets
    a group of the class's fullest one. Raises BadInput for fewer than 2 folds, or fewer groups than folds.
    """
    strata = group_strata(groups, classes)
    if folds < 2 or len(strata) < folds:
        raise BadInput(f"{folds} folds cannot be made of {len(strata)} groups; ask for 2 to {max(2, len(strata))}")
    chosen = {group: int(unit_hash(seed, "fold", group) * folds) for group in strata}
    by_stratum: dict[str, list[str]] = defaultdict(list)
    for group in sorted(strata, key=lambda g: (unit_hash(seed, "fold", g), g)):
        by_stratum[strata[group]].append(group)
    for members in by_stratum.values():
        have = Counter(chosen[group] for group in members)
        for fold in range(folds):
            fullest = max(range(folds), key=lambda f: (have[f], -f))
            if have[fold] == 0 and have[fullest] >= 2:
                moved = next(group for group in members if chosen[group] == fullest)
                chosen[moved] = fold
                have[fold], have[fullest] = 1, have[fullest] - 1
    return [chosen[group] for group in groups]


def fold_split(fold_of_row: Sequence[int], folds: int, fold: int) -> list[str]:
    """Splits of one round of k-fold: fold `fold` is the test, the next one the validation, the rest training."""
    if not 0 <= fold < folds or folds < 3:
        raise BadInput(f"fold {fold} of {folds}: give a fold from 0 to {folds - 1}, and at least 3 folds")
    names = {fold: "test", (fold + 1) % folds: "validation"}
    return [names.get(number, "train") for number in fold_of_row]


def merged_splits(groups: Sequence[str], splits: Sequence[str]) -> dict[str, str]:
    """The most protected split of each group that official splits spread over several."""
    merged: dict[str, str] = {}
    for group, split in zip(groups, splits, strict=True):
        if group not in merged or PROTECTION[split] > PROTECTION[merged[group]]:
            merged[group] = split
    return merged


def leaks(groups: Sequence[str], splits: Sequence[str]) -> Mapping[str, set[str]]:
    """The groups that stand in more than one split, with those splits; empty for a clean split."""
    found: dict[str, set[str]] = defaultdict(set)
    for group, split in zip(groups, splits, strict=True):
        found[group].add(split)
    return {group: told for group, told in found.items() if len(told) > 1}


@dataclass(frozen=True)
class KeptSplits:
    """splits: by pair id; digest: of the manifest that they were read from."""

    splits: Mapping[str, str]
    digest: str

    @property
    def note(self) -> str:
        """How they came about, for summary and provenance."""
        return f"{len(self.splits)} pairs keep the split that they had in manifest {self.digest[:16]}"


def read_kept_splits(location: str | Path | Storage) -> KeptSplits:
    """The splits of a committed real manifest. Raises BadInput for another one, or none."""
    manifest = open_manifest(location)
    if manifest.kind != "real":
        raise BadInput(f"{manifest.location} holds synthetic pairs; give prepare.keep_splits_of a real manifest.")
    table = manifest.table(["pair_id", "split"])
    return KeptSplits(dict(zip(table["pair_id"].to_pylist(), table["split"].to_pylist(), strict=True)), manifest.digest)


def with_kept_splits(
    pair_ids: Sequence[str],
    groups: Sequence[str],
    splits: Sequence[str | None],
    official: Sequence[str | None],
    kept: Mapping[str, str],
) -> list[str | None]:
    """The split of each row: the kept one of its id, else, in a group that has such ids, the most protected of theirs
    and of the `official` ones of its new rows, else its own of `splits`."""
    of_group: dict[str, str] = {}
    for pair_id, group in zip(pair_ids, groups, strict=True):
        if pair_id in kept:
            of_group[group] = _more_protected(of_group.get(group), kept[pair_id])
    for pair_id, group, told in zip(pair_ids, groups, official, strict=True):
        if told is not None and pair_id not in kept and group in of_group:
            of_group[group] = _more_protected(of_group[group], told)
    return [
        kept.get(pair_id) or of_group.get(group) or split
        for pair_id, group, split in zip(pair_ids, groups, splits, strict=True)
    ]


def _more_protected(one: str | None, other: str) -> str:
    return other if one is None or PROTECTION[other] > PROTECTION[one] else one
