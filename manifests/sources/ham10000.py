"""HAM10000: seven classes, several pictures per lesion, masks by Tschandl et al. 2020."""

from __future__ import annotations

from pathlib import Path

from manifests.settings import PrepareSettings
from manifests.sources.csv_table import Table, read_csv
from manifests.sources.labels import LabelBook, age_group, join_rows, known_class, plain_value, told
from manifests.sources.listing import (
    CLASS_CODES,
    FolderGuard,
    Source,
    SourceListing,
    find_images,
    listing_is_not_empty,
    locate,
    locate_folder,
)

NAME = "ham10000"
IMAGE_FOLDERS = ("HAM10000_images_part_1", "HAM10000_images_part_2", "HAM10000_images")
MASK_FOLDER = "HAM10000_segmentations_lesion_tschandl"


def recognise(folder: Path) -> bool:
    return _metadata(folder) is not None


def _metadata(folder: Path) -> Path | None:
    for name in ("HAM10000_metadata.csv", "HAM10000_metadata", "HAM10000_metadata.tab"):
        path = locate(folder, name)
        if path is not None and path.is_file():
            return path
    return None


def read(folder: Path, settings: PrepareSettings) -> SourceListing:
    """All images of both parts; the lesion is the group, and there is no official split."""
    path = _metadata(folder)
    assert path is not None  # recognise() has seen it
    guard = FolderGuard(folder, settings.follow_links)
    table = read_csv(guard.table(path))
    image_id, lesion, dx = (table.column(name) for name in ("image_id", "lesion_id", "dx"))
    book = LabelBook(NAME, str(path))
    lesions, people = {}, {}
    for cells in table:
        book.add(cells[image_id], known_class(cells[dx], {code: code for code in CLASS_CODES}, table))
        if cells[lesion]:
            lesions[cells[image_id].lower()] = cells[lesion]
        people[cells[image_id].lower()] = _person(table, cells)
    folders = [found for name in IMAGE_FOLDERS if (found := locate_folder(folder, name))]
    mask_folder = locate_folder(folder, MASK_FOLDER)
    masks = find_images([mask_folder], guard, NAME) if mask_folder else None
    rows, rejected = join_rows(
        NAME,
        find_images(folders, guard, NAME),
        masks,
        book,
        group=lesions.get,
        attributes=lambda key: people.get(key, ()),
    )
    listing_is_not_empty(rows, rejected, folder)
    return SourceListing(
        rows,
        rejected,
        licence="CC-BY-NC-4.0",
        mask_place=f"the file <image id>_segmentation.png in {MASK_FOLDER}",
        class_place=f"its line in {path.name}",
    )


def _person(table: Table, cells: list[str]) -> tuple[tuple[str, str], ...]:
    age, sex, site = (table.find(name) for name in ("age", "sex", "localization"))
    return told(
        age_group=age_group(cells[age]) if age is not None else None,
        sex=plain_value(cells[sex]) if sex is not None else None,
        site=plain_value(cells[site]) if site is not None else None,
    )


SOURCE = Source(
    NAME,
    "HAM10000: akiec, bcc, bkl, df, mel, nv, vasc with lesion ids and masks; licence CC BY-NC 4.0",
    """\
HAM10000_metadata.csv                         lesion_id,image_id,dx,dx_type,age,sex,localization
HAM10000_images_part_1/ISIC_0024306.jpg
HAM10000_images_part_2/ISIC_0029306.jpg
HAM10000_segmentations_lesion_tschandl/ISIC_0024306_segmentation.png
""",
    recognise,
    read,
)
