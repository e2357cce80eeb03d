"""Which rows of a source enter the checks: what the task needs, each id once, only classes that are expected."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from dataclasses import dataclass, replace

from manifests.errors import BadInput
from manifests.format.schema import check_classes
from manifests.listing.rows import one_spelling
from manifests.listing.source import Rejection, SourceListing, SourceRow
from manifests.prepare.splits import PROTECTION
from manifests.settings import PrepareSettings

LESION = "lesion"
"""The one class of a dataset that tells of none."""
PAIRS, CLASSIFICATION, SEGMENTATION = "pairs", "classification", "segmentation"


@dataclass(frozen=True)
class Admitted:
    """Rows to check, sorted by id; `task` says what they serve; notes: what a user should know of the choice."""

    task: str
    pair_ids: list[str]
    rows: list[SourceRow]
    rejected: list[Rejection]
    notes: tuple[str, ...] = ()


def admit_rows(source_name: str, listing: SourceListing, settings: PrepareSettings) -> Admitted:
    """Settle classes and task, and set aside the rows that cannot serve it.

    Raises BadInput for a class that the settings do not expect or know, or a source without masks and classes.
    """
    rows, notes = _with_classes(source_name, listing, settings)
    task = chosen_task(rows, settings)
    rejected: list[Rejection] = []
    kept: dict[str, SourceRow] = {}
    labels = _contradictions(rows)
    # The most protected split first: of two rows with one id, that one stays.
    for row in sorted(rows, key=lambda r: -PROTECTION.get(r.split or "train", 0)):
        pair_id = f"{source_name}:{row.image_id}"
        if row.image_id in labels:
            told = " and ".join(labels[row.image_id])
            reason = f"{row.image_id} stands for images labelled {told}; keep one label, or tell the ids apart"
            rejected.append(Rejection(pair_id, "label conflict", reason, row.image))
        elif lacking := _lacking(row, task, settings.task != "auto", listing):
            rejected.append(Rejection(pair_id, *lacking, row.image))
        elif pair_id in kept:
            first = kept[pair_id]
            reason = f"{row.image} has the same id as {first.image} ({first.split or 'no split'}), which is kept"
            rejected.append(Rejection(pair_id, "duplicate id", reason, row.image))
        else:
            kept[pair_id] = row
    pair_ids = sorted(kept)
    chosen = [kept[pair_id] for pair_id in pair_ids]
    if task == SEGMENTATION and not any(row.dx for row in chosen):
        chosen = [replace(row, dx=LESION) for row in chosen]
    return Admitted(task, pair_ids, chosen, rejected, notes)


def _lacking(row: SourceRow, task: str, insisted: bool, listing: SourceListing) -> tuple[str, str] | None:
    """The check and the reason for which a row cannot serve; a task that nobody insists on takes what there is."""
    if insisted and task != CLASSIFICATION and row.mask is None:
        how = "prepare with task=classification"
        return "missing mask", f"{row.image_id} has no mask; add {listing.mask_place}, or {how}"
    if (insisted or row.mask is None) and task != SEGMENTATION and row.dx is None:
        what = "no class" if insisted else "neither a class nor a mask"
        how = "prepare with task=segmentation" if insisted else "leave it out"
        return "missing class", f"{row.image_id} has {what}; add {listing.class_place}, or {how}"
    if task == SEGMENTATION and row.mask is None:
        return "missing mask", f"{row.image_id} has no mask and no class; add {listing.mask_place}, or leave it out"
    return None


def _with_classes(
    source_name: str, listing: SourceListing, settings: PrepareSettings
) -> tuple[list[SourceRow], tuple[str, ...]]:
    """The rows with their classes as the settings want them, in one spelling each."""
    spelling = one_spelling([row.dx for row in listing.rows])
    rows = [replace(row, dx=spelling[row.dx]) if row.dx and spelling[row.dx] != row.dx else row for row in listing.rows]
    notes: tuple[str, ...] = ()
    if isinstance(settings.classes, Mapping) and settings.classes:
        rows, notes = _renamed(rows, settings.classes)
    else:
        _check_expected_classes(rows, settings)
    check_classes(sorted({row.dx for row in rows if row.dx is not None}), source_name)
    return rows, notes


def _renamed(rows: Sequence[SourceRow], names: Mapping[str, str | None]) -> tuple[list[SourceRow], tuple[str, ...]]:
    """Rows with renamed classes, without those that are left out."""
    there = {row.dx.casefold(): row.dx for row in rows if row.dx}
    unknown = [name for name in names if name.casefold() not in there]
    if unknown:
        raise BadInput(
            f"prepare.classes names {unknown[0]!r}, which no row has; classes are {', '.join(sorted(there.values()))}"
        )
    new = {name.casefold(): dx for name, dx in names.items()}
    kept = [row for row in rows if not row.dx or new.get(row.dx.casefold(), row.dx)]
    renamed = [replace(row, dx=new.get(row.dx.casefold(), row.dx)) if row.dx else row for row in kept]
    out = ", ".join(name for name, dx in names.items() if not dx)
    return renamed, (f"{len(rows) - len(kept)} rows of {out} are left out by prepare.classes",) if out else ()


def _contradictions(rows: Sequence[SourceRow]) -> dict[str, list[str]]:
    """The classes of each image id that is told more than one."""
    first: dict[str, str] = {}
    told: dict[str, set[str]] = {}
    for row in rows:
        if row.dx is not None and first.setdefault(row.image_id, row.dx) != row.dx:
            told.setdefault(row.image_id, {first[row.image_id]}).add(row.dx)
    return {image_id: sorted(classes) for image_id, classes in told.items()}


def chosen_task(rows: Sequence[SourceRow], settings: PrepareSettings) -> str:
    """The task asked for, or what the rows have: pairs where both masks and classes are there, of some rows."""
    if settings.task != "auto":
        return settings.task
    masks, classes = any(row.mask for row in rows), any(row.dx for row in rows)
    if not masks and not classes:
        raise BadInput("the dataset has neither masks nor classes; add a CSV with labels or a folder of masks")
    return PAIRS if masks and classes else SEGMENTATION if masks else CLASSIFICATION


def _check_expected_classes(rows: Sequence[SourceRow], settings: PrepareSettings) -> None:
    unknown = sorted({row.dx for row in rows if row.dx and settings.classes and row.dx not in settings.classes})
    if unknown:
        row = next(row for row in rows if row.dx == unknown[0])
        raise BadInput(
            f"{row.image} has the unknown class {unknown[0][:60]!r}; expected one of {', '.join(settings.classes)}: "
            "correct the label or add the class to prepare.classes"
        )
