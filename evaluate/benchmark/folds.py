"""Cross-validation: every pair is tested once, by models and a generator that never saw its fold."""

from __future__ import annotations

from collections import Counter, defaultdict
from collections.abc import Collection, Sequence
from dataclasses import dataclass, field, replace
from pathlib import Path
from typing import Any

import numpy as np

from evaluate.benchmark.cells import Restricted
from evaluate.benchmark.evidence import seen_by_base
from evaluate.benchmark.summary import JudgedSet
from evaluate.metrics.statistics import group_weights
from evaluate.settings.benchmark import BenchmarkSettings
from manifests.errors import BadInput
from manifests.format.reading import Manifest
from manifests.format.schema import FOUND_MASKS, UNLABELLED
from manifests.prepare.splits import group_strata, grouped_split, unit_hash

LEAST_FOLDS = 3
"""Below which the spread between folds says next to nothing: of two there is one difference."""


@dataclass(frozen=True)
class Round:
    """A split of the pairs with what was trained on it: the only one, or that of a fold, counted from 1.

    work: where its finished cells lie; arrays: where its decoded pairs are kept; restricted: see `cells.Restricted`.
    """

    work: Path
    real: Manifest
    synthetic: Manifest | None
    settings: BenchmarkSettings
    arrays: Path
    restricted: Restricted = field(default_factory=dict)
    fold: int | None = None


def fold_splits(real: Manifest, settings: BenchmarkSettings, validation: float, seed: int) -> list[dict[str, str]]:
    """The split of each pair by id, for each fold: test in its own, else training or validation, `validation` of them.

    Groups stay whole, and every class is dealt out as evenly as its groups allow. Groups that the base has seen are
    always trained on. Raises BadInput where a fold would be without a class, or have nothing to validate on.
    """
    if not validation:
        raise BadInput(
            f"{real.location}: prepare.validation_fraction=0 leaves a fold nothing to validate on; set it above 0"
        )
    table = real.table(["pair_id", "dx", "group_id", "split"]).to_pylist()
    rows = [row for row in table if row["split"] in settings.fold_splits]
    groups, classes = [row["group_id"] for row in rows], [row["dx"] for row in rows]
    seen = seen_by_base(real)
    known = {row["group_id"] for row in rows if row["pair_id"] in seen}
    fold_of = deal_groups(groups, classes, known, settings.folds, seed)
    _check_classes(real, groups, classes, fold_of, settings.folds)
    splits = []
    for fold in range(settings.folds):
        rest = [i for i, group in enumerate(groups) if fold_of.get(group, fold) != fold]
        strata = [classes[i] for i in rest]
        own = grouped_split([groups[i] for i in rest], strata, validation, 0.0, seed + fold, ("validation",))
        split = {groups[i]: part for i, part in zip(rest, own, strict=True)}
        split |= {group: "test" for group, number in fold_of.items() if number == fold}
        splits.append({row["pair_id"]: split.get(row["group_id"], "train") for row in rows})
    return splits


def deal_groups(
    groups: Sequence[str], classes: Sequence[str], known: Collection[str], folds: int, seed: int
) -> dict[str, int]:
    """The fold, from 0, of each group but the `known` ones.

    Within its stratum, the rarest class of its rows, each group in the order of its hash goes where the stratum has the
    fewest pairs: chance alone would leave some folds with a third of a rare class and others with none.
    """
    strata, sizes = group_strata(groups, classes), Counter(groups)
    of_stratum: defaultdict[str, Counter[int]] = defaultdict(Counter)
    total: Counter[int] = Counter()
    chosen: dict[str, int] = {}
    for group in sorted(strata, key=lambda name: (unit_hash(seed, "fold", name), name)):
        if group not in known:
            have = of_stratum[strata[group]]
            fold = min(range(folds), key=lambda number: (have[number], total[number], number))
            chosen[group] = fold
            have[fold] += sizes[group]
            total[fold] += sizes[group]
    return chosen


def _check_classes(
    real: Manifest, groups: Sequence[str], classes: Sequence[str], fold_of: dict[str, int], folds: int
) -> None:
    """BadInput for the class that is in the fewest folds, where a fold has no test pair of it."""
    own: dict[str, set[str]] = {}
    for group, dx in zip(groups, classes, strict=True):
        own.setdefault(dx, set()).add(group)
    tested = {dx: own[dx] & fold_of.keys() for dx in sorted(own) if dx != UNLABELLED}
    reached = {dx: len({fold_of[group] for group in of_class}) for dx, of_class in tested.items()}
    if all(number == folds for number in reached.values()):
        return
    dx = min(reached, key=lambda name: reached[name])
    seen = f" ({len(own[dx] - tested[dx])} more were seen by the base)" if own[dx] - tested[dx] else ""
    fewer = f"set benchmark.folds={reached[dx]}, or " if reached[dx] > 1 else ""
    raise BadInput(
        f"{real.location}: benchmark.folds={folds} leaves a fold without class {dx}, of which {len(tested[dx])} "
        f"lesions can be tested{seen}; {fewer}merge it with another class by prepare.classes"
    )


def joined_sets(sets: Sequence[JudgedSet], rounds: Sequence[Round], seed: int) -> JudgedSet:
    """The test pairs of all folds as one set, whose lesions are weighted together; an only split as it is."""
    if rounds[0].fold is None:
        return sets[0]
    group_ids = [group for judged in sets for group in judged.group_ids]
    names = list(dict.fromkeys(name for judged in sets for name in judged.attributes))
    return replace(
        sets[0],
        labels=np.concatenate([judged.labels for judged in sets]),
        group_ids=group_ids,
        weights=group_weights(group_ids, rounds[0].settings.replicates, seed),
        attributes={
            name: [value for judged in sets for value in judged.attributes.get(name, [None] * len(judged.labels))]
            for name in names
        },
        folds=np.repeat([one.fold or 0 for one in rounds], [len(judged.labels) for judged in sets]),
    )


def described_folds(rounds: Sequence[Round]) -> list[dict[str, Any]]:
    """Which pairs each fold tests and how many it trains on, as results.json has it."""
    found = []
    for fold in rounds:
        groups = fold.real.table(["group_id"], split="test")["group_id"].to_pylist()
        facts = {"fold": fold.fold, "digest": fold.real.digest, "counts": fold.real.counts()}
        found.append({**facts, "test_groups": len(set(groups))})
    return found


def fold_notes(rounds: Sequence[Round], real: Manifest) -> list[str]:
    """What a reader must know of a cross-validation; nothing where there is one split."""
    if len(rounds) < 2:
        return []
    seen, settings = len(seen_by_base(real)), rounds[0].settings
    of = ", ".join(settings.fold_splits)
    said = [
        f"cross-validation in {len(rounds)} folds of whole lesions: each pair of {of} is tested once, by "
        "models whose training, gates, adapters and generated pairs never saw its fold",
        "the pairs in synthetic/ are made from the training split in the same way; judged are those of the folds",
    ]
    if seen:
        said.append(f"{seen} pairs that the base has seen are trained on in every fold and tested in none")
    if FOUND_MASKS in real.header["provenance"]:
        said.append("masks that were found come from a segmenter that may have learned from pairs of any fold")
    if len(rounds) < LEAST_FOLDS:
        said.append(f"{len(rounds)} folds hardly tell how far folds differ; take {LEAST_FOLDS} or more for evidence")
    return said
