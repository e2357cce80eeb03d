"""Files that appear whole or not at all, also when the program is killed or the disk fills up."""

from __future__ import annotations

import contextlib
import json
import os
import secrets
from collections.abc import Iterator
from pathlib import Path
from typing import TYPE_CHECKING, Any

from manifests.storage.base import explained

if TYPE_CHECKING:
    import numpy as np

TEMPORARY = ".part-of-"
"""What the name of a file begins with until it is whole."""


def is_leftover(name: str) -> bool:
    """Whether a file is a temporary one that a killed writer left behind."""
    return name.rsplit("/", 1)[-1].startswith(TEMPORARY)


def replace_file(path: Path, content: bytes, durable: bool = True) -> None:
    """Put a file in place at once, over one that is there: readers see the old file or the new one.

    durable: the file outlives a power cut. Raises BadInput or StorageFailed where the disk refuses it.
    """
    with explained(str(path), "write"), temporary_file(path, content, durable) as temporary:
        temporary.replace(path)


def write_json(path: Path, content: Any, sort_keys: bool = False) -> None:
    """Put a JSON file in place at once; ValueError for NaN and infinity, which JSON does not know.

    Bytes of a path that are not UTF-8 become JSON escapes, from which the same path is read again.
    """
    text = json.dumps(content, indent=1, allow_nan=False, ensure_ascii=False, sort_keys=sort_keys) + "\n"
    replace_file(path, text.encode(errors="backslashreplace"))


@contextlib.contextmanager
def written_in_pieces(path: Path) -> Iterator[Path]:
    """The temporary path of a new file, which becomes `path` where the block ends without an error."""
    with _temporary_path(path) as temporary:
        yield temporary
        with explained(str(path), "write"):
            temporary.replace(path)


@contextlib.contextmanager
def temporary_file(path: Path, content: bytes, durable: bool) -> Iterator[Path]:
    """A file with the content beside `path`, to be renamed or linked; gone when the block ends."""
    with _temporary_path(path) as temporary:
        with temporary.open("xb") as file:
            file.write(content)
            if durable:
                file.flush()
                os.fsync(file.fileno())
        yield temporary


@contextlib.contextmanager
def _temporary_path(path: Path) -> Iterator[Path]:
    path.parent.mkdir(parents=True, exist_ok=True)
    temporary = path.with_name(f"{TEMPORARY}{path.name}-{secrets.token_hex(4)}")
    try:
        yield temporary
    finally:
        temporary.unlink(missing_ok=True)


def new_mapped_array(path: Path, dtype: Any, shape: tuple[int, ...]) -> np.memmap:
    """A new .npy file as a writable array of zeros, with all its space taken at once; StorageFailed if there is none.

    Without that, the first write into a mapping that finds the disk full would kill the process.
    """
    import numpy as np

    with explained(str(path), "write"):
        array: np.memmap = np.lib.format.open_memmap(path, "w+", dtype, shape)
        if hasattr(os, "posix_fallocate"):
            with path.open("r+b") as file:
                os.posix_fallocate(file.fileno(), 0, path.stat().st_size)
    return array
