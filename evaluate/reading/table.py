"""An append-only table: one JSON object a line, each on the disk before the answer goes out."""

from __future__ import annotations

import fcntl
import json
import os
from collections.abc import Iterator, Mapping
from pathlib import Path
from typing import Any

from manifests.errors import BadInput
from manifests.storage.base import explained

MOST_LETTERS = 60


def append_record(path: Path, record: Mapping[str, Any]) -> None:
    """Adds one record and waits until the disk has it. Any number of processes may append at once.

    Raises BadInput or StorageFailed where the disk refuses it.
    """
    line = json.dumps(dict(record), ensure_ascii=False, allow_nan=False).encode("utf-8", "backslashreplace")
    with explained(str(path), "write"):
        path.parent.mkdir(parents=True, exist_ok=True)
        new = not path.exists()
        descriptor = os.open(path, os.O_RDWR | os.O_APPEND | os.O_CREAT, 0o644)
        try:
            fcntl.flock(descriptor, fcntl.LOCK_EX)
            size = os.fstat(descriptor).st_size
            # A line that a kill cut short must not swallow this one.
            whole = size == 0 or os.pread(descriptor, 1, size - 1) == b"\n"
            os.write(descriptor, (b"" if whole else b"\n") + line + b"\n")
            os.fsync(descriptor)
        finally:
            os.close(descriptor)
        if new:
            _sync_folder(path.parent)


def records(path: Path) -> Iterator[dict[str, Any]]:
    """The records in the order in which they were added; a line that was cut short is none."""
    try:
        content = path.read_bytes()
    except FileNotFoundError:
        return
    except OSError as error:
        raise BadInput(f"{path}: cannot be read ({error.strerror}); mend its permissions") from None
    for line in content.split(b"\n"):
        try:
            record = json.loads(line)
        except ValueError:
            continue
        if isinstance(record, dict):
            yield record


def reader_name(name: str) -> str:
    """The name of a reader without spaces at its ends. Raises BadInput for one that cannot stand in a table."""
    plain = name.strip()
    if not plain or len(plain) > MOST_LETTERS or not plain.isprintable() or ";" in plain:
        raise BadInput(
            f"the reader's name {plain[:80]!r} must have 1 to {MOST_LETTERS} printable characters and no semicolon; "
            "choose another"
        )
    return plain


def _sync_folder(folder: Path) -> None:
    descriptor = os.open(folder, os.O_RDONLY)
    try:
        os.fsync(descriptor)
    finally:
        os.close(descriptor)
