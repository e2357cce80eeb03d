"""A manifest's folder on object storage, through fsspec: no renames; a file appears when its upload ends."""

from __future__ import annotations

import contextlib
import io
import os
from collections.abc import Iterator, Mapping
from typing import IO, Any

from manifests.errors import BadInput, EvendermError, StorageFailed, first_line
from manifests.storage.base import Storage, explained

# Clients raise types of their own, which this package does not import.
_CLIENTS = {
    "aiobotocore",
    "aiohttp",
    "adlfs",
    "azure",
    "botocore",
    "fsspec",
    "gcsfs",
    "google",
    "s3fs",
    "urllib3",
}


class ObjectStorage(Storage):
    """See Storage. Failed requests are repeated by the client below before they count as failed."""

    def __init__(self, location: str, options: Mapping[str, Any]) -> None:
        super().__init__(location)
        self.options = dict(options)
        self._connect()

    def __reduce__(self) -> tuple[Any, ...]:
        # Connections do not survive a pickle or a fork; the other side makes its own.
        return ObjectStorage, (self.location, self.options)

    def _connect(self) -> None:
        self._connected, self.root = _file_system(self.location, self.options)
        self._process = os.getpid()

    @property
    def _files(self) -> Any:
        if self._process != os.getpid():
            self._connect()
        return self._connected

    def path(self, name: str) -> str:
        return f"{self.root}/{name}"

    def read(self, name: str) -> bytes:
        with _client_explained(self.shown(name), "read"):
            content: bytes = self._files.cat_file(self.path(name))
            return content

    def open(self, name: str) -> IO[bytes]:
        with _client_explained(self.shown(name), "read"):
            return _ExplainedFile(self._files.open(self.path(name), "rb", cache_type="readahead"), self.shown(name))

    def sizes(self, folder: str) -> dict[str, int]:
        with _client_explained(self.shown(folder), "list"):
            self._files.invalidate_cache()
            try:
                found = self._files.find(self.path(folder), detail=True)
            except FileNotFoundError:
                return {}
            start = len(self.root) + 1
            return {path[start:]: int(details["size"]) for path, details in sorted(found.items())}

    def size(self, name: str) -> int | None:
        with _client_explained(self.shown(name), "read"):
            self._files.invalidate_cache()
            try:
                return int(self._files.info(self.path(name))["size"])
            except FileNotFoundError:
                return None

    def write(self, name: str, content: bytes, durable: bool = True) -> None:
        with _client_explained(self.shown(name), "write"):
            try:
                self._files.pipe_file(self.path(name), content)
            except FileNotFoundError:
                raise _no_bucket(self.location) from None

    def create(self, name: str, content: bytes) -> bool:
        with _client_explained(self.shown(name), "write"):
            try:
                self._files.pipe_file(self.path(name), content, mode="create")
            except FileExistsError:
                # A repeated request may meet the file that its first, unanswered try has made.
                return self.read(name) == content
            except FileNotFoundError:
                raise _no_bucket(self.location) from None
        return True

    def move(self, name: str, target: str) -> None:
        with _client_explained(self.shown(target), "write"):
            self._files.copy(self.path(name), self.path(target))
            self._files.rm_file(self.path(name))

    def delete(self, name: str) -> None:
        with _client_explained(self.shown(name), "remove"), contextlib.suppress(FileNotFoundError):
            self._files.rm_file(self.path(name))


class _ExplainedFile(io.RawIOBase, IO[bytes]):
    """A remote file for reading, whose later requests fail with our errors as its opening does."""

    def __init__(self, file: Any, where: str) -> None:
        self._file = file
        self._where = where

    def read(self, size: int = -1) -> bytes:
        with _client_explained(self._where, "read"):
            content: bytes = self._file.read(size)
            return content

    def seek(self, offset: int, whence: int = 0) -> int:
        return int(self._file.seek(offset, whence))

    def tell(self) -> int:
        return int(self._file.tell())

    def readable(self) -> bool:
        return True

    def seekable(self) -> bool:
        return True

    def close(self) -> None:
        self._file.close()
        super().close()


def _no_bucket(location: str) -> BadInput:
    return BadInput(f"{location}: there is no such bucket; create it or mend the location.")


def _file_system(location: str, options: Mapping[str, Any]) -> tuple[Any, str]:
    """fsspec's file system and the folder's path in it."""
    import fsspec

    if "::" in location:
        raise BadInput(f"{location} chains file systems; write one folder, as in s3://bucket/folder.")
    try:
        # A cached listing would hide what another writer has just committed.
        files, root = fsspec.core.url_to_fs(location, use_listings_cache=False, **options)
    except (ImportError, ValueError) as error:
        raise BadInput(f"{location} cannot be opened ({first_line(error)}); for s3:// install evenderm[s3].") from None
    root = root.rstrip("/")
    if not root.strip("/"):
        raise BadInput(f"{location} does not name a folder; write it as s3://bucket/folder.")
    return files, root


@contextlib.contextmanager
def _client_explained(where: str, action: str) -> Iterator[None]:
    try:
        with explained(where, action):
            yield
    except EvendermError:
        raise
    except Exception as error:
        if type(error).__module__.partition(".")[0] not in _CLIENTS:
            raise
        raise StorageFailed(
            f"{where}: could not {action} it, {first_line(error)}: check the storage and run the same command again."
        ) from error
