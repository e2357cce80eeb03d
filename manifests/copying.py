"""A manifest at another place: the whole of it, from disk to object storage and back, or a part as its own manifest."""

from __future__ import annotations

import hashlib
from collections.abc import Collection, Iterator, Mapping
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any

from manifests.errors import BadInput
from manifests.format.claim import CLAIM_NAME
from manifests.format.header import ShardEntry
from manifests.format.reading import Manifest, read_group
from manifests.format.schema import ATTRIBUTES, CARD_NAME, HEADER_NAME, SHARD_PATTERN, PairRow
from manifests.format.writing import ManifestWriter
from manifests.progress import Progress, no_progress
from manifests.storage import storage_at
from manifests.storage.base import Storage

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
    made_of = {"provenance": header["provenance"], "version": header["format_version"]}
    writer = ManifestWriter(storage, classes=manifest.classes, kind=manifest.kind, **made_of)
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


@dataclass(frozen=True)
class Changes:
    """What a subset has in another way. classes: all of them; dx: new class by old one; noted: said in provenance."""

    classes: tuple[str, ...]
    dx: Mapping[str, str] = field(default_factory=dict)
    noted: Mapping[str, Any] = field(default_factory=dict)


def write_subset(
    manifest: Manifest,
    pair_ids: Collection[str] | Mapping[str, str],
    location: str | Path | Storage,
    progress: Progress = no_progress,
    changes: Changes | None = None,
) -> Manifest:
    """Writes the pairs of a real manifest that `pair_ids` names to `location`, in shards of the same names.

    Each stays in its split, or goes where `pair_ids`, a split by id, sends it. The classes stay, even where no pair of
    one is left, but for `changes`. Raises BadInput where no pair is left, or a shard is damaged.
    """
    chosen = pair_ids if isinstance(pair_ids, Mapping) else dict.fromkeys(pair_ids, "")
    changes = changes or Changes(manifest.classes)
    provenance = {**manifest.header["provenance"], "part_of": manifest.digest, "part": subset_digest(chosen)}
    writer = ManifestWriter(location, classes=changes.classes, kind="real", provenance={**provenance, **changes.noted})
    shards: list[tuple[str, int]] = []
    for number, entry in enumerate(manifest.shards):
        dx = changes.dx.get(entry.dx, entry.dx)
        there = (row for row in _rows(manifest, entry) if row["pair_id"] in chosen)
        rows = [_pair_row({**row, "dx": dx, "split": chosen[row["pair_id"]] or row["split"]}) for row in there]
        if rows:
            match = SHARD_PATTERN.fullmatch(entry.name)
            assert match is not None, "a manifest that was opened has such names only"
            index = int(match["index"])
            while (dx, index) in shards:  # two classes became one
                index += 1
            shards.append((dx, index))
            writer.write_shard(dx, index, rows)
        progress(number + 1, len(manifest.shards))
    if not shards:
        writer.abandon()
        raise BadInput(f"{manifest.location}: none of the chosen pairs is in this manifest; make it again.")
    return writer.commit(shards)


def subset_digest(splits: Mapping[str, str]) -> str:
    """sha256 of which pairs a part has, and in which splits where it gives them others."""
    told = (f"{pair_id}\t{split}" if split else pair_id for pair_id, split in sorted(splits.items()))
    return hashlib.sha256("\n".join(told).encode("utf-8", "surrogatepass")).hexdigest()


def _rows(manifest: Manifest, entry: ShardEntry) -> Iterator[dict[str, Any]]:
    with manifest.open_shard(entry) as file:
        for group in range(file.num_row_groups):
            yield from read_group(manifest.storage, entry.name, file, group, manifest.columns()).to_pylist()


def _pair_row(row: Mapping[str, Any]) -> PairRow:
    newer = ("mask_origin", "mask_confidence", "attribution", "seen_by_base")
    same = ("pair_id", "dx", "split", "group_id", "source", "licence", *ATTRIBUTES)
    return PairRow(
        image_png=row["image"]["bytes"],
        mask_png=row["mask"]["bytes"] if row["mask"] else None,
        **{name: row[name] for name in same},
        **{name: row[name] for name in newer if name in row},
    )
