"""Which rows of a source enter the checks: what the task needs, each id once, only classes that are expected."""

from __future__ import annotations

from collections import Counter
from collections.abc import Sequence
from dataclasses import dataclass

from manifests.errors import BadInput
from manifests.format.schema import check_classes
from manifests.prepare.splits import PROTECTION
from manifests.settings import PrepareSettings
from manifests.sources.listing import Rejection, SourceListing, SourceRow

PAIRS, CLASSIFICATION, SEGMENTATION = "pairs", "classification", "segmentation"


@dataclass(frozen=True)
class Admitted:
    """Rows to check, sorted by id; `task` says what each of them has."""

    task: str
    pair_ids: list[str]
    rows: list[SourceRow]
    rejected: list[Rejection]


def admit_rows(source_name: str, listing: SourceListing, settings: PrepareSettings) -> Admitted:
    """Settle the task and set aside the rows that cannot serve it.

    Raises BadInput for a class that the settings do not expect, or a source that holds two datasets at once.
    """
    _check_expected_classes(source_name, listing, settings)
    task = chosen_task(listing, settings)
    wants_mask, wants_class = task != CLASSIFICATION, task != SEGMENTATION
    rejected: list[Rejection] = []
    kept: dict[str, SourceRow] = {}
    labels = _contradictions(listing.rows)
    # The most protected split first: of two rows with one id, that one stays.
    for row in sorted(listing.rows, key=lambda r: -PROTECTION.get(r.split or "train", 0)):
        pair_id = f"{source_name}:{row.image_id}"
        if row.image_id in labels:
            told = " and ".join(labels[row.image_id])
            reason = f"{row.image_id} stands for images labelled {told}; keep one label, or tell the ids apart"
            rejected.append(Rejection(pair_id, "label conflict", reason, row.image))
        elif wants_mask and row.mask is None:
            reason = f"{row.image_id} has no mask; add {listing.mask_place}, or prepare with task=classification"
            rejected.append(Rejection(pair_id, "missing mask", reason, row.image))
        elif wants_class and row.dx is None:
            reason = f"{row.image_id} has no class; add {listing.class_place}, or prepare with task=segmentation"
            rejected.append(Rejection(pair_id, "missing class", reason, row.image))
        elif pair_id in kept:
            first = kept[pair_id]
            reason = f"{row.image} has the same id as {first.image} ({first.split or 'no split'}), which is kept"
            rejected.append(Rejection(pair_id, "duplicate id", reason, row.image))
        else:
            kept[pair_id] = row
    pair_ids = sorted(kept)
    return Admitted(task, pair_ids, [kept[pair_id] for pair_id in pair_ids], rejected)


def _contradictions(rows: Sequence[SourceRow]) -> dict[str, list[str]]:
    """The classes of each image id that is told more than one."""
    first: dict[str, str] = {}
    told: dict[str, set[str]] = {}
    for row in rows:
        if row.dx is not None and first.setdefault(row.image_id, row.dx) != row.dx:
            told.setdefault(row.image_id, {first[row.image_id]}).add(row.dx)
    return {image_id: sorted(classes) for image_id, classes in told.items()}


def chosen_task(listing: SourceListing, settings: PrepareSettings) -> str:
    """The task asked for, or the one that most rows can serve."""
    if settings.task != "auto":
        return settings.task
    have = Counter((row.mask is not None, row.dx is not None) for row in listing.rows)
    both, masks, classes = have[True, True], have[True, False], have[False, True]
    if both >= max(masks, classes, 1):
        return PAIRS
    if masks and not classes and not both:
        return SEGMENTATION
    if classes and not masks and not both:
        return CLASSIFICATION
    if not (both or masks or classes):
        raise BadInput("the dataset has neither masks nor classes; add a CSV with labels or a folder of masks")
    lacking = listing.class_place if masks >= classes else listing.mask_place
    raise BadInput(
        f"{both} images have a mask and a class, {masks} only a mask and {classes} only a class; for each add "
        f"{lacking}, or choose with --set prepare.task=pairs, classification or segmentation"
    )


def _check_expected_classes(source_name: str, listing: SourceListing, settings: PrepareSettings) -> None:
    found = sorted({row.dx for row in listing.rows if row.dx is not None})
    check_classes(found, source_name)
    unknown = [dx for dx in found if settings.classes and dx not in settings.classes]
    if unknown:
        row = next(row for row in listing.rows if row.dx == unknown[0])
        raise BadInput(
            f"{row.image} has the unknown class {unknown[0][:60]!r}; expected one of {', '.join(settings.classes)}: "
            "correct the label or add the class to prepare.classes"
        )
