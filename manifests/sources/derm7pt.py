"""derm7pt: the seven-point checklist's dermoscopic pictures with their official splits; no masks."""

from __future__ import annotations

from collections.abc import Sequence

from manifests.listing.csv_table import Table, read_csv
from manifests.listing.linking import Layout
from manifests.listing.source import locate
from manifests.listing.tree import Tree
from manifests.settings import TableColumns
from manifests.sources.published import published_source

SPLITS = {"train": "train_indexes.csv", "validation": "valid_indexes.csv", "test": "test_indexes.csv"}


def _tables(tree: Tree) -> Sequence[Table]:
    """meta.csv with the split of each line, which other files give by the number of the line."""
    path = next(path for path in tree.tables if path.name.lower() == "meta.csv")
    table = read_csv(tree.guard.table(path))
    splits = [""] * len(table.cells)
    for split, name in SPLITS.items():
        listed = locate(path.parent, name)
        for cells in read_csv(tree.guard.table(listed)) if listed else ():
            if cells[-1].isdigit() and int(cells[-1]) < len(splits):
                splits[int(cells[-1])] = split
    rows = [[*cells, split] for cells, split in zip(table.cells, splits, strict=True)]
    return [Table(path, (*table.columns, "split"), rows)]


SOURCE = published_source(
    Layout("derm7pt", TableColumns(image="derm"), every_picture=False, licence="research only"),
    "derm7pt: the dermoscopic picture of each case, its diagnosis, official splits; clinical pictures are left out",
    """\
meta/meta.csv             case_num,diagnosis,seven_point_score,...,location,sex,management,clinic,derm,case_id,notes
meta/train_indexes.csv, valid_indexes.csv, test_indexes.csv
images/NEL/NEL025.jpg
""",
    tables=("meta.csv",),
    needed=("derm", "seven_point_score"),
    read_tables=_tables,
)
