"""The ISIC 2018 challenge: masks (task 1) and seven classes with lesion groups (task 3)."""

from __future__ import annotations

from pathlib import Path

from manifests.listing.csv_table import read_csv
from manifests.listing.labels import LabelBook, join_rows, one_hot_labels
from manifests.listing.source import (
    CLASS_CODES,
    FolderGuard,
    FoundImages,
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

NAME = "isic2018"
SECTIONS = (("train", "Training"), ("validation", "Validation"), ("test", "Test"))


def recognise(folder: Path) -> bool:
    return any(_image_folders(folder, section) for _, section in SECTIONS)


def _image_folders(folder: Path, section: str) -> list[Path]:
    names = (f"ISIC2018_Task1-2_{section}_Input", f"ISIC2018_Task3_{section}_Input")
    return [path for path in (locate_folder(folder, name) for name in names) if path is not None]


def read(folder: Path, settings: PrepareSettings) -> SourceListing:
    """Both tasks. Their images hardly overlap: with both in one folder, `task` says which one is meant."""
    guard = FolderGuard(folder, settings.follow_links)
    rows: list[SourceRow] = []
    rejected: list[Rejection] = []
    for split, section in SECTIONS:
        folders = _image_folders(folder, section)
        if not folders:
            continue
        mask_folder = locate_folder(folder, f"ISIC2018_Task1_{section}_GroundTruth")
        masks = find_images([mask_folder], guard, NAME) if mask_folder else None
        lesions = _lesions(folder, section, guard)
        joined = join_rows(
            NAME,
            _images(folders, guard),
            masks,
            _labels(folder, section, guard),
            split=split,
            group=lesions.get,
        )
        rows += joined[0]
        rejected += joined[1]
    listing_is_not_empty(rows, rejected, folder)
    return SourceListing(
        rows,
        rejected,
        licence="CC-BY-NC-4.0",
        mask_place="the file <image id>_segmentation.png in ISIC2018_Task1_*_GroundTruth",
        class_place="its line in ISIC2018_Task3_*_GroundTruth.csv",
        group_place="lesion_id of the lesion groupings" if any(row.group for row in rows) else "",
    )


def _images(folders: list[Path], guard: FolderGuard) -> FoundImages:
    """Images of both tasks; one that both hold is the same file and is taken from the first."""
    found = [find_images([folder], guard, NAME) for folder in folders]
    first = found[0]
    for other in found[1:]:
        first.files.update({key: path for key, path in other.files.items() if key not in first.files})
        first.rejected.extend(other.rejected)
    return first


def _table(folder: Path, name: str) -> Path | None:
    """A CSV of the official archive, in the folder of its own name or unpacked beside the images."""
    inner = locate_folder(folder, name)
    return locate(inner, f"{name}.csv") if inner else locate(folder, f"{name}.csv")


def _labels(folder: Path, section: str, guard: FolderGuard) -> LabelBook | None:
    path = _table(folder, f"ISIC2018_Task3_{section}_GroundTruth")
    if path is None:
        return None
    table = read_csv(guard.table(path))
    columns = {dx: table.column(dx.upper()) for dx in CLASS_CODES}
    return one_hot_labels(table, NAME, table.column("image"), columns, none="")


def _lesions(folder: Path, section: str, guard: FolderGuard) -> dict[str, str]:
    """Lesion by lower-case image id, where the challenge published it."""
    name = f"ISIC2018_Task3_{section}_LesionGroupings"
    path = _table(folder, name) or _table(folder, f"ISIC2018_Task3_{section}_GroundTruth_LesionGroupings")
    if path is None:
        return {}
    table = read_csv(guard.table(path))
    image, lesion = table.column("image"), table.column("lesion_id")
    return {cells[image].lower(): cells[lesion] for cells in table if cells[lesion]}


SOURCE = Source(
    NAME,
    "ISIC 2018 challenge, tasks 1 (masks) and 3 (seven classes, lesion groups), official splits",
    """\
ISIC2018_Task1-2_Training_Input/ISIC_0000000.jpg
ISIC2018_Task1_Training_GroundTruth/ISIC_0000000_segmentation.png
ISIC2018_Task3_Training_Input/ISIC_0024306.jpg
ISIC2018_Task3_Training_GroundTruth/ISIC2018_Task3_Training_GroundTruth.csv   image,MEL,NV,BCC,AKIEC,BKL,DF,VASC
ISIC2018_Task3_Training_LesionGroupings.csv                                  image,lesion_id,...
ISIC2018_..._Validation_..., ISIC2018_..._Test_...                           likewise
""",
    recognise,
    read,
)
