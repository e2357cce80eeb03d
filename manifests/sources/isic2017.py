"""The ISIC 2017 challenge: melanoma, seborrheic keratosis and nevus, with lesion masks and official splits."""

from __future__ import annotations

from pathlib import Path

from manifests.listing.csv_table import read_csv
from manifests.listing.labels import LabelBook, age_group, join_rows, one_hot_labels, plain_value, told
from manifests.listing.source import (
    FolderGuard,
    Rejection,
    Source,
    SourceListing,
    SourceRow,
    find_images,
    listing_is_not_empty,
    locate,
    locate_folder,
)
from manifests.settings import PrepareSettings

NAME = "isic2017"
SECTIONS = (
    ("train", "ISIC-2017_Training"),
    ("validation", "ISIC-2017_Validation"),
    ("test", "ISIC-2017_Test_v2"),
    ("test", "ISIC-2017_Test"),
)


def recognise(folder: Path) -> bool:
    return any(locate_folder(folder, f"{stem}_Data") for _, stem in SECTIONS)


def read(folder: Path, settings: PrepareSettings) -> SourceListing:
    """All splits that are there. Neither melanoma nor seborrheic keratosis means nevus."""
    guard = FolderGuard(folder, settings.follow_links)
    rows: list[SourceRow] = []
    rejected: list[Rejection] = []
    for split, stem in SECTIONS:
        data = locate_folder(folder, f"{stem}_Data")
        if data is None:
            continue
        mask_folder = locate_folder(folder, f"{stem}_Part1_GroundTruth")
        masks = find_images([mask_folder], guard, NAME) if mask_folder else None
        images = find_images([data], guard, NAME, keep=lambda key: not key.endswith("_superpixels"))
        people = _people(data, f"{stem}_Data_metadata.csv", guard)
        joined = join_rows(
            NAME,
            images,
            masks,
            _labels(folder, stem, guard),
            split=split,
            attributes=lambda key, people=people: people.get(key, ()),  # type: ignore[misc]
        )
        rows += joined[0]
        rejected += joined[1]
    listing_is_not_empty(rows, rejected, folder)
    return SourceListing(
        rows,
        rejected,
        licence="CC0-1.0",
        mask_place="the file <image id>_segmentation.png in ISIC-2017_*_Part1_GroundTruth",
        class_place="its line in ISIC-2017_*_Part3_GroundTruth.csv",
    )


def _labels(folder: Path, stem: str, guard: FolderGuard) -> LabelBook | None:
    path = locate(folder, f"{stem}_Part3_GroundTruth.csv")
    if path is None:
        return None
    table = read_csv(guard.table(path))
    columns = {"mel": table.column("melanoma"), "bkl": table.column("seborrheic_keratosis")}
    return one_hot_labels(table, NAME, table.column("image_id"), columns, none="nv")


def _people(data: Path, name: str, guard: FolderGuard) -> dict[str, tuple[tuple[str, str], ...]]:
    """Attributes by lower-case image id, from the metadata file that the official archives hold."""
    path = locate(data, name) or locate(data.parent, name)
    if path is None:
        return {}
    table = read_csv(guard.table(path))
    image_id, age, sex = table.column("image_id"), table.find("age_approximate"), table.find("sex")
    return {
        cells[image_id].lower(): told(
            age_group=age_group(cells[age]) if age is not None else None,
            sex=plain_value(cells[sex]) if sex is not None else None,
        )
        for cells in table
    }


SOURCE = Source(
    NAME,
    "ISIC 2017 challenge (ISBI 2017): nv, mel, bkl, masks and official splits",
    """\
ISIC-2017_Training_Data/ISIC_0000000.jpg
ISIC-2017_Training_Part1_GroundTruth/ISIC_0000000_segmentation.png
ISIC-2017_Training_Part3_GroundTruth.csv      image_id,melanoma,seborrheic_keratosis
ISIC-2017_Validation_...                      likewise
ISIC-2017_Test_v2_...                         likewise
""",
    recognise,
    read,
)
