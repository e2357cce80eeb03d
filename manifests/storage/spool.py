"""Files beside a long job that keep its memory flat: what was computed once waits there until it is needed."""

from __future__ import annotations

import os
from array import array
from collections.abc import Iterator, Sequence
from pathlib import Path

import numpy as np

from manifests.storage.base import explained


class ByteSpool:
    """Byte strings in one file, written one after another, read back by their number.

    One thread adds; any number of threads may read what was added.
    """

    def __init__(self, path: Path) -> None:
        self._path = path
        self._ends = array("Q")
        with explained(str(path), "write"):
            self._file = path.open("w+b")

    def __len__(self) -> int:
        return len(self._ends)

    def total(self) -> int:
        """Bytes written so far."""
        return self._ends[-1] if self._ends else 0

    def add(self, contents: Sequence[bytes]) -> None:
        """Append byte strings, all in one write: threads at work wait for each return to the interpreter."""
        with explained(str(self._path), "write"):
            self._file.write(b"".join(contents))
            self._file.flush()
        for content in contents:
            self._ends.append(self.total() + len(content))

    def get(self, number: int) -> bytes:
        start = self._ends[number - 1] if number else 0
        with explained(str(self._path), "read"):
            return os.pread(self._file.fileno(), self._ends[number] - start, start)

    def close(self) -> None:
        self._file.close()


class RecordSpool:
    """Numpy records of one type in one file; blocks are copied out, so that no mapping counts as memory.

    One thread adds; any number of threads may read what was added.
    """

    def __init__(self, path: Path, dtype: np.dtype, shape: tuple[int, ...] = ()) -> None:
        self.path = path
        self.dtype = np.dtype((dtype, shape))
        self._count = 0
        with explained(str(path), "write"):
            self._file = path.open("w+b")

    def __len__(self) -> int:
        return self._count

    def add(self, records: np.ndarray) -> None:
        """Append one record or an array of them."""
        content = np.ascontiguousarray(records).tobytes()
        with explained(str(self.path), "write"):
            self._file.write(content)
            self._file.flush()
        self._count += len(content) // self.dtype.itemsize

    def block(self, start: int, stop: int) -> np.ndarray:
        """Records start..stop-1, a copy."""
        size = self.dtype.itemsize
        stop = min(stop, self._count)
        with explained(str(self.path), "read"):
            content = os.pread(self._file.fileno(), max(0, stop - start) * size, start * size)
        return np.frombuffer(content, self.dtype.base).reshape(-1, *self.dtype.shape)

    def at(self, places: Sequence[int]) -> np.ndarray:
        """The records at these places, a copy."""
        size = self.dtype.itemsize
        with explained(str(self.path), "read"):
            content = b"".join(os.pread(self._file.fileno(), size, place * size) for place in places)
        return np.frombuffer(content, self.dtype.base).reshape(-1, *self.dtype.shape)

    def blocks(self, length: int) -> Iterator[tuple[int, np.ndarray]]:
        """(start, records) over the whole file."""
        for start in range(0, self._count, length):
            yield start, self.block(start, start + length)

    def close(self) -> None:
        self._file.close()
