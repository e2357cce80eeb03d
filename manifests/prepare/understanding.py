"""What prepare understood of a dataset, in a few lines that are said before anything is trained."""

from __future__ import annotations

from collections import Counter
from collections.abc import Iterable, Mapping
from dataclasses import dataclass
from pathlib import Path

from manifests.format.schema import SPLITS, UNLABELLED
from manifests.listing.source import Rejection, SourceListing
from manifests.prepare.admission import CLASSIFICATION, LESION, PAIRS, SEGMENTATION, admit_rows
from manifests.prepare.checks import check_row
from manifests.settings import PrepareSettings
from manifests.sources.recognition import find_source
from manifests.storage.base import explained

LOOKED_AT = 3
LONGEST_NOTES = 8


@dataclass(frozen=True)
class Understanding:
    """Layout, classes with counts, groups and what they are, splits, and masks by how they came.

    class_place, group_place: what tells of classes and groups; notes: sentences of the reader.
    """

    layout: str
    task: str
    classes: Mapping[str, int]
    class_place: str
    groups: int
    group_place: str
    splits: Mapping[str, int]
    split_note: str
    given: int
    missing: int
    notes: tuple[str, ...] = ()
    found: int = 0

    def lines(self) -> list[str]:
        """A line each on layout and classes, groups, splits, masks and what to look at."""
        counted = ", ".join(f"{dx} {count}" for dx, count in self.classes.items()) or "none"
        told_classes = f"from {self.class_place}" if {*self.classes} != {LESION} else "the data tell of none"
        splits = ", ".join(f"{split} {self.splits.get(split, 0)}" for split in SPLITS)
        told_splits = f"{splits} ({self.split_note})" if any(self.splits.values()) else self.split_note
        told = f"{self.group_place}, near-duplicate clusters" if self.group_place else "near-duplicate clusters"
        lines = [
            f"layout {self.layout}: classes {counted} ({told_classes})",
            f"groups: {self.groups} by {told}",
            f"splits: {told_splits}",
            f"masks: {self.given} given, {self.missing} missing, {self.found} found",
        ]
        empty = [split for split in SPLITS if not self.splits.get(split)]
        if empty and any(self.splits.values()):
            lines.append(f"the {' and '.join(empty)} split is empty")
        if self.task == PAIRS and (unlabelled := self.classes.get(UNLABELLED, 0)):
            lines.append(
                f"{unlabelled} pairs with a mask and no class serve segmentation alone, and "
                f"{self.missing + self.found} with a class and no given mask classification"
            )
        if self.task == SEGMENTATION:
            lines.append("no classes are there: one class, lesion, for segmentation; classification is left out")
        if self.task == CLASSIFICATION and self.found:
            lines.append("no masks are given: found ones teach adapters, and the segmentation benchmark is left out")
        elif self.task == CLASSIFICATION:
            lines.append("no masks are there: rows serve classification; adapters and segmentation need masks")
        return [*lines, *self.notes[:LONGEST_NOTES]]


def understand(source: Path, settings: PrepareSettings) -> Understanding:
    """What a dataset seems to be by its folders, tables and a few of its pictures; the splits as the source tells them.

    Raises BadInput where prepare would for what it reads.
    """
    found, folder = find_source(source, settings.source)
    with explained(str(folder), "read"):
        listing = found.read(folder, settings)
    admitted = admit_rows(found.name, listing, settings)
    rows = admitted.rows
    looked_at = list(zip(rows, admitted.pair_ids))[:: max(1, len(rows) // LOOKED_AT)][:LOOKED_AT]
    faults = [
        outcome.reason
        for row, pair_id in looked_at
        if isinstance(outcome := check_row(row, pair_id, admitted.task != CLASSIFICATION, settings), Rejection)
    ]
    splits = Counter(row.split for row in rows if row.split)
    note = "told by the source; one that lacks is taken from train" if splits else "none told; made by group"
    notes = (*_counted(listing, len(admitted.rejected)), *listing.notes, *admitted.notes, *faults)
    return Understanding(
        found.name,
        admitted.task,
        class_counts(row.dx for row in rows),
        listing.class_place,
        len({row.group or pair_id for row, pair_id in zip(rows, admitted.pair_ids, strict=True)}),
        listing.group_place,
        splits,
        note,
        sum(row.mask is not None for row in rows),
        sum(row.mask is None for row in rows),
        notes,
    )


def _counted(listing: SourceListing, not_admitted: int) -> list[str]:
    aside = len(listing.rejected) + not_admitted
    return [f"{aside} rows or files will be set aside"] if aside else []


def class_counts(classes: Iterable[str | None]) -> dict[str, int]:
    """Rows by class, most first; those without one as unlabelled."""
    counts = Counter(dx or UNLABELLED for dx in classes)
    return dict(sorted(counts.items(), key=lambda item: (-item[1], item[0])))
