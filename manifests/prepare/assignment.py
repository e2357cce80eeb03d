"""Which split and group every checked row belongs to, and which rows must go so that no lesion is in two splits."""

from __future__ import annotations

from collections import defaultdict
from collections.abc import Callable, Collection
from dataclasses import dataclass
from functools import partial

from manifests.duplicates.find import DuplicatePair, find_duplicates
from manifests.duplicates.sketches import TrainingPictures
from manifests.format.schema import UNLABELLED
from manifests.listing.rows import connected, same_group_links
from manifests.listing.source import Rejection
from manifests.prepare.pipeline import CheckedRows, RowSpools
from manifests.prepare.seen import SeenPairs
from manifests.prepare.splits import (
    PROTECTION,
    KeptSplits,
    fold_split,
    grouped_folds,
    grouped_split,
    leaks,
    merged_splits,
    with_kept_splits,
)
from manifests.progress import Progress
from manifests.settings import PrepareSettings


@dataclass(frozen=True, slots=True)
class AssignedRow:
    """A row of the manifest to be; `place` is where the spools hold its pair.

    seen: whether the base was trained on it, None where nobody can tell.
    """

    pair_id: str
    place: int
    dx: str
    split: str
    group: str
    pixels: bytes
    attributes: tuple[tuple[str, str], ...]
    licence: str | None
    attribution: str | None
    seen: bool | None


@dataclass(frozen=True)
class DuplicateFigures:
    """exact: rows set aside as copies; pairs: near-duplicate pairs; clusters: groups that they form; across_splits:
    near-duplicate pairs whose official splits differ."""

    exact: int = 0
    pairs: int = 0
    clusters: int = 0
    across_splits: int = 0


@dataclass(frozen=True)
class Assignment:
    """rows: sorted by id; disagreeing: near-duplicates with different classes; split_note: how splits were made."""

    rows: list[AssignedRow]
    rejected: list[Rejection]
    duplicates: DuplicateFigures
    disagreeing: list[tuple[str, str]]
    split_note: str


def assign_rows(
    checked: CheckedRows,
    spools: RowSpools,
    settings: PrepareSettings,
    progress: Progress,
    kept: KeptSplits | None = None,
    pictures: TrainingPictures | None = None,
) -> Assignment:
    """Group rows by lesion, patient and near-duplicate, split them, and set aside copies and leaks.

    `kept` are splits of an earlier manifest, which stay. What a base was trained on, its `pictures`, is for training
    alone, as `SeenPairs.in_train` says.
    """
    rows = len(checked.rows)

    def while_comparing(done: int, total: int, **figures: float | str) -> None:
        progress(rows, 2 * rows, **{"step": "comparing", "compared": done, **figures})

    pairs = find_duplicates(spools.fingerprints, while_comparing, settings.workers) if settings.duplicates else []
    groups = _groups(checked, pairs)
    seen = SeenPairs.of(spools, groups, pictures)
    told, note = _splits(checked, groups, settings, seen.groups)
    if kept is not None:
        official = [row.split if settings.split == "official" else None for row in checked.rows]
        told = with_kept_splits(checked.pair_ids, groups, told, official, kept.splits)
        note += f"; {kept.note}"
    splits = seen.in_train(groups, told)
    rejected, dropped = _copies(checked, splits, kept.splits if kept else {})
    exact = len(dropped)
    rejected += _leaking(checked, groups, splits, dropped)
    assigned = [
        AssignedRow(
            checked.pair_ids[i],
            i,
            row.dx or UNLABELLED,
            split,
            groups[i],
            checked.pixels[i],
            row.attributes,
            row.licence,
            row.attribution,
            seen.known[i],
        )
        for i, (row, split) in enumerate(zip(checked.rows, splits, strict=True))
        if split is not None and i not in dropped
    ]
    figures = DuplicateFigures(
        exact,
        len(pairs),
        len({groups[p.first] for p in pairs}),
        sum(checked.rows[p.first].split != checked.rows[p.second].split for p in pairs),
    )
    if pictures is not None:
        note += f"; {seen.note(groups, told, splits, [row.place for row in assigned])}"
    return Assignment(assigned, rejected, figures, _disagreeing(checked, pairs), note)


def _groups(checked: CheckedRows, pairs: list[DuplicatePair]) -> list[str]:
    """A name for the group of each row: the lesion or patient of its first row, else that row's id."""
    same_pixels = same_group_links([digest.hex() for digest in checked.pixels])
    links = same_group_links([row.group for row in checked.rows]) + same_pixels
    first = connected(len(checked.rows), links + [(p.first, p.second) for p in pairs])
    prefix = [pair_id.partition(":")[0] for pair_id in checked.pair_ids]
    names = [f"{prefix[i]}:{row.group}" if row.group else checked.pair_ids[i] for i, row in enumerate(checked.rows)]
    return [names[i] for i in first]


def _splits(
    checked: CheckedRows, groups: list[str], settings: PrepareSettings, for_training: Collection[str]
) -> tuple[list[str | None], str]:
    """The split of each row as told or made, None for rows without an official one, and how it came about.

    Splits are made of the groups that are not `for_training`.
    """
    classes = [row.dx or UNLABELLED for row in checked.rows]
    official = [row.split for row in checked.rows]
    if settings.split == "folds":
        folds = partial(_folds, settings=settings)
        note = f"fold {settings.fold} of {settings.folds}, grouped and stratified, seed {settings.seed}"
        return _for_the_rest(folds, groups, classes, for_training), note
    if settings.split == "official" and any(official):
        return _completed(official, groups, classes, settings, for_training)
    validation, test = settings.validation_fraction, settings.test_fraction
    note = f"grouped and stratified, {validation:g} validation and {test:g} test, seed {settings.seed}"
    if settings.split == "official":
        note += " (the source has no official splits)"
    make = partial(grouped_split, validation_fraction=validation, test_fraction=test, seed=settings.seed)
    return _for_the_rest(make, groups, classes, for_training), note


def _folds(groups: list[str], classes: list[str], settings: PrepareSettings) -> list[str]:
    return fold_split(grouped_folds(groups, classes, settings.folds, settings.seed), settings.folds, settings.fold)


def _for_the_rest(
    make: Callable[[list[str], list[str]], list[str]],
    groups: list[str],
    classes: list[str],
    for_training: Collection[str],
) -> list[str | None]:
    """The splits that `make` makes of all groups but those that are `for_training`, which are."""
    rest = [i for i, group in enumerate(groups) if group not in for_training]
    splits: list[str | None] = ["train"] * len(groups)
    for i, split in zip(rest, make([groups[i] for i in rest], [classes[i] for i in rest]), strict=True):
        splits[i] = split
    return splits


def _completed(
    official: list[str | None],
    groups: list[str],
    classes: list[str],
    settings: PrepareSettings,
    for_training: Collection[str],
) -> tuple[list[str | None], str]:
    """Official splits; a validation or test split that the source lacks is taken from its training groups, if the
    settings want one."""
    told = {split for split in official if split}
    fractions = {"validation": settings.validation_fraction, "test": settings.test_fraction}
    missing = [split for split, fraction in fractions.items() if split not in told and fraction > 0]
    if not missing or "train" not in told:
        return official, "official"
    validation, test = (fractions[split] if split in missing else 0.0 for split in ("validation", "test"))
    held = merged_splits(*_told(groups, official))
    free = {group for group, split in held.items() if split == "train"} - {*for_training}
    rows = [i for i, split in enumerate(official) if split == "train" and groups[i] in free]
    own_groups, own_classes = [groups[i] for i in rows], [classes[i] for i in rows]
    made = grouped_split(own_groups, own_classes, validation, test, settings.seed, missing)
    completed = list(official)
    for i, split in zip(rows, made, strict=True):
        completed[i] = split
    return completed, f"official; {' and '.join(missing)} taken from train by group, seed {settings.seed}"


def _told(groups: list[str], splits: list[str | None]) -> tuple[list[str], list[str]]:
    pairs = [(group, split) for group, split in zip(groups, splits, strict=True) if split is not None]
    return [group for group, _ in pairs], [split for _, split in pairs]


def _copies(
    checked: CheckedRows, splits: list[str | None], earlier: Collection[str]
) -> tuple[list[Rejection], set[int]]:
    """Rows whose pixels equal another's: all of them if their classes differ, else all but the best protected, of
    several those whose id is among the `earlier` ones."""
    same: dict[bytes, list[int]] = defaultdict(list)
    for i, digest in enumerate(checked.pixels):
        same[digest].append(i)
    rejected, dropped = [], set()
    for members in same.values():
        if len(members) == 1:
            continue
        classes = {checked.rows[i].dx for i in members}
        kept = min(
            members, key=lambda i: (-PROTECTION.get(splits[i] or "train", 0), checked.pair_ids[i] not in earlier, i)
        )
        for i in members:
            if len(classes) > 1:
                own = checked.rows[i].dx or "nothing"
                other = next(j for j in members if checked.rows[j].dx != checked.rows[i].dx)
                told = f"{checked.pair_ids[other]}, which is labelled {checked.rows[other].dx or 'nothing'}"
                reason = f"the same image as {told} and not {own}; settle the label"
                rejected.append(_rejection(checked, i, "label conflict", reason))
                dropped.add(i)
            elif i != kept:
                reason = f"the same image as {checked.pair_ids[kept]}, which is kept"
                rejected.append(_rejection(checked, i, "exact duplicate", reason))
                dropped.add(i)
    return rejected, dropped


def _leaking(checked: CheckedRows, groups: list[str], splits: list[str | None], dropped: set[int]) -> list[Rejection]:
    """Rows that have no split, or whose group is also in a better protected one; added to `dropped`."""
    rejected = []
    staying = [i for i, split in enumerate(splits) if i not in dropped and split is not None]
    for i, split in enumerate(splits):
        if split is None and i not in dropped:
            reason = "has no split in the source, where other rows have one; add it or prepare with split=grouped"
            rejected.append(_rejection(checked, i, "no split", reason))
    names = [groups[i] for i in staying]
    told = [str(splits[i]) for i in staying]
    strongest = merged_splits(names, told)
    leaking = leaks(names, told)
    example: dict[str, str] = {}
    for i in staying:
        if groups[i] in leaking and splits[i] == strongest[groups[i]]:
            example.setdefault(groups[i], checked.pair_ids[i])
    for i in staying:
        if splits[i] != strongest[groups[i]]:
            kept = strongest[groups[i]]
            reason = f"in {splits[i]}, shows the same lesion or patient as {example[groups[i]]} in {kept}, which stays"
            rejected.append(_rejection(checked, i, "split leak", reason))
            dropped.add(i)
    return rejected


def _rejection(checked: CheckedRows, i: int, check: str, reason: str) -> Rejection:
    return Rejection(checked.pair_ids[i], check, reason, checked.rows[i].image)


def _disagreeing(checked: CheckedRows, pairs: list[DuplicatePair]) -> list[tuple[str, str]]:
    """Ids of near-duplicates that have different classes."""
    classes = [row.dx for row in checked.rows]
    return [
        (checked.pair_ids[p.first], checked.pair_ids[p.second]) for p in pairs if classes[p.first] != classes[p.second]
    ]
