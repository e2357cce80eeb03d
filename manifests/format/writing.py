"""Writing a manifest: shards first, `manifest.json` last; what is not named there does not exist."""

from __future__ import annotations

import json
from collections import Counter
from collections.abc import Iterable, Mapping, Sequence
from pathlib import Path
from typing import Any

from manifests.errors import BadInput
from manifests.files import is_leftover
from manifests.format.card import dataset_card
from manifests.format.claim import Claim, ManifestBusy
from manifests.format.footer import sealed_footer
from manifests.format.header import ShardEntry, header_checksum, shard_facts
from manifests.format.reading import Manifest, open_manifest
from manifests.format.schema import (
    CARD_NAME,
    FORMAT,
    FORMAT_VERSIONS,
    HEADER_NAME,
    SHARD_PATTERN,
    SPLITS,
    UNLABELLED,
    Kind,
    PairRow,
    canonical_json,
    check_classes,
    class_of_path,
    manifest_identity,
    own_metadata,
    shard_name,
)
from manifests.format.shards import ShardInfo, encode_shard, read_shard_info, shard_metadata
from manifests.storage import storage_at
from manifests.storage.base import Storage

STAGING = ".staging"
"""Where shards wait while the location still holds a committed manifest that readers may be using."""


class ManifestWriter:
    """Writes the shards of one manifest and commits them.

    What a manifest is made from (`kind`, `classes`, `provenance`) is its identity. Writers of one identity
    may work side by side or one after another: they add to the same shards. A writer of another identity at
    the same location gets ManifestBusy. A manifest already committed there stays readable until `commit`.
    """

    def __init__(
        self,
        location: str | Path | Storage,
        *,
        classes: Sequence[str],
        kind: Kind = "real",
        provenance: Mapping[str, Any],
        version: int | None = None,
    ) -> None:
        """version: of a manifest that is copied; what is written anew is of the present one."""
        self.version = version or FORMAT_VERSIONS[kind]
        self.storage = storage_at(location)
        self.location = self.storage.location
        self.classes = check_classes(classes, self.location)
        self.kind = kind
        # Through JSON, so that what is compared and what is stored are the same values.
        self.provenance: dict[str, Any] = json.loads(canonical_json(dict(provenance)))
        self.manifest_id = manifest_identity(kind, self.classes, self.provenance, self.version)
        self._claim = Claim(self.storage, self.manifest_id)
        self._committed = self._committed_header()
        self._written: dict[str, ShardInfo] = {}

    def shard_path(self, dx: str, index: int, staging: bool = False) -> str:
        """Full path of a shard once committed, or of the place where it waits for that."""
        name = shard_name(dx, index)
        return self.storage.shown(f"{STAGING}/{name}" if staging else name)

    def has_shard(self, dx: str, index: int) -> bool:
        """Whether a whole shard of this manifest is there, from this attempt or an earlier one."""
        name = shard_name(dx, index)
        return name in self._written or self._place(name) is not None

    def write_shard(self, dx: str, index: int, rows: Sequence[PairRow]) -> ShardInfo:
        """Write one shard, whole or not at all; the same rows give the same bytes in any order.

        Raises BadInput for a row that breaks the contract, ManifestBusy if the location has become another
        manifest's, StorageFailed if the storage does.
        """
        if dx not in self.classes and dx != UNLABELLED:
            raise BadInput(f"{self.location}: class {dx!r} is none of {', '.join(self.classes)}; mend the source.")
        name = shard_name(dx, index)
        content, info = encode_shard(
            rows,
            name=name,
            dx=dx,
            kind=self.kind,
            classes=self.classes,
            manifest_id=self.manifest_id,
            provenance=self.provenance,
        )
        self._put(content, info)
        return info

    def copy_shard(self, entry: ShardEntry, content: bytes) -> None:
        """Write a shard of the same manifest that was written elsewhere."""
        self._put(content, read_shard_info(content, entry.name, entry.dx))

    def _put(self, content: bytes, info: ShardInfo) -> None:
        self._claim.renew()
        there = self.storage.size(info.name) == info.bytes
        if not there or self._committed_sha256().get(info.name) != info.sha256:
            self.storage.write(f"{STAGING}/{info.name}" if self._committed else info.name, content)
        self._written[info.name] = info

    def commit(
        self, shards: Iterable[tuple[str, int]] | None = None, beside: Mapping[str, bytes] | None = None
    ) -> Manifest:
        """Make the manifest exist: of the given shards (dx, index), or of all that bear its identity.

        `beside` are further files, which are in place before the manifest is. Committing the same content twice
        changes nothing. Raises ManifestBusy if somebody else committed here since this writer started, BadInput if
        there is nothing to commit or an id stands in two shards.
        """
        self._claim.renew()
        self._check_not_overtaken()
        files = self._files()
        places = self._places(files, shards)
        infos = [self._info(name, place, files[place]) for name, place in sorted(places.items())]
        self._check_ids(infos)
        header = self._header(infos)
        content = (json.dumps(header, indent=1, ensure_ascii=False, sort_keys=False) + "\n").encode()
        self._claim.renew()
        if self._committed_header() != content or any(place != name for name, place in places.items()):
            self._check_not_overtaken()
            self._swap(places, {CARD_NAME: dataset_card(header).encode(), **(beside or {})}, content)
        self._clear(set(places))
        self._claim.release()
        return open_manifest(self.storage)

    def abandon(self) -> None:
        """Give the location up without committing; finished shards stay for the next attempt."""
        self._claim.release()

    def _check_not_overtaken(self) -> None:
        """ManifestBusy if another manifest than the one found at the start is now committed here."""
        present = self._committed_header()
        if present not in (None, self._committed) and _identity(present) != self.manifest_id:
            raise ManifestBusy(
                f"{self.location}: another writer has committed a manifest there, and it stands; "
                "choose another folder, or run this command again to replace it."
            )

    def _swap(self, places: Mapping[str, str], beside: Mapping[str, bytes], content: bytes) -> None:
        """Readers see the old manifest, then for a moment none, then the new one, and never a mixture.

        Shards keep their names, so the old header goes before the first of its shards does. Whoever is killed in
        that moment has every shard of the new manifest in place or staged, and the same command finishes the commit.
        """
        if self._committed is not None:
            self.storage.delete(HEADER_NAME)
        for name, place in places.items():
            if place != name:
                self.storage.move(place, name)
        for name, file_content in beside.items():
            self.storage.write(name, file_content)
        if not self.storage.create(HEADER_NAME, content):
            raise ManifestBusy(
                f"{self.location}: another writer committed a manifest at the same moment, and it stands; "
                "choose another folder."
            )
        self._committed = content

    def _clear(self, named: set[str]) -> None:
        """Remove shards that the commit does not name and what killed writers left; nothing else."""
        for name in self._files():
            ours = SHARD_PATTERN.fullmatch(name.removeprefix(f"{STAGING}/")) is not None
            if name not in named and (ours or is_leftover(name)):
                self.storage.delete(name)

    def _files(self) -> dict[str, int]:
        """Sizes of all files that may be shards, staged or final."""
        return self.storage.sizes("data") | self.storage.sizes(STAGING)

    def _places(self, files: Mapping[str, int], shards: Iterable[tuple[str, int]] | None) -> dict[str, str]:
        """The file that holds each shard to commit, by the shard's name."""
        if shards is None:
            found = {name.removeprefix(f"{STAGING}/") for name in files}
            names = {name for name in found if SHARD_PATTERN.fullmatch(name)}
        else:
            names = {shard_name(dx, index) for dx, index in shards}
        places = {name: self._place(name, files) for name in sorted(names)}
        missing = [name for name, place in places.items() if place is None]
        if shards is not None and missing:
            raise BadInput(f"{self.storage.shown(missing[0])} was not written; run the same command again.")
        whole = {name: place for name, place in places.items() if place is not None}
        if not whole:
            raise BadInput(f"{self.location}: there are no pairs to commit; check the source.")
        return whole

    def _place(self, name: str, files: Mapping[str, int] | None = None) -> str | None:
        """The file that holds a whole shard of this identity: staged, else final, else None."""
        for place in (f"{STAGING}/{name}", name):
            if files is None or place in files:
                written = self._written.get(name)
                as_written = files is not None and written is not None and files[place] == written.bytes
                if as_written or self._is_own_shard(name, place):
                    return place
        return None

    def _is_own_shard(self, name: str, place: str) -> bool:
        import pyarrow as pa
        import pyarrow.parquet as pq

        try:
            with self.storage.open(place) as file:
                footer = sealed_footer(file)
            found = shard_metadata(pq.read_schema(pa.BufferReader(footer))) if footer else {}
        except (OSError, pa.ArrowException):  # not there, or not whole
            return False
        return found == own_metadata(self.kind, self.manifest_id, name, self.provenance, self.version)

    def _info(self, name: str, place: str, size: int) -> ShardInfo:
        info = self._written.get(name)
        if info is not None and info.bytes == size:
            return info
        match = SHARD_PATTERN.fullmatch(name)
        return read_shard_info(self.storage.read(place), name, class_of_path(match["dx"]) if match else "")

    def _check_ids(self, infos: Sequence[ShardInfo]) -> None:
        import numpy as np

        hashes = np.concatenate([info.id_hashes for info in infos])
        if len(np.unique(hashes)) != len(hashes):
            raise BadInput(f"{self.location}: the same pair id stands in two classes or shards; make the ids unique.")

    def _header(self, infos: Sequence[ShardInfo]) -> dict[str, Any]:
        """manifest.json: everything in it follows from the shards and the identity."""
        dxs = [dx for dx in (*self.classes, UNLABELLED) if any(info.dx == dx for info in infos) or dx in self.classes]
        counts = {split: {dx: _total(infos, dx, split) for dx in dxs} for split in SPLITS}
        header: dict[str, Any] = {
            "format": FORMAT,
            "format_version": self.version,
            "manifest_id": self.manifest_id,
            "kind": self.kind,
            "classes": list(self.classes),
            "rows": sum(info.rows for info in infos),
            "masks": sum(info.masks for info in infos),
            **({"drawn": sum(info.drawn for info in infos)} if self.kind == "real" and self.version > 2 else {}),
            "counts": counts,
            "rejected": {dx: sum(info.rejected for info in infos if info.dx == dx) for dx in dxs},
            "sources": _added(info.sources for info in infos),
            "licences": _added(info.licences for info in infos),
            "provenance": self.provenance,
            "shards": [{name: getattr(info, name) for name in shard_facts(self.kind, self.version)} for info in infos],
        }
        return header | {"checksum": header_checksum(header)}

    def _committed_header(self) -> bytes | None:
        try:
            return self.storage.read(HEADER_NAME)
        except FileNotFoundError:
            return None

    def _committed_sha256(self) -> dict[str, str]:
        """Digest of each shard that the manifest found at the start names; empty if it cannot be read."""
        try:
            return {shard["name"]: shard["sha256"] for shard in json.loads(self._committed or b"{}")["shards"]}
        except (ValueError, KeyError, TypeError):
            return {}


def _identity(header: bytes | None) -> str | None:
    """The identity that a manifest.json gives, None if it cannot be read."""
    try:
        return str(json.loads(header or b"")["manifest_id"])
    except (ValueError, KeyError, TypeError):
        return None


def _total(infos: Iterable[ShardInfo], dx: str, split: str) -> int:
    return sum(info.counts.get(split, 0) for info in infos if info.dx == dx)


def _added(counts: Iterable[Mapping[str, int]]) -> dict[str, int]:
    total: Counter[str] = Counter()
    for count in counts:
        total.update(count)
    return dict(sorted(total.items()))
