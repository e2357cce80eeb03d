"""Putting images, masks and labels of one dataset together by image id, and naming what does not fit."""

from __future__ import annotations

import math
from collections.abc import Callable, Mapping
from dataclasses import dataclass, field

from manifests.errors import BadInput
from manifests.listing.csv_table import Table
from manifests.listing.names import NOT_TOLD
from manifests.listing.source import FoundImages, Rejection, SourceRow


@dataclass
class LabelBook:
    """Classes by image id, filled row by row; an id that is told two classes has none."""

    source: str
    place: str
    classes: dict[str, str] = field(default_factory=dict)
    refused: dict[str, Rejection] = field(default_factory=dict)
    repeated: list[Rejection] = field(default_factory=list)
    spelling: dict[str, str] = field(default_factory=dict)

    def add(self, image_id: str, dx: str) -> None:
        """Note the class of an image; the same line twice is counted, a contradiction refuses the image."""
        key = image_id.lower()
        known = self.classes.get(key)
        self.spelling.setdefault(key, image_id)
        if known is None and key not in self.refused:
            self.classes[key] = dx
        elif known == dx:
            reason = f"{image_id} stands twice in {self.place} with the class {dx}; the first line counts"
            self.repeated.append(Rejection(f"{self.source}:{image_id}", "duplicate id", reason))
        else:
            told = f"{known} and {dx}" if known else dx
            self.refuse(image_id, "label conflict", f"{image_id} has two labels in {self.place} ({told}); keep one")

    def refuse(self, image_id: str, check: str, reason: str) -> None:
        """The image may not be used."""
        key = image_id.lower()
        self.spelling.setdefault(key, image_id)
        self.classes.pop(key, None)
        self.refused.setdefault(key, Rejection(f"{self.source}:{image_id}", check, reason))


def one_hot_labels(table: Table, source: str, id_column: int, columns: Mapping[str, int], none: str) -> LabelBook:
    """Labels from one column of 0 and 1 per class; `none` is the class of a row with no 1, '' if that is an error."""
    book = LabelBook(source, str(table.path))
    for cells in table:
        image_id = cells[id_column]
        chosen = [dx for dx, column in columns.items() if is_one(cells[column], table)]
        if len(chosen) > 1:
            reason = f"{image_id} is labelled {' and '.join(chosen)} at once in {table.path}; keep one label"
            book.refuse(image_id, "label conflict", reason)
        elif chosen or none:
            book.add(image_id, chosen[0] if chosen else none)
        else:
            book.refuse(image_id, "label conflict", f"{image_id} has no class in {table.path}; give it one")
    return book


def is_one(cell: str, table: Table) -> bool:
    """Whether a 0-or-1 cell says 1; BadInput naming file and value for anything else."""
    try:
        value = float(cell)
    except ValueError:
        value = -1.0
    if value not in (0.0, 1.0):
        raise BadInput(f"{table.path} has the value {cell[:40]!r} where 0 or 1 is expected; correct that line")
    return value == 1.0


def known_class(value: str, known: Mapping[str, str], table: Table) -> str:
    """The class code of a label; BadInput naming file, value and the labels that are known."""
    code = known.get(value.strip().casefold())
    if code is None:
        raise BadInput(f"{table.path} has the unknown class {value[:40]!r}; expected one of {', '.join(known)}")
    return code


def join_rows(
    source: str,
    images: FoundImages,
    masks: FoundImages | None,
    book: LabelBook | None,
    *,
    mask_suffix: str = "_segmentation",
    split: str | None = None,
    group: Callable[[str], str | None] = lambda image_id: None,
    attributes: Callable[[str], tuple[tuple[str, str], ...]] = lambda image_id: (),
) -> tuple[list[SourceRow], list[Rejection]]:
    """A row per image that nothing speaks against, and what is listed or masked without an image.

    group and attributes are asked with the lower-case image id.
    """
    from pathlib import Path

    refused = dict(book.refused) if book else {}
    unusable = {r.pair_id.lower() for r in images.rejected}
    unusable_masks = {r.pair_id.lower().removesuffix(mask_suffix) for r in masks.rejected} if masks else set()
    rows = []
    for key, path in images.files.items():
        if key in refused or f"{source}:{key}" in unusable_masks:
            continue
        mask = masks.get(key + mask_suffix) if masks else None
        dx = book.classes.get(key) if book else None
        rows.append(SourceRow(Path(path).stem, path, mask, dx, split, group(key), attributes(key)))
    rejected = [*images.rejected, *(masks.rejected if masks else []), *refused.values()]
    if book:
        rejected += book.repeated
        missing = [k for k in book.classes if k not in images.files and f"{source}:{k}" not in unusable]
        for key in missing:
            reason = f"{book.spelling[key]} is listed in {book.place} but has no image file; add it or remove the line"
            rejected.append(Rejection(f"{source}:{book.spelling[key]}", "missing image", reason))
    known = {*images.files, *refused, *(book.classes if book else ())}
    for key, path in masks.files.items() if masks else ():
        image_id = key.removesuffix(mask_suffix)
        if image_id not in known and f"{source}:{image_id}" not in unusable:
            rejected.append(mask_alone(f"{source}:{Path(path).stem[: len(image_id)]}", path))
    return rows, rejected


def mask_alone(pair_id: str, path: str) -> Rejection:
    """The reason for a mask that belongs to no row."""
    return Rejection(pair_id, "mask alone", f"{path} is the mask of no image; add its image or remove it", path)


def age_group(text: str) -> str | None:
    """The decade of an age in years, as in 40-49; None where it is not told or absurd."""
    try:
        years = float(text.replace(",", "."))
    except ValueError:
        return None
    if not math.isfinite(years) or not 0 <= years < 120:
        return None
    decade = int(years) // 10 * 10
    return f"{decade}-{decade + 9}"


def plain_value(text: str) -> str | None:
    """A short lower-case value, None where it is not told."""
    value = " ".join(text.split()).lower()
    return None if value in NOT_TOLD else value[:64]


def told(**values: str | None) -> tuple[tuple[str, str], ...]:
    """The attributes that have a value."""
    return tuple((name, value) for name, value in values.items() if value is not None)
