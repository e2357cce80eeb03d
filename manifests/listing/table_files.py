"""Tables in any file that people keep them in: CSV, Parquet, JSON lines and Excel, their cells as text."""

from __future__ import annotations

import csv
import json
import re
import zipfile
from pathlib import Path
from xml.etree import ElementTree

from manifests.errors import BadInput, first_line
from manifests.listing.csv_table import (
    LARGEST_TABLE,
    Table,
    check_regular,
    read_csv,
    read_text,
    separator_of,
    without_comments,
)

MOST_COLUMNS = 400
"""A table with more is one of pixels or features."""
_HEAD = 1 << 16
_CELL = re.compile(r"([A-Z]+)\d+")


def read_table(path: Path) -> Table:
    """The table in a file of one of TABLE_ENDINGS. Raises BadInput for one that cannot be read."""
    ending = path.suffix.lower()
    readers = {".parquet": read_parquet, ".jsonl": _read_json_lines, ".xlsx": _read_excel}
    return readers.get(ending, read_csv)(path)


def header_of(path: Path) -> tuple[str, ...]:
    """The names of a table's columns, read without the rest of it; empty where they cannot be read."""
    try:
        if path.suffix.lower() == ".parquet":
            return read_parquet(path, header_only=True).columns
        if path.suffix.lower() in (".jsonl", ".xlsx"):
            return read_table(path).columns
        if not path.is_file():
            return ()
        with path.open("rb") as file:
            head = file.read(_HEAD)
        text = without_comments(_decoded(head).replace("\r\n", "\n").replace("\r", "\n"))
        line = next((line for line in text.split("\n") if line.strip()), "")
        return tuple(next(csv.reader([line], delimiter=separator_of(text)), ()))
    except (BadInput, OSError, csv.Error):
        return ()


def _decoded(head: bytes) -> str:
    if head.startswith((b"\xff\xfe", b"\xfe\xff")):
        return head[: len(head) // 2 * 2].decode("utf-16", "replace")
    return head.decode("utf-8-sig", "replace")


def read_parquet(path: Path, header_only: bool = False) -> Table:
    """The flat columns of a Parquet file as text."""
    import pyarrow as pa
    import pyarrow.parquet as pq

    check_regular(path)
    try:
        with pq.ParquetFile(path) as file:
            names = [f.name for f in file.schema_arrow if not pa.types.is_nested(f.type)]
            if header_only:
                return Table(path, tuple(names), [])
            table = file.read(columns=names)
            columns = [["" if v is None else str(v).strip() for v in column.to_pylist()] for column in table.columns]
    except (pa.ArrowException, OSError, ValueError) as error:
        raise BadInput(f"{path} is not a readable Parquet file ({first_line(error)}); write it again") from None
    return Table(path, tuple(table.column_names), [list(cells) for cells in zip(*columns, strict=True)])


def _read_json_lines(path: Path) -> Table:
    """One flat JSON object a line; a column is every name that any of them has."""
    rows = []
    for number, line in enumerate(read_text(path).lstrip("\ufeff").splitlines(), 1):
        if not line.strip():
            continue
        try:
            row = json.loads(line)
        except ValueError:
            row = None
        if not isinstance(row, dict):
            raise BadInput(f"line {number} of {path} is not a JSON object; write one object a line")
        rows.append({str(name): "" if value is None else str(value).strip() for name, value in row.items()})
    columns = tuple(dict.fromkeys(name for row in rows for name in row))
    return Table(path, columns, [[row.get(name, "") for name in columns] for row in rows])


def _read_excel(path: Path) -> Table:
    """The first sheet of a workbook; its header is the first line in which most cells are filled."""
    check_regular(path)
    try:
        with zipfile.ZipFile(path) as book:
            lines = _sheet_lines(book)
    except (zipfile.BadZipFile, KeyError, ElementTree.ParseError, OSError, ValueError, RuntimeError) as error:
        raise BadInput(f"{path} cannot be read as a workbook ({error}); save the sheet as CSV in UTF-8") from None
    width = max(map(len, lines), default=0)
    filled = [sum(map(bool, line)) for line in lines]
    first = next((i for i, count in enumerate(filled) if count * 2 > width), 0)
    if not lines:
        raise BadInput(f"{path} is empty; it should have a header line and one line per image")
    cells = [line + [""] * (width - len(line)) for line in lines[first:]]
    return Table(path, tuple(cells[0]), cells[1:])


def _sheet_lines(book: zipfile.ZipFile) -> list[list[str]]:
    texts: list[str] = []
    if "xl/sharedStrings.xml" in book.namelist():
        for item in _parsed(book, "xl/sharedStrings.xml"):
            texts.append("".join(node.text or "" for node in item.iter() if node.tag.endswith("}t")))
    sheet = next(name for name in sorted(book.namelist()) if name.startswith("xl/worksheets/sheet"))
    lines = []
    for row in (node for node in _parsed(book, sheet).iter() if node.tag.endswith("}row")):
        cells: dict[int, str] = {}
        for cell in row:
            match = _CELL.match(cell.get("r", ""))
            text = "".join(node.text or "" for node in cell.iter() if node.tag.endswith(("}v", "}t")))
            place = _column_number(match[1]) if match else len(cells)
            cells[place] = (texts[int(text)] if cell.get("t") == "s" and text else text).strip()
        if any(cells.values()):
            lines.append([cells.get(i, "") for i in range(min(max(cells) + 1, MOST_COLUMNS))])
    return lines


def _parsed(book: zipfile.ZipFile, name: str) -> ElementTree.Element:
    if book.getinfo(name).file_size > LARGEST_TABLE // 4:
        raise ValueError("it is too large")
    content = book.read(name)
    if b"<!DOCTYPE" in content:  # entities could unfold without end
        raise ValueError("it declares a document type")
    return ElementTree.fromstring(content)


def _column_number(letters: str) -> int:
    number = 0
    for letter in letters:
        number = number * 26 + ord(letter) - 64
    return number - 1
