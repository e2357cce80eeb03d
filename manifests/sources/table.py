"""A CSV or Parquet table with a row per pair: image, mask and class, and what else is known."""

from __future__ import annotations

import os
from pathlib import Path

from manifests.errors import BadInput
from manifests.settings import PrepareSettings
from manifests.sources.csv_table import Table, read_csv
from manifests.sources.labels import age_group, plain_value, told
from manifests.sources.listing import (
    SPLIT_NAMES,
    FolderGuard,
    Rejection,
    Source,
    SourceListing,
    SourceRow,
    listing_is_not_empty,
    outside_reason,
)

NAME = "table"
ENDINGS = (".csv", ".tsv", ".parquet")
# Tried in this order where the settings do not name a column.
USUAL_NAMES = {
    "image": ("image", "image_path", "file", "filename", "path"),
    "mask": ("mask", "mask_path", "segmentation"),
    "dx": ("dx", "class", "label", "diagnosis"),
    "group": ("group", "group_id", "lesion_id", "patient_id", "lesion", "patient"),
    "split": ("split",),
    "id": ("id", "pair_id", "image_id"),
    "age_group": ("age_group", "age"),
    "sex": ("sex", "gender"),
    "site": ("site", "localization"),
    "skin_tone": ("skin_tone", "fitzpatrick"),
}


def recognise(location: Path) -> bool:
    """A table itself, or a folder with exactly one table that, by its column names, lists images and what they show."""
    path = _table_path(location)
    if path is None or location.is_file():
        return path is not None
    try:
        table = _read_parquet(path, header_only=True) if path.suffix.lower() == ".parquet" else read_csv(path)
    except BadInput:
        return False
    image, *told = (table.find(*USUAL_NAMES[role]) for role in ("image", "mask", "dx"))
    return image is not None and any(column is not None for column in told)


def can_read(location: Path) -> bool:
    return _table_path(location) is not None


def columns_hint(location: Path) -> str:
    """What to do about the table in a folder that was not recognised, or about there being none."""
    wanted = "the columns image, mask and class"
    path = _table_path(location)
    if path is None or path.is_symlink() or path.suffix.lower() == ".parquet":
        return f"describe it in a CSV with {wanted}"
    try:
        columns = ", ".join(repr(name[:40]) for name in read_csv(path).columns[:12])
    except BadInput as error:
        return f"mend its table: {error}"
    return f"give {path} {wanted}, or name its own ({columns}) with source=table and prepare.columns"


def _table_path(location: Path) -> Path | None:
    if location.is_file():
        return location if location.suffix.lower() in ENDINGS else None
    found = [p for p in sorted(location.iterdir()) if p.suffix.lower() in ENDINGS and p.is_file()]
    return found[0] if len(found) == 1 else None


def read(location: Path, settings: PrepareSettings) -> SourceListing:
    """Paths in the table are relative to it and must stay inside its folder."""
    path = _table_path(location)
    assert path is not None  # recognise() has seen it
    guard = FolderGuard(path.parent, settings.follow_links)
    if path != location:  # a table that the user names is the one that is meant, wherever a link leads
        guard.table(path)
    table = _read_table(path)
    columns = _columns(table, settings)
    rows: list[SourceRow] = []
    rejected: list[Rejection] = []
    for number, cells in enumerate(table, 2):
        row = {name: cells[column] for name, column in columns.items()}
        outcome = _row(row, number, table, guard)
        (rows if isinstance(outcome, SourceRow) else rejected).append(outcome)  # type: ignore[arg-type]
    listing_is_not_empty(rows, rejected, path)
    return SourceListing(
        rows,
        rejected,
        mask_place=f"its cell in a mask column of {path.name}",
        class_place=f"its cell in a class column of {path.name}",
    )


def named_files(path: Path, settings: PrepareSettings) -> list[str]:
    """The image and mask files that the table at `path` names, sorted; none if it cannot be read as such a table."""
    try:
        table = _read_table(path)
        columns = _columns(table, settings)
    except BadInput:
        return []
    named = {cells[columns[role]] for cells in table for role in ("image", "mask") if role in columns}
    return sorted(file for cell in named if cell and (file := _inside(path.parent, cell)))


def _read_table(path: Path) -> Table:
    return _read_parquet(path) if path.suffix.lower() == ".parquet" else read_csv(path)


def _columns(table: Table, settings: PrepareSettings) -> dict[str, int]:
    """Position of each column that the settings name or that has a usual name."""
    columns = {}
    for role, usual in USUAL_NAMES.items():
        named = getattr(settings.columns, role)
        if named is not None or role == "image":
            columns[role] = table.column(*((named,) if named else usual))
        elif (found := table.find(*usual)) is not None:
            columns[role] = found
    return columns


def _row(row: dict[str, str], number: int, table: Table, guard: FolderGuard) -> SourceRow | Rejection:
    shown = row.get("id") or _without_ending(row["image"])
    where = f"line {number} of {table.path}"
    if not row["image"]:
        return Rejection(f"{NAME}:{shown}", "missing image", f"{where} names no image; fill the cell")
    files = []
    for role in ("image", "mask"):
        value = row.get(role, "")
        path = _inside(table.path.parent, value) if value else None
        if value and (path is None or not guard.allows(path)):
            return Rejection(f"{NAME}:{shown}", "outside", outside_reason(f"{role} {value[:200]!r} of {where}"), value)
        if path is not None and not Path(path).is_file():
            return Rejection(
                f"{NAME}:{shown}",
                f"missing {role}",
                f"{where}: there is no {role} file {value[:200]!r}; add it",
                value,
            )
        files.append(path)
    image, mask = files
    assert image is not None
    split = _split(row.get("split", ""), where)
    return SourceRow(shown, image, mask, row.get("dx") or None, split, row.get("group") or None, _attributes(row))


def _without_ending(path: str) -> str:
    stem, dot, ending = path.rpartition(".")
    return stem if dot and "/" not in ending else path


def _inside(folder: Path, value: str) -> str | None:
    """The absolute path that a cell means, None if it can be no path at all."""
    if "\0" in value or len(value) > 4096:
        return None
    return os.path.normpath(folder / value.replace("\\", "/"))


def _split(value: str, where: str) -> str | None:
    if not value:
        return None
    split = SPLIT_NAMES.get(value.strip().lower())
    if split is None:
        raise BadInput(f"{where} has the unknown split {value[:40]!r}; use train, validation or test")
    return split


def _attributes(row: dict[str, str]) -> tuple[tuple[str, str], ...]:
    age = row.get("age_group", "")
    return told(
        age_group=age_group(age) or plain_value(age),
        sex=plain_value(row.get("sex", "")),
        site=plain_value(row.get("site", "")),
        skin_tone=plain_value(row.get("skin_tone", "")),
    )


def _read_parquet(path: Path, header_only: bool = False) -> Table:
    """The flat columns of a Parquet file as text."""
    import pyarrow as pa
    import pyarrow.parquet as pq

    try:
        with pq.ParquetFile(path) as file:
            names = [f.name for f in file.schema_arrow if not pa.types.is_nested(f.type)]
            if header_only:
                return Table(path, tuple(names), [])
            table = file.read(columns=names)
            columns = [["" if v is None else str(v).strip() for v in column.to_pylist()] for column in table.columns]
    except (pa.ArrowException, OSError, ValueError) as error:
        reason = (str(error).splitlines() or ["damaged"])[0][:120]
        raise BadInput(f"{path} is not a readable Parquet file ({reason}); write it again") from None
    return Table(path, tuple(table.column_names), [list(cells) for cells in zip(*columns, strict=True)])


SOURCE = Source(
    NAME,
    "a CSV or Parquet table with image, mask and class columns, optionally group, split and attributes",
    """\
pairs.csv                 image,mask,class,group,split,age,sex,site,skin_tone  (names can be set)
images/one.jpg            paths are relative to the table
masks/one.png
""",
    recognise,
    read,
    can_read,
)
