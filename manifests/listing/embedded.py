"""Pictures that lie inside Arrow and Parquet files, each under a path of its own: FILE::COLUMN::ROW."""

from __future__ import annotations

from functools import lru_cache
from pathlib import Path
from typing import Any

MARK = "::"


def embedded_path(file: Path, column: str, row: int) -> str:
    """The path under which a picture of a file is read."""
    return f"{file}{MARK}{column}{MARK}{row}"


def embedded_bytes(path: str) -> bytes | None:
    """The picture at such a path; None for a path that is none. Raises OSError where the file cannot be read."""
    file, mark, place = path.partition(MARK)
    column, _, row = place.rpartition(MARK)
    if not mark or not row.isdigit():
        return None
    import pyarrow as pa

    try:
        cell = opened_table(Path(file))[column][int(row)].as_py()
    except (pa.ArrowException, KeyError, IndexError) as error:
        raise OSError(0, f"damaged: {error}") from None
    content: bytes = (cell or {}).get("bytes") or b""
    if not content and (cell or {}).get("path"):
        raise OSError(0, "holds the name of a file and not the picture: save it again with the pictures inside")
    return content


@lru_cache(maxsize=2)
def opened_table(file: Path) -> Any:
    """The table of an Arrow or Parquet file, mapped into memory where its form allows."""
    import pyarrow as pa
    import pyarrow.parquet as pq

    if file.suffix == ".parquet":
        return pq.read_table(file, memory_map=True)
    source = pa.memory_map(str(file))
    try:
        return pa.ipc.open_stream(source).read_all()
    except pa.ArrowInvalid:
        return pa.ipc.open_file(source).read_all()


def picture_columns(schema: Any) -> list[str]:
    """The columns of an Arrow schema that hold pictures as bytes and path."""
    import pyarrow as pa

    return [f.name for f in schema if pa.types.is_struct(f.type) and {"bytes", "path"} <= {c.name for c in f.type}]
