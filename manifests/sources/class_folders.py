"""A folder per class, with a masks folder beside them; or flat images and masks folders without classes."""

from __future__ import annotations

import os
from dataclasses import replace
from pathlib import Path

from manifests.settings import PrepareSettings
from manifests.sources.labels import join_rows, mask_alone
from manifests.sources.listing import (
    IMAGE_ENDINGS,
    OTHER_ENDINGS,
    SPLIT_NAMES,
    FolderGuard,
    FoundImages,
    Rejection,
    Source,
    SourceListing,
    SourceRow,
    find_images,
    listing_is_not_empty,
    locate_folder,
)

NAME = "folders"
IMAGES, MASKS = "images", "masks"
MASK_ENDINGS = ("", "_segmentation", "_mask", "-mask", "_lesion")


def recognise(folder: Path) -> bool:
    """Flat images and masks count only where no table beside them may tell more about them."""
    if not can_read(folder):
        return False
    tables = any(p.suffix.lower() in (".csv", ".tsv", ".parquet") for p in folder.iterdir())
    return not tables or any(_class_folders(part) for part in (_split_folders(folder) or {None: folder}).values())


def can_read(folder: Path) -> bool:
    if not folder.is_dir():
        return False
    parts = _split_folders(folder) or {None: folder}
    return any(_class_folders(part) or _flat_images(part) for part in parts.values())


def _visible_folders(folder: Path) -> list[Path]:
    return sorted(p for p in folder.iterdir() if p.is_dir() and not p.name.startswith((".", "__")))


def _split_folders(folder: Path) -> dict[str | None, Path]:
    """Folders by split, if every visible folder is named after one."""
    found = _visible_folders(folder)
    named: dict[str | None, Path] = {SPLIT_NAMES.get(p.name.lower()): p for p in found}
    return named if found and None not in named and len(named) == len(found) else {}


def _class_folders(folder: Path) -> list[Path]:
    """The folders named after classes, directly here or in `images`; at least one holds a picture."""
    inner = locate_folder(folder, IMAGES)
    top = inner if inner and _visible_folders(inner) else folder
    found = [p for p in _visible_folders(top) if p.name.lower() not in (MASKS, IMAGES)]
    return [p for p in found if _has_pictures(p)]


def _flat_images(folder: Path) -> Path | None:
    """An `images` folder that holds pictures itself, where a `masks` folder stands beside it."""
    inner = locate_folder(folder, IMAGES)
    return inner if inner and _has_pictures(inner) and locate_folder(folder, MASKS) else None


def _has_pictures(folder: Path) -> bool:
    with os.scandir(folder) as entries:
        return any(e.name.lower().endswith((*IMAGE_ENDINGS, *OTHER_ENDINGS)) for e in entries)


def read(folder: Path, settings: PrepareSettings) -> SourceListing:
    """Classes keep the names of their folders; splits are read where folders are named after them."""
    guard = FolderGuard(folder, settings.follow_links)
    rows: list[SourceRow] = []
    rejected: list[Rejection] = []
    for split, part in (_split_folders(folder) or {None: folder}).items():
        first = len(rows)
        flat = None if _class_folders(part) else _flat_images(part)
        for class_folder in [flat] if flat else _class_folders(part):
            dx = None if flat else class_folder.name
            joined = _read_class(class_folder, part, dx, split, guard)
            rows += joined[0]
            rejected += joined[1]
        rejected += _masks_alone(part, guard, {row.mask for row in rows[first:]})
    rejected = list(dict.fromkeys(rejected))  # what all classes share is found with each of them
    listing_is_not_empty(rows, rejected, folder)
    return SourceListing(rows, rejected, mask_place="the file of the same name in masks/", class_place="its folder")


def _read_class(
    class_folder: Path, part: Path, dx: str | None, split: str | None, guard: FolderGuard
) -> tuple[list[SourceRow], list[Rejection]]:
    images = find_images([class_folder], guard, f"{NAME}:{dx}" if dx else NAME)
    rows, rejected = join_rows(NAME, images, None, None, split=split)
    masks = _masks(part, dx, guard)
    named = [
        replace(
            row,
            image_id=f"{dx}/{row.image_id}" if dx else row.image_id,
            dx=dx,
            mask=next((found for end in MASK_ENDINGS if (found := masks.get(row.image_id + end))), None),
        )
        for row in rows
    ]
    return named, [*rejected, *masks.rejected]


def _masks(part: Path, dx: str | None, guard: FolderGuard) -> FoundImages:
    """Masks of one class: `masks/<class>/` where there is such a folder, else all of `masks/`."""
    top = locate_folder(part, MASKS)
    inner = locate_folder(top, dx) if top and dx else None
    return find_images([inner or top], guard, NAME) if top else FoundImages({}, [])


def _masks_alone(part: Path, guard: FolderGuard, used: set[str | None]) -> list[Rejection]:
    """The masks that belong to no image of this part, in `masks/` and in the folders of classes there."""
    top = locate_folder(part, MASKS)
    if top is None:
        return []
    alone = []
    for place in (top, *_visible_folders(top)):
        prefix = f"{NAME}:" if place == top else f"{NAME}:{place.name}/"
        files = find_images([place], guard, NAME).files.values()
        alone += [mask_alone(f"{prefix}{Path(path).stem}", path) for path in files if path not in used]
    return alone


SOURCE = Source(
    NAME,
    "a folder per class with a masks folder beside them; train, validation and test folders around it if you like",
    """\
nv/one.jpg
mel/two.jpg
masks/nv/one.png          or masks/one.png; without masks the data serve classification only
masks/mel/two.png
(images/one.jpg and masks/one.png without class folders serve segmentation only)
""",
    recognise,
    read,
    can_read,
)
