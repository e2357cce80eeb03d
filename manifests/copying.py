"""Taking a manifest to another place: from a disk to object storage, back, or from one bucket to another."""

from __future__ import annotations

import hashlib
from collections.abc import Mapping
from pathlib import Path
from typing import Any

from manifests.claim import CLAIM_NAME
from manifests.errors import BadInput
from manifests.progress import Progress, no_progress
from manifests.reading import Manifest
from manifests.schema import CARD_NAME, HEADER_NAME, SHARD_PATTERN
from manifests.storage import Storage, storage_at
from manifests.writing import ManifestWriter

BESIDE = ("rejected.csv", "summary.md")
"""What prepare writes beside a manifest and a copy takes along."""


def copy_manifest(
    manifest: Manifest,
    location: str | Path | Storage,
    progress: Progress = no_progress,
    options: Mapping[str, Any] | None = None,
) -> Manifest:
    """Write the same manifest, shard by shard and byte for byte, to any place, committed there as by its writer.

    `options` go to the place's file system. Raises BadInput for a damaged shard, and what ManifestWriter raises.
    """
    header, done, storage = manifest.header, 0, storage_at(location, options)
    _refuse_other_files(storage)
    writer = ManifestWriter(storage, classes=manifest.classes, kind=manifest.kind, provenance=header["provenance"])
    named = []
    for entry in manifest.shards:
        content = manifest.storage.read(entry.name)
        if hashlib.sha256(content).hexdigest() != entry.sha256:
            raise BadInput(f"{manifest.storage.shown(entry.name)} was changed; restore the shard from its original.")
        writer.copy_shard(entry, content)
        match = SHARD_PATTERN.fullmatch(entry.name)
        assert match is not None  # the header was checked when it was read
        named.append((entry.dx, int(match["index"])))
        done += entry.rows
        progress(done, header["rows"])
    beside = {name: manifest.storage.read(name) for name in BESIDE if manifest.storage.size(name) is not None}
    return writer.commit(named, beside)


def _refuse_other_files(storage: Storage) -> None:
    """BadInput where a README.md lies that no manifest, finished or begun, accounts for: it would be overwritten."""
    sizes = {name: storage.size(name) for name in (CARD_NAME, HEADER_NAME, CLAIM_NAME)}
    if sizes[CARD_NAME] is not None and sizes[HEADER_NAME] is None and sizes[CLAIM_NAME] is None:
        raise BadInput(f"{storage.location} holds a {CARD_NAME} and no manifest; choose another place.")
