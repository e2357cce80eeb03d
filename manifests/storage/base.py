"""Where a manifest lies: a folder on local disk or on any object storage that fsspec reaches.

A file appears whole or not at all: on a disk through a temporary name and a rename, on object storage because
an upload only becomes visible when it is complete.
"""

from __future__ import annotations

import contextlib
import errno
import re
from abc import ABC, abstractmethod
from collections.abc import Iterator
from pathlib import Path
from typing import IO

from manifests.errors import BadInput, StorageFailed, first_line


class Storage(ABC):
    """One folder; names inside it use `/`.

    Every method raises StorageFailed when the storage does, BadInput where it is not allowed to act, and
    FileNotFoundError for a file that is not there. Can be sent to another process.
    """

    local = False

    def __init__(self, location: str) -> None:
        self.location = location

    @abstractmethod
    def path(self, name: str) -> str:
        """Full path of a file, as the file system knows it."""

    @abstractmethod
    def read(self, name: str) -> bytes:
        """Content of a file."""

    @abstractmethod
    def open(self, name: str) -> IO[bytes]:
        """A seekable binary file for reading."""

    @abstractmethod
    def sizes(self, folder: str) -> dict[str, int]:
        """Every file under a folder with its size in bytes, by name; empty where there is no such folder."""

    @abstractmethod
    def size(self, name: str) -> int | None:
        """Size of a file in bytes, None where there is none."""

    @abstractmethod
    def write(self, name: str, content: bytes, durable: bool = True) -> None:
        """Put a file in place, whole or not at all, over one that is there; `durable` outlives a power cut."""

    @abstractmethod
    def create(self, name: str, content: bytes) -> bool:
        """Put a file in place unless one of that name is there; whether it now has this content."""

    @abstractmethod
    def move(self, name: str, target: str) -> None:
        """Rename a file over another; on object storage a copy and a removal."""

    @abstractmethod
    def delete(self, name: str) -> None:
        """Remove a file if it is there, and the folders that this leaves empty."""

    def shown(self, name: str) -> str:
        """The path of a file as its user would write it."""
        return f"{self.location.rstrip('/')}/{name}"


def on_disk(path: Path | None) -> Path | None:
    """The path as it is; BadInput for a URL, of which a path would make a folder called `s3:`."""
    if path is not None and (url := re.match(r"([A-Za-z][A-Za-z0-9+.-]+):/+", str(path))):
        raise BadInput(
            f"{url[1]}://{str(path)[url.end() :]}: only a path on disk will do here; a finished manifest goes to a URL "
            "and back with evenderm export MANIFEST --to manifest --out URL"
        )
    return path


@contextlib.contextmanager
def explained(where: str, action: str) -> Iterator[None]:
    """Turn what storage raises into one sentence; a missing or existing file stays what it is."""
    try:
        yield
    except (FileNotFoundError, FileExistsError):
        raise
    except PermissionError as error:
        raise BadInput(f"{where}: not allowed to {action} it ({first_line(error)}); check its permissions.") from None
    except NotADirectoryError:
        raise BadInput(f"{where}: a part of this path is not a folder; choose another place.") from None
    except OSError as error:
        if error.errno == errno.EROFS:
            raise BadInput(f"{where}: it lies on a read-only disk; choose another place.") from None
        if error.errno in (errno.ENOSPC, errno.EDQUOT):
            reason = "the disk is full: free some space"
        else:
            reason = f"{first_line(error)}: check the storage"
        raise StorageFailed(f"{where}: could not {action} it, {reason} and run the same command again.") from error
