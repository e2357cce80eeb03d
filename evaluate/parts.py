"""Finished work, recognised by the digest of what it was made from, and the digest of pairs."""

from __future__ import annotations

import hashlib
import json
from collections.abc import Callable
from pathlib import Path
from typing import TYPE_CHECKING, Any

import numpy as np

from manifests.files import write_json
from manifests.progress import Progress

if TYPE_CHECKING:
    from manifests.pairs import PairArrays

VERSION = 1


def pairs_digest(pairs: PairArrays) -> str:
    """sha256 over everything in `pairs`, read in blocks so that memory-mapped arrays stay on disk."""
    digest = hashlib.sha256()
    described = [pairs.pair_ids, pairs.group_ids, list(pairs.classes), list(pairs.images.shape)]
    digest.update(json.dumps(described).encode())
    digest.update(np.ascontiguousarray(pairs.labels, np.int64).tobytes())
    for start in range(0, len(pairs), 256):
        digest.update(np.ascontiguousarray(pairs.images[start : start + 256]).tobytes())
        digest.update(np.packbits(pairs.masks[start : start + 256]).tobytes())
    return digest.hexdigest()


def part_digest(data: str, *settings: Any) -> str:
    """What tells one part from another: the data, the settings that it depends on and how it is made."""
    return hashlib.sha256(json.dumps([VERSION, data, *settings], sort_keys=True).encode()).hexdigest()


def finished_record(path: Path, digest: str) -> dict[str, Any] | None:
    """The JSON object at `path` if it was written under `digest`; None if there is another or none."""
    try:
        record = json.loads(path.read_text(encoding="utf-8"))
    except (OSError, ValueError):
        return None
    return record if isinstance(record, dict) and record.get("digest") == digest else None


class Parts:
    """Parts of long work under a folder; `make` runs only those that are not finished."""

    def __init__(self, folder: Path, progress: Progress, total: int):
        self.folder, self._progress, self._total = folder, progress, total
        self._done = 0

    def make(
        self, name: str, digest: str, units: int, build: Callable[[Path, Progress], dict[str, Any]]
    ) -> dict[str, Any]:
        """What `build` reports of part `name`; it writes its files first and is recorded last.

        A StopRequested passes through: the parts that are recorded are not made again.
        """
        record = self.folder / name / "part.json"
        finished = finished_record(record, digest)
        if finished is None or "report" not in finished:
            base = self._done

            def progress(done: int, total: int, **figures: float | str) -> None:
                share = units * done / max(1, total)
                self._progress(base + int(share), self._total, **{"part": name, **figures})

            finished = {"digest": digest, "report": build(record.parent, progress)}
            write_json(record, finished)
        self._done += units
        self._progress(self._done, self._total, part=name)
        return finished["report"]
