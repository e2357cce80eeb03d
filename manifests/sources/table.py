"""Tables that list the pictures beside them, by path or by id, under any of the names that publishers use."""

from __future__ import annotations

import os
from collections.abc import Callable
from pathlib import Path

from manifests.errors import BadInput
from manifests.listing.columns import Roles, roles_of
from manifests.listing.csv_table import Table
from manifests.listing.finder import Finder
from manifests.listing.linking import Layout, read_listed
from manifests.listing.names import CODES, COLUMNS, plain
from manifests.listing.rows import LESION, PATIENT, Entry
from manifests.listing.source import Source, SourceListing
from manifests.listing.table_files import MOST_COLUMNS, header_of, read_table
from manifests.listing.tree import MOST_TABLES, TABLE_ENDINGS, Tree, scan
from manifests.settings import PrepareSettings, TableColumns

NAME = "table"
LAYOUT = Layout(NAME, every_picture=False)
ALONE = (*TABLE_ENDINGS, ".txt")
"""Endings of files that are tables where a user gives one by itself."""
_FIRST_NAMES = {
    "image": ("image", "image_path", "file", "filename", "path"),
    "mask": ("mask", "mask_path", "segmentation"),
}
"""Columns that the digest of a table's data has always gone by."""


def recognise(location: Path) -> bool:
    """A table itself, or a folder with tables of which one at least lists pictures and what they show."""
    if location.is_file():
        return location.suffix.lower() in ALONE
    tree = scan(location, PrepareSettings())
    finder = Finder(tree, tree.pictures)
    return any(_is_understood(path, finder) for path in _candidates(tree)) or _only_together(tree, finder)


def can_read(location: Path) -> bool:
    return location.is_file() or bool(_candidates(scan(location, PrepareSettings())))


def _candidates(tree: Tree) -> list[Path]:
    """Tables that may tell of pictures: not those of pixels or features, nor what a contest wants to be given."""
    paths = [path for path in tree.tables[:MOST_TABLES] if "submission" not in path.name.lower()]
    return [path for path in paths if len(header_of(path)) <= MOST_COLUMNS]


def _tells_facts(path: Path, finder: Finder) -> bool:
    """Whether a table tells of pictures that are there, and of no classes: class folders may stand beside it."""
    told = {plain(name) for name in header_of(path)} & {*COLUMNS["dx"], *CODES}
    if told or (opened := _opened(path, finder)) is None:
        return False
    table, roles = opened
    image = roles.columns.get("image")
    return image is not None and not roles.gives_classes and any(finder.names_one(cells[image]) for cells in table)


def _is_understood(path: Path, finder: Finder) -> bool:
    known = {plain(name) for name in header_of(path)}
    if not known & {*COLUMNS["dx"], *COLUMNS["mask"], *CODES} and not any(name[-2:-1] == "_" for name in known):
        return False
    opened = _opened(path, finder)
    return opened is not None and _is_enough(opened[1])


def _only_together(tree: Tree, finder: Finder) -> bool:
    """Whether tables together tell of pictures: classes of lesions or patients, and which those are in another table or
    in the names of folders."""
    named = {role: {name for picture in tree.pictures for name in picture.folder} for role in (LESION, PATIENT)}
    classed: list[tuple[str, set[str]]] = []
    for path in filter(_adds, _candidates(tree)):
        if (opened := _opened(path, finder)) is None:
            continue
        table, roles = opened
        owner = next((role for role in (LESION, PATIENT) if role in roles.columns), "")
        if owner and roles.gives_classes and "image" not in roles.columns:
            classed.append((owner, {roles.cell(owner, cells) for cells in table}))
        elif "image" in roles.columns:
            for role in (LESION, PATIENT):
                named[role] |= {roles.cell(role, cells) for cells in table}
    return any(len(names & named[role]) * 2 > len(names) for role, names in classed)


def _opened(path: Path, finder: Finder) -> tuple[Table, Roles] | None:
    """A table and what its columns are by their names; None where it cannot be read or they contradict each other."""
    try:
        table = read_table(path)
        return table, roles_of(table, finder.names_one, TableColumns())
    except (BadInput, OSError):
        return None


def not_understood(location: Path) -> Path | None:
    """A table of a folder that tells of something and that nobody could link with the pictures."""
    if location.is_file():
        return None
    tree = scan(location, PrepareSettings())
    finder = Finder(tree, tree.pictures)
    telling = {name for names in COLUMNS.values() for name in names if name != "y"} | CODES
    for path in _candidates(tree):
        tells = {plain(name) for name in header_of(path)} & telling
        if tells and not _is_understood(path, finder) and not _tells_facts(path, finder):
            return path
    return None


def columns_hint(location: Path) -> str:
    """What to do about the table in a folder that was not recognised, or about there being none."""
    wanted = "the columns image, mask and class"
    found = _candidates(scan(location, PrepareSettings())) if location.is_dir() else []
    if not found:
        return f"describe it in a CSV with {wanted}"
    try:
        columns = ", ".join(repr(name[:40]) for name in read_table(found[0]).columns[:12])
    except BadInput as error:
        return f"mend its table: {error}"
    return (
        f"give {found[0]} {wanted}, or name its own ({columns}) with --set prepare.source=table and "
        "prepare.columns.image, prepare.columns.dx"
    )


def read(
    location: Path, settings: PrepareSettings, finish: Callable[[dict[str, Entry]], None] = lambda entries: None
) -> SourceListing:
    """Paths in a table are relative to it, or to the dataset's folder, and must stay inside. `finish` may add to the
    entries of a folder's pictures, by path."""
    if location.is_file():
        table = read_table(location)
        tree = scan(location.parent, settings, only=_named_folders(table))
        return read_listed(tree, [table], settings, LAYOUT)
    tree = scan(location, settings)
    finder = Finder(tree, tree.pictures)
    paths = [tree.guard.table(path) for path in _candidates(tree)]
    named = settings.columns != TableColumns()
    chosen = [path for path in paths if named or _is_understood(path, finder) or _adds(path)]
    tables = [read_table(path) for path in chosen or paths]
    if not tables:
        raise BadInput(f"{location} holds no table; {columns_hint(location)}")
    return read_listed(tree, _with_columns(tables, settings, finder), settings, LAYOUT, finish)


def _adds(path: Path) -> bool:
    """Whether a table tells more of pictures that another one lists."""
    known = {plain(name) for name in header_of(path)}
    return any(known & set(COLUMNS[role]) for role in ("patient", "lesion", "split", "age_group"))


def _with_columns(tables: list[Table], settings: PrepareSettings, finder: Finder) -> list[Table]:
    """The tables that have the columns that the settings name, if one of them is enough; else all are joined."""
    named = [name for _, name in settings.columns if name is not None]
    having = [table for table in tables if all(table.find(name) is not None for name in named)]
    enough = named and any(_is_enough(roles_of(table, finder.names_one, settings.columns)) for table in having)
    return having if enough else tables


def _is_enough(roles: Roles) -> bool:
    """Whether a table lists pictures with a class or a mask."""
    return "image" in roles.columns and (roles.gives_classes or "mask" in roles.columns)


def _named_folders(table: Table) -> list[str]:
    """The folders beside a table that its cells start with; none where it names pictures by id."""
    beside = {entry.name.casefold(): entry.name for entry in os.scandir(table.path.parent) if entry.is_dir()}
    heads = {
        cell.replace("\\", "/").lstrip("./").split("/", 1)[0].casefold()
        for cells in table.cells
        for cell in cells
        if "/" in cell or "\\" in cell
    }
    return sorted(beside[head] for head in heads & beside.keys())


def named_files(path: Path, settings: PrepareSettings) -> list[str]:
    """The image and mask files that the table at `path` names, sorted; none if it cannot be read as such a table."""
    try:
        table = read_table(path)
        chosen = {role: getattr(settings.columns, role) for role in _FIRST_NAMES}
        columns = [table.find(*((chosen[role],) if chosen[role] else names)) for role, names in _FIRST_NAMES.items()]
        if columns[0] is None:
            listing = read(path, settings)
            return sorted({file for row in listing.rows for file in (row.image, row.mask) if file})
    except (BadInput, OSError):
        return []
    named = {cells[place] for cells in table for place in columns if place is not None}
    return sorted(file for cell in named if cell and (file := _inside(path.parent, cell)))


def _inside(folder: Path, value: str) -> str | None:
    """The absolute path that a cell means, None if it can be no path at all."""
    if "\0" in value or len(value) > 4096:
        return None
    return os.path.normpath(folder / value.replace("\\", "/"))


SOURCE = Source(
    NAME,
    "tables (CSV, Parquet, JSON lines, Excel) that list pictures by path or id, with a class, one-hot classes or masks",
    """\
pairs.csv                 image,mask,class,patient_id,lesion_id,split,age,sex,site,skin_tone   (any of the names in
                          use: isic_id, image_name, file_path, diagnosis, target ...; others by prepare.columns)
images/one.jpg            beside the table, in any folder
masks/one.png
""",
    recognise,
    read,
    can_read,
)
