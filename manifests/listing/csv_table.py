"""Reading the CSV files of datasets: any encoding, line end and separator in use, one clear error otherwise."""

from __future__ import annotations

import csv
import io
from collections.abc import Iterator, Sequence
from dataclasses import dataclass
from pathlib import Path

from manifests.errors import BadInput

LARGEST_TABLE = 512 * 1024**2
_MARKS = ((b"\xef\xbb\xbf", "utf-8-sig"), (b"\xff\xfe", "utf-16"), (b"\xfe\xff", "utf-16"))


@dataclass(frozen=True)
class Table:
    """A CSV's cells as text; column names are found without regard to case or spaces around them."""

    path: Path
    columns: tuple[str, ...]
    cells: list[list[str]]

    def column(self, *names: str) -> int:
        """Position of the first of `names` that is there; BadInput naming the file if none is."""
        found = self.find(*names)
        if found is None:
            wanted = " or ".join(repr(name) for name in names)
            raise BadInput(
                f"{self.path} has no column {wanted}; it has {', '.join(map(repr, self.columns)) or 'none'}: "
                "rename the column, or name yours in the settings"
            )
        return found

    def find(self, *names: str) -> int | None:
        known = [column.strip().casefold() for column in self.columns]
        for name in names:
            if name.strip().casefold() in known:
                return known.index(name.strip().casefold())
        return None

    def __iter__(self) -> Iterator[list[str]]:
        return iter(self.cells)


def check_regular(path: Path) -> None:
    """BadInput for what is there and no regular file: a pipe would wait forever, a device never end."""
    if path.exists() and not path.is_file():
        raise BadInput(f"{path} is not a regular file; replace it by the table itself")


def read_text(path: Path) -> str:
    """The text of `path`: UTF-8 or UTF-16 by its mark, else UTF-8, else Latin-1."""
    check_regular(path)
    try:
        status = path.stat()
        if status.st_size > LARGEST_TABLE:
            raise BadInput(f"{path} has more than {LARGEST_TABLE >> 20} MiB; split the table or use Parquet")
        content = path.read_bytes()
    except OSError as error:
        raise BadInput(f"{path} cannot be read ({error.strerror}); check the file and its permissions") from None
    encoding = next((name for mark, name in _MARKS if content.startswith(mark)), "utf-8")
    try:
        return content.decode(encoding)
    except UnicodeDecodeError:
        if encoding == "utf-16":
            raise BadInput(f"{path} is not valid UTF-16; save it as UTF-8") from None
        return content.decode("latin-1")


def read_csv(path: Path, columns: Sequence[str] | None = None) -> Table:
    """The table in `path`; `columns` are the names of a file that has no header line.

    Rows are filled up with empty cells. Raises BadInput for a file without rows, with NUL bytes or that is no CSV.
    """
    text = read_text(path)
    if "\0" in text:
        raise BadInput(f"{path} holds NUL bytes and is not a text table; save it as CSV in UTF-8")
    text = without_comments(text.replace("\r\n", "\n").replace("\r", "\n"))
    try:
        rows = [row for row in csv.reader(io.StringIO(text), delimiter=separator_of(text)) if any(map(str.strip, row))]
    except csv.Error as error:
        raise BadInput(f"{path} is not a readable CSV ({error}); save it again as CSV in UTF-8") from None
    if columns is None:
        if not rows:
            raise BadInput(f"{path} is empty; it should have a header line and one line per image")
        columns, rows = rows[0], rows[1:]
    width = len(columns)
    cells = [[cell.strip() for cell in row[:width]] + [""] * (width - len(row)) for row in rows]
    return Table(path, tuple(columns), cells)


def without_comments(text: str) -> str:
    """A table's text without the lines before it that begin with # and have no separator."""
    while text.startswith("#") and not any(mark in text.partition("\n")[0] for mark in ",;\t|"):
        text = text.partition("\n")[2]
    return text


def separator_of(text: str) -> str:
    """The separator that the first line with any text uses most."""
    line = next((line for line in text.split("\n") if line.strip()), "")
    return max(",;\t|", key=lambda mark: (line.count(mark), mark == ","))
