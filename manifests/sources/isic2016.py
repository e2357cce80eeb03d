"""The ISIC 2016 challenge: benign and malignant lesions (parts 3 and 3B) with masks (parts 1 and 3B)."""

from __future__ import annotations

from pathlib import Path

from manifests.listing.csv_table import Table, read_csv
from manifests.listing.linking import Layout, read_listed
from manifests.listing.source import Source, SourceListing, locate_folder
from manifests.listing.tree import scan
from manifests.settings import PrepareSettings

# The training file says it in words, the test file in numbers.
LABELS = {"benign": "benign", "malignant": "malignant", "0.0": "benign", "1.0": "malignant"}
LABELS |= {"0": "benign", "1": "malignant"}
LAYOUT = Layout("isic2016", codes=LABELS, closed=True, licence="CC0-1.0")


def recognise(folder: Path) -> bool:
    names = [
        f"ISBI2016_ISIC_Part{part}_{section}_Data" for part in ("1", "3", "3B") for section in ("Training", "Test")
    ]
    return any(locate_folder(folder, name) for name in names)


def read(folder: Path, settings: PrepareSettings) -> SourceListing:
    """Both splits; part 1 alone has no classes, part 3 alone no masks. All parts hold the same images."""
    tree = scan(folder, settings)
    paths = [path for path in tree.tables if "part3" in path.name.lower()]
    tables = [_with_header(read_csv(tree.guard.table(path), columns=("image_id", "label"))) for path in paths]
    return read_listed(tree, tables, settings, LAYOUT)


def _with_header(table: Table) -> Table:
    """The table, without the header line that some copies have."""
    rows = [cells for cells in table if cells[0].casefold() not in ("image_id", "image", "image_name")]
    return Table(table.path, table.columns, rows)


SOURCE = Source(
    "isic2016",
    "ISIC 2016 challenge (ISBI 2016), parts 1, 3 and 3B: benign, malignant, masks, official test split",
    """\
ISBI2016_ISIC_Part1_Training_Data/ISIC_0000000.jpg
ISBI2016_ISIC_Part1_Training_GroundTruth/ISIC_0000000_Segmentation.png   (part 3B: beside its picture)
ISBI2016_ISIC_Part3_Training_GroundTruth.csv  ISIC_0000000,benign   (no header line)
ISBI2016_ISIC_Part1_Test_...                  likewise
ISBI2016_ISIC_Part3_Test_GroundTruth.csv      ISIC_0000003,0.0
""",
    recognise,
    read,
)
