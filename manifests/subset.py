"""A part of a manifest as a manifest of its own."""

from __future__ import annotations

import hashlib
from collections.abc import Collection, Iterator, Mapping
from pathlib import Path
from typing import Any

from manifests.errors import BadInput
from manifests.header import ShardEntry
from manifests.progress import Progress, no_progress
from manifests.reading import Manifest, read_group
from manifests.schema import ATTRIBUTES, SHARD_PATTERN, PairRow
from manifests.storage import Storage
from manifests.writing import ManifestWriter


def write_subset(
    manifest: Manifest, pair_ids: Collection[str], location: str | Path | Storage, progress: Progress = no_progress
) -> Manifest:
    """Writes the pairs of a real manifest that `pair_ids` names to `location`, in shards of the same names.

    The classes stay, even where no pair of one is left. Raises BadInput where no pair is, or a shard is damaged.
    """
    chosen = frozenset(pair_ids)
    part = hashlib.sha256("\n".join(sorted(chosen)).encode("utf-8", "surrogatepass")).hexdigest()
    provenance = {**manifest.header["provenance"], "part_of": manifest.digest, "part": part}
    writer = ManifestWriter(location, classes=manifest.classes, kind="real", provenance=provenance)
    shards: list[tuple[str, int]] = []
    for number, entry in enumerate(manifest.shards):
        rows = [_pair_row(row) for row in _rows(manifest, entry) if row["pair_id"] in chosen]
        if rows:
            match = SHARD_PATTERN.fullmatch(entry.name)
            assert match is not None, "a manifest that was opened has such names only"
            shards.append((entry.dx, int(match["index"])))
            writer.write_shard(*shards[-1], rows)
        progress(number + 1, len(manifest.shards))
    if not shards:
        writer.abandon()
        raise BadInput(f"{manifest.location}: none of the chosen pairs is in this manifest; make it again.")
    return writer.commit(shards)


def _rows(manifest: Manifest, entry: ShardEntry) -> Iterator[dict[str, Any]]:
    with manifest.open_shard(entry) as file:
        for group in range(file.num_row_groups):
            yield from read_group(manifest.storage, entry.name, file, group, manifest.columns()).to_pylist()


def _pair_row(row: Mapping[str, Any]) -> PairRow:
    same = ("pair_id", "dx", "split", "group_id", "source", "licence", *ATTRIBUTES)
    return PairRow(
        image_png=row["image"]["bytes"],
        mask_png=row["mask"]["bytes"] if row["mask"] else None,
        **{name: row[name] for name in same},
    )
