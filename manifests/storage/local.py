"""A manifest's folder on a disk."""

from __future__ import annotations

import contextlib
import os
from pathlib import Path
from typing import IO

from manifests.files import temporary_file
from manifests.storage.base import Storage, explained


class LocalStorage(Storage):
    """See Storage."""

    local = True

    def __init__(self, location: str) -> None:
        super().__init__(location)
        self.root = Path(location).absolute()

    def path(self, name: str) -> str:
        return str(self.root / name)

    def read(self, name: str) -> bytes:
        with explained(self.shown(name), "read"):
            return (self.root / name).read_bytes()

    def open(self, name: str) -> IO[bytes]:
        with explained(self.shown(name), "read"):
            return (self.root / name).open("rb")

    def sizes(self, folder: str) -> dict[str, int]:
        with explained(self.shown(folder), "list"):
            files = [Path(base) / name for base, _, names in os.walk(self.root / folder) for name in names]
            return {file.relative_to(self.root).as_posix(): file.stat().st_size for file in sorted(files)}

    def size(self, name: str) -> int | None:
        with explained(self.shown(name), "read"):
            try:
                return (self.root / name).stat().st_size
            except (FileNotFoundError, NotADirectoryError):
                return None

    def write(self, name: str, content: bytes, durable: bool = True) -> None:
        with explained(self.shown(name), "write"), temporary_file(self.root / name, content, durable) as temporary:
            temporary.replace(self.root / name)

    def create(self, name: str, content: bytes) -> bool:
        with explained(self.shown(name), "write"), temporary_file(self.root / name, content, True) as temporary:
            try:
                # A link, unlike a rename, fails where a file already is.
                (self.root / name).hardlink_to(temporary)
            except FileExistsError:
                return self.read(name) == content
        return True

    def move(self, name: str, target: str) -> None:
        with explained(self.shown(target), "write"):
            (self.root / target).parent.mkdir(parents=True, exist_ok=True)
            (self.root / name).replace(self.root / target)
            self._remove_empty((self.root / name).parent)

    def delete(self, name: str) -> None:
        with explained(self.shown(name), "remove"), contextlib.suppress(FileNotFoundError):
            (self.root / name).unlink()
            self._remove_empty((self.root / name).parent)

    def _remove_empty(self, folder: Path) -> None:
        with contextlib.suppress(OSError):
            while folder != self.root:
                folder.rmdir()
                folder = folder.parent
