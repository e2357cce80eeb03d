"""PH2: 200 dermoscopy images of nevi and melanomas with masks, in one folder per image."""

from __future__ import annotations

from pathlib import Path

from manifests.errors import BadInput
from manifests.listing.csv_table import Table, read_text
from manifests.listing.labels import LabelBook, join_rows, known_class
from manifests.listing.source import (
    FolderGuard,
    FoundImages,
    Source,
    SourceListing,
    find_images,
    listing_is_not_empty,
    locate,
    locate_folder,
)
from manifests.listing.table_files import read_table
from manifests.settings import PrepareSettings

NAME = "ph2"
# Clinical diagnosis: 0 common nevus, 1 atypical nevus, 2 melanoma.
DIAGNOSES = {"0": "nv", "1": "nv", "2": "mel"}
MARKED = {"nv": ("Common Nevus", "Atypical Nevus"), "mel": ("Melanoma",)}
"""Columns of the workbook, of which a case has an X in one."""


def recognise(folder: Path) -> bool:
    return _images_folder(folder) is not None


def _images_folder(folder: Path) -> Path | None:
    return locate_folder(folder, "PH2 Dataset images") or locate_folder(folder, "PH2_Dataset_images")


def read(folder: Path, settings: PrepareSettings) -> SourceListing:
    """Common and atypical nevi are both nv. There is no official split and no patient id."""
    tree = _images_folder(folder)
    assert tree is not None  # recognise() has seen it
    guard = FolderGuard(folder, settings.follow_links)
    cases = sorted(case for case in tree.iterdir() if case.is_dir())
    images = _pictures(cases, "Dermoscopic_Image", guard)
    masks = _pictures(cases, "lesion", guard)
    rows, rejected = join_rows(NAME, images, masks, _labels(folder, guard), mask_suffix="_lesion")
    listing_is_not_empty(rows, rejected, folder)
    return SourceListing(
        rows,
        rejected,
        licence="research and education only",
        mask_place="the file <name>_lesion/<name>_lesion.bmp",
        class_place="its line in PH2_dataset.txt or .xlsx",
    )


def _pictures(cases: list[Path], kind: str, guard: FolderGuard) -> FoundImages:
    folders = [found for case in cases if (found := locate_folder(case, f"{case.name}_{kind}"))]
    return find_images(folders, guard, NAME)


def _labels(folder: Path, guard: FolderGuard) -> LabelBook | None:
    """The text table, whose cells stand between double bars, or else the workbook."""
    path = locate(folder, "PH2_dataset.txt")
    if path is None:
        workbook = locate(folder, "PH2_dataset.xlsx")
        return _marked_labels(read_table(guard.table(workbook))) if workbook else None
    text = read_text(guard.table(path))
    lines = [[cell.strip() for cell in line.strip().strip("|").split("||")] for line in text.splitlines()]
    header = next((cells for cells in lines if cells[0].casefold() == "name"), None)
    if header is None:
        raise BadInput(f"{path} has no header line with a column 'Name'; download the original PH2_dataset.txt")
    table = Table(path, tuple(header), lines)
    diagnosis = table.column("Clinical Diagnosis")
    book = LabelBook(NAME, str(path))
    for cells in lines:
        if cells[0].upper().startswith("IMD") and len(cells) > diagnosis:
            book.add(cells[0], known_class(cells[diagnosis], DIAGNOSES, table))
    return book


def _marked_labels(table: Table) -> LabelBook:
    book, name = LabelBook(NAME, str(table.path)), table.column("Image Name", "Name")
    columns = {column: dx for dx, names in MARKED.items() for column in map(table.column, names)}
    for cells in table:
        for column, dx in columns.items():
            if cells[name].upper().startswith("IMD") and cells[column]:
                book.add(cells[name], dx)
    return book


SOURCE = Source(
    NAME,
    "PH2 (Pedro Hispano hospital): nv and mel with masks; research and education only",
    """\
PH2_dataset.txt           or PH2_dataset.xlsx
PH2 Dataset images/IMD002/IMD002_Dermoscopic_Image/IMD002.bmp
PH2 Dataset images/IMD002/IMD002_lesion/IMD002_lesion.bmp
""",
    recognise,
    read,
)
