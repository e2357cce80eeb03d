"""The footer of a shard, which is checked before pyarrow parses it: some damaged ones end the process inside pyarrow.

Its sha256 stands in `manifest.json`, and in 32 bytes before the footer, where Parquet readers pass it over: a shard
that no manifest names yet has nothing else to be checked against.
"""

from __future__ import annotations

import hashlib
from typing import IO

from manifests.errors import BadInput
from manifests.format.header import ShardEntry
from manifests.storage.base import Storage

_SEAL = hashlib.sha256().digest_size


def sealed(content: memoryview) -> bytes:
    """Parquet bytes with the digest of their footer before it; they are copied once."""
    start = len(content) - _length(bytes(content[-8:]))
    return b"".join((content[:start], hashlib.sha256(content[start:]).digest(), content[start:]))


def footer_digest(content: bytes) -> str:
    """sha256 of the footer of a whole Parquet file."""
    return hashlib.sha256(content[-_length(content[-8:]) :]).hexdigest()


def sealed_footer(file: IO[bytes]) -> bytes | None:
    """The footer of a shard if it is the one that its writer sealed."""
    tail = _tail(file)
    return tail[_SEAL:] if hashlib.sha256(tail[_SEAL:]).digest() == tail[:_SEAL] else None


def committed_footer(storage: Storage, entry: ShardEntry) -> bytes:
    """The footer of a shard; BadInput if it is not the committed one."""
    with storage.open(entry.name) as file:
        footer = _tail(file)[_SEAL:]
    digest = entry.footer if entry.footer is not None else _found_footer(storage, entry)
    if hashlib.sha256(footer).hexdigest() != digest:
        raise _changed(storage, entry)
    return footer


# By place, name and sha256 of a shard: each is read as a whole once in a process.
_FOUND: dict[tuple[str, str, str], str] = {}


def _found_footer(storage: Storage, entry: ShardEntry) -> str:
    """sha256 of the footer of a shard whose manifest, of an earlier version, tells that of the whole file alone."""
    key = (storage.location, entry.name, entry.sha256)
    if key not in _FOUND:
        content = storage.read(entry.name)
        if hashlib.sha256(content).hexdigest() != entry.sha256:
            raise _changed(storage, entry)
        _FOUND[key] = footer_digest(content)
    return _FOUND[key]


def _changed(storage: Storage, entry: ShardEntry) -> BadInput:
    return BadInput(
        f"{storage.shown(entry.name)} is damaged (its footer is not the one that was committed); "
        "restore it from its original or make the manifest again."
    )


def _tail(file: IO[bytes]) -> bytes:
    """The seal and the footer of a shard, or as much as there is."""
    size = file.seek(0, 2)
    file.seek(max(0, size - 8))
    file.seek(max(0, size - _length(file.read(8)) - _SEAL))
    return file.read()


def _length(end: bytes) -> int:
    """Bytes from the footer's start to the end of the file, as its last eight bytes tell."""
    return int.from_bytes(end[:4], "little") + 8
