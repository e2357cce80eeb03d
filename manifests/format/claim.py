"""Who may write at a location: writers of the same manifest share it, writers of different ones exclude each
other. A claim is a small file, so that it works on object storage too; a dead writer's claim lapses."""

from __future__ import annotations

import json
import os
import secrets
import socket
import time
import weakref
from typing import Any

from manifests.errors import BadInput
from manifests.storage.base import Storage

CLAIM_NAME = ".writer.json"
LAPSE_SECONDS = 900.0
"""A claim from another machine that was not renewed for this long counts as dead."""

# Claims of this process that are still in use: within one process the process id says nothing.
_held: weakref.WeakValueDictionary[str, Claim] = weakref.WeakValueDictionary()


class ManifestBusy(BadInput):
    """Another writer has, or has just committed, a different manifest at the same location."""


class Claim:
    """The right to write one manifest at one location; `renew` before each change that others can see."""

    def __init__(self, storage: Storage, manifest_id: str) -> None:
        self.storage = storage
        self.manifest_id = manifest_id
        self.token = secrets.token_hex(8)
        _held[self.token] = self
        if not storage.create(CLAIM_NAME, self._content()):
            self.renew(first=True)

    def renew(self, first: bool = False) -> None:
        """Say that this writer lives; ManifestBusy if the location has become another manifest's."""
        holder = self._holder()
        foreign = holder is not None and holder.get("manifest_id") != self.manifest_id
        # Only a starting writer may take over from a dead one: the other way round both would go on.
        if holder is not None and foreign and (not first or _is_alive(holder)):
            raise ManifestBusy(self._busy(holder))
        self.storage.write(CLAIM_NAME, self._content(), durable=False)

    def release(self) -> None:
        """Give the location back, if it is still this manifest's."""
        _held.pop(self.token, None)
        holder = self._holder()
        if holder is not None and holder.get("manifest_id") == self.manifest_id:
            self.storage.delete(CLAIM_NAME)

    def _content(self) -> bytes:
        holder = {
            "manifest_id": self.manifest_id,
            "host": socket.gethostname(),
            "pid": os.getpid(),
            "token": self.token,
            "time": time.time(),
        }
        return json.dumps(holder).encode()

    def _holder(self) -> dict[str, Any] | None:
        try:
            holder = json.loads(self.storage.read(CLAIM_NAME))
        except (FileNotFoundError, ValueError):
            return None
        return holder if isinstance(holder, dict) else None

    def _busy(self, holder: dict[str, Any]) -> str:
        return (
            f"{self.storage.location}: another writer (process {holder.get('pid')} on {holder.get('host')}) "
            f"writes a different manifest there; wait for it, choose another folder, or delete {CLAIM_NAME} "
            "if it is dead."
        )


def _is_alive(holder: dict[str, Any]) -> bool:
    """Whether the writer behind a claim still runs, as far as can be told from here."""
    if holder.get("host") != socket.gethostname():
        renewed = holder.get("time")
        return isinstance(renewed, (int, float)) and time.time() - renewed < LAPSE_SECONDS
    pid = holder.get("pid")
    if not isinstance(pid, int) or pid <= 0:
        return False
    if pid == os.getpid():
        return holder.get("token") in _held
    try:
        os.kill(pid, 0)
    except ProcessLookupError:
        return False
    except OSError:
        return True
    return True
