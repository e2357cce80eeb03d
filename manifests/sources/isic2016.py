"""The ISIC 2016 challenge: benign and malignant lesions (part 3) with masks (part 1)."""

from __future__ import annotations

from pathlib import Path

from manifests.settings import PrepareSettings
from manifests.sources.csv_table import read_csv
from manifests.sources.labels import LabelBook, join_rows, known_class
from manifests.sources.listing import (
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

NAME = "isic2016"
SECTIONS = (("train", "Training"), ("test", "Test"))
# The training file says it in words, the test file in numbers.
LABELS = {"benign": "benign", "malignant": "malignant", "0.0": "benign", "1.0": "malignant"}
LABELS |= {"0": "benign", "1": "malignant"}


def recognise(folder: Path) -> bool:
    return any(_image_folders(folder, section) for _, section in SECTIONS)


def _image_folders(folder: Path, section: str) -> list[Path]:
    """Part 1 and part 3 hold the same images; the first that is there is read."""
    found = [locate_folder(folder, f"ISBI2016_ISIC_Part{part}_{section}_Data") for part in (1, 3)]
    return [path for path in found if path is not None][:1]


def read(folder: Path, settings: PrepareSettings) -> SourceListing:
    """Both splits; part 1 alone has no classes, part 3 alone no masks."""
    guard = FolderGuard(folder, settings.follow_links)
    rows: list[SourceRow] = []
    rejected: list[Rejection] = []
    for split, section in SECTIONS:
        folders = _image_folders(folder, section)
        if not folders:
            continue
        mask_folder = locate_folder(folder, f"ISBI2016_ISIC_Part1_{section}_GroundTruth")
        masks = find_images([mask_folder], guard, NAME) if mask_folder else None
        images = find_images(folders, guard, NAME)
        joined = join_rows(NAME, images, masks, _labels(folder, section, guard), split=split)
        rows += joined[0]
        rejected += joined[1]
    listing_is_not_empty(rows, rejected, folder)
    return SourceListing(
        rows,
        rejected,
        licence="CC0-1.0",
        mask_place="the file <image id>_Segmentation.png in ISBI2016_ISIC_Part1_*_GroundTruth",
        class_place="its line in ISBI2016_ISIC_Part3_*_GroundTruth.csv",
    )


def _labels(folder: Path, section: str, guard: FolderGuard) -> LabelBook | None:
    path = locate(folder, f"ISBI2016_ISIC_Part3_{section}_GroundTruth.csv")
    if path is None:
        return None
    table = read_csv(guard.table(path), columns=("image_id", "label"))
    book = LabelBook(NAME, str(path))
    for image_id, label in table:
        if image_id.casefold() not in ("image_id", "image"):  # some copies have a header line
            book.add(image_id, known_class(label, LABELS, table))
    return book


SOURCE = Source(
    NAME,
    "ISIC 2016 challenge (ISBI 2016), parts 1 and 3: benign, malignant, masks, official test split",
    """\
ISBI2016_ISIC_Part1_Training_Data/ISIC_0000000.jpg
ISBI2016_ISIC_Part1_Training_GroundTruth/ISIC_0000000_Segmentation.png
ISBI2016_ISIC_Part3_Training_GroundTruth.csv  ISIC_0000000,benign   (no header line)
ISBI2016_ISIC_Part1_Test_...                  likewise
ISBI2016_ISIC_Part3_Test_GroundTruth.csv      ISIC_0000003,0.0
""",
    recognise,
    read,
)
