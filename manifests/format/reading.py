"""Reading a manifest: only what `manifest.json` names, checked before it is believed."""

from __future__ import annotations

import hashlib
from collections import Counter
from collections.abc import Iterator, Mapping, Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import TYPE_CHECKING, Any

from manifests.errors import BadInput, first_line
from manifests.format.footer import committed_footer
from manifests.format.header import ShardEntry, parse_header
from manifests.format.schema import BULKY, FOUND_MASKS, HEADER_NAME, MASK_FACTS, Kind, column_types, is_doubtful
from manifests.format.shards import shard_metadata
from manifests.pairs import PairArrays
from manifests.storage import storage_at
from manifests.storage.base import Storage

if TYPE_CHECKING:
    import pyarrow as pa
    import pyarrow.parquet as pq


@dataclass(frozen=True, eq=False)
class Manifest:
    """A committed manifest, open for reading; holds no file open and can be sent to another process.

    header: manifest.json; digest: sha256 of its bytes, which stands for every byte of the manifest.
    """

    storage: Storage
    header: Mapping[str, Any]
    digest: str
    shards: tuple[ShardEntry, ...]

    @property
    def location(self) -> str:
        return self.storage.location

    @property
    def classes(self) -> tuple[str, ...]:
        return tuple(self.header["classes"])

    @property
    def kind(self) -> Kind:
        kind: Kind = self.header["kind"]
        return kind

    @property
    def drawn(self) -> int:
        """How many pairs were drawn by a program, as those of a phantom are."""
        return int(self.header.get("drawn", 0))

    @property
    def all_drawn(self) -> bool:
        """Whether a program drew every pair."""
        return 0 < self.header["rows"] == self.drawn

    @property
    def least_confidence(self) -> float:
        """Confidence below which a found mask is doubtful."""
        return float(self.header["provenance"].get(FOUND_MASKS, {}).get("least_confidence", 0.0))

    @property
    def mask_facts(self) -> list[str]:
        """The columns that tell of a mask's origin; none in synthetic manifests and real ones of version 1."""
        return [name for name in MASK_FACTS if name in self.columns()]

    def masks_by(self, split: str | None = None) -> Counter[tuple[str, str]]:
        """Rows with a mask by class and by `given`, `predicted` or, of too little confidence, `doubtful`."""
        if self.header["masks"] == self.header["rows"] and FOUND_MASKS not in self.header["provenance"]:
            counts = self.counts()
            chosen = [counts[split]] if split else list(counts.values())
            return sum((Counter({(dx, "given"): n for dx, n in own.items() if n}) for own in chosen), Counter())
        rows = self.table(["dx", "mask_sha256", *self.mask_facts], split).to_pylist()
        found: Counter[tuple[str, str]] = Counter()
        for row in (row for row in rows if row["mask_sha256"] is not None):
            doubtful = is_doubtful(row, self.least_confidence)
            found[row["dx"], "doubtful" if doubtful else row.get("mask_origin") or "given"] += 1
        return found

    def counts(self) -> dict[str, dict[str, int]]:
        """Pairs by split and class; of synthetic ones those that were accepted."""
        return {split: dict(by_dx) for split, by_dx in self.header["counts"].items()}

    def open_shard(self, entry: ShardEntry) -> pq.ParquetFile:
        """The Parquet file of a shard, BadInput naming it if it is not what was committed."""
        import pyarrow as pa

        where = self.storage.shown(entry.name)
        check_size(self.storage, entry, self.storage.size(entry.name))
        try:
            file = parquet_file(self.storage, entry, page_checksum_verification=True)
            leaves = leaf_columns(file)
            said = shard_metadata(file.schema_arrow)
        except (pa.ArrowException, OSError, UnicodeDecodeError) as error:
            raise damaged(where, error) from None
        if said.get("manifest_id") != self.header["manifest_id"] or said.get("shard") != entry.name:
            raise BadInput(f"{where} belongs to another manifest or place; restore the shard from its original.")
        wanted = {name for name in self.columns() if name not in BULKY} | {f"{name}.bytes" for name in BULKY}
        if absent := sorted(wanted - leaves.keys()):
            raise damaged(where, ValueError(f"no column {absent[0]}"))
        if file.metadata.num_rows != entry.rows:
            raise BadInput(
                f"{where} has {file.metadata.num_rows} rows where {HEADER_NAME} says {entry.rows}; "
                "restore the shard from its original."
            )
        return file

    def row_groups(
        self,
        columns: Sequence[str] | None = None,
        split: str | None = None,
        dx: str | None = None,
        accepted_only: bool = True,
    ) -> Iterator[pa.Table]:
        """The chosen rows, one row group after another, so that memory stays flat however many there are."""
        for entry in self.shards:
            if dx is None or entry.dx == dx:
                yield from _shard_groups(self, entry, columns, split, accepted_only)

    def table(
        self,
        columns: Sequence[str] | None = None,
        split: str | None = None,
        dx: str | None = None,
        accepted_only: bool = True,
    ) -> pa.Table:
        """The chosen rows sorted by pair_id; all columns, pictures too, unless some are named."""
        import pyarrow as pa
        import pyarrow.compute as pc

        wanted = list(columns) if columns is not None else self.columns()
        read = wanted if "pair_id" in wanted else ["pair_id", *wanted]
        groups = list(self.row_groups(read, split, dx, accepted_only))
        if not groups:
            groups = [self.open_shard(self.shards[0]).schema_arrow.empty_table().select(read)]
        table = pa.concat_tables(groups)
        return table.take(pc.sort_indices(table["pair_id"])).select(wanted)

    def columns(self) -> list[str]:
        """Names of the columns in the contract's order."""
        return list(column_types(self.kind, self.header["format_version"]))

    def arrays(
        self,
        split: str | None = None,
        dx: str | None = None,
        size: int | None = None,
        accepted_only: bool = True,
        cache: Path | None = None,
    ) -> PairArrays:
        """The chosen pairs decoded, sorted by pair_id, in memory or, with a `cache` folder, memory-mapped.

        size: side of the square to which images are resized by area or bilinearly and masks by nearest
        neighbour. A pair without a mask, or with a doubtful one, gets an empty one. BadInput if pairs differ in size
        and none is given.
        """
        from manifests.format.decoding import decoded_arrays

        return decoded_arrays(self, split, dx, size, accepted_only, cache)


def open_manifest(location: str | Path | Storage) -> Manifest:
    """Open a committed manifest.

    Raises BadInput if there is none, if manifest.json was changed after the commit, or if a shard that it
    names is missing or has another length; each sentence names the file.
    """
    manifest = read_header(location)
    sizes = manifest.storage.sizes("data")
    for shard in manifest.shards:
        check_size(manifest.storage, shard, sizes.get(shard.name))
    return manifest


def read_header(location: str | Path | Storage) -> Manifest:
    """A manifest whose manifest.json was checked and whose shards were not yet looked at."""
    storage = storage_at(location)
    where = storage.shown(HEADER_NAME)
    try:
        content = storage.read(HEADER_NAME)
    except FileNotFoundError:
        raise BadInput(
            f"{storage.location} holds no committed manifest ({HEADER_NAME} is not there); "
            "run the command that writes it to its end."
        ) from None
    header, shards = parse_header(content, where)
    return Manifest(storage, header, hashlib.sha256(content).hexdigest(), shards)


def parquet_file(storage: Storage, entry: ShardEntry, **options: Any) -> pq.ParquetFile:
    """A shard opened by pyarrow, which parses only the footer that was committed; BadInput for another."""
    import pyarrow as pa
    import pyarrow.parquet as pq

    metadata = pq.read_metadata(pa.BufferReader(committed_footer(storage, entry)))
    source: Any = storage.path(entry.name) if storage.local else storage.open(entry.name)
    return pq.ParquetFile(source, metadata=metadata, **options)


def leaf_columns(file: pq.ParquetFile) -> dict[str, int]:
    """Number of each column that holds values, by its path; as the schema has it, without the columns' own facts.

    pyarrow ends the process, without an exception, where those facts are damaged: ask for no more than is needed.
    """
    return {file.schema.column(number).path: number for number in range(len(file.schema))}


def damaged(where: str, error: Exception) -> BadInput:
    """The error for a shard whose bytes make no sense."""
    return BadInput(
        f"{where} is damaged ({first_line(error)}); restore it from its original or make the manifest again."
    )


def read_group(storage: Storage, name: str, file: pq.ParquetFile, group: int, columns: Sequence[str]) -> pa.Table:
    """One row group of the shard `name`; BadInput naming it if its bytes make no sense."""
    import pyarrow as pa

    try:
        return file.read_row_group(group, columns=list(columns), use_threads=False)
    except (pa.ArrowException, OSError) as error:
        raise damaged(storage.shown(name), error) from None


def chosen_rows(table: pa.Table, split: str | None, accepted_only: bool) -> list[int]:
    """Positions of the rows of a split, without those that the gates rejected."""
    splits = table["split"].to_pylist()
    judged = accepted_only and "accepted" in table.column_names
    accepted = table["accepted"].to_pylist() if judged else [True] * len(splits)
    return [row for row, (s, good) in enumerate(zip(splits, accepted, strict=True)) if good and split in (None, s)]


def _shard_groups(
    manifest: Manifest,
    entry: ShardEntry,
    columns: Sequence[str] | None,
    split: str | None,
    accepted_only: bool,
) -> Iterator[pa.Table]:
    storage = manifest.storage
    wanted = list(columns) if columns is not None else manifest.columns()
    filters = [name for name in ("split", "accepted") if name in manifest.columns()]
    with manifest.open_shard(entry) as file:
        for group in range(file.num_row_groups):
            # The small columns first: a group without a chosen row costs no pictures.
            rows = chosen_rows(read_group(storage, entry.name, file, group, filters), split, accepted_only)
            if rows:
                table = read_group(storage, entry.name, file, group, wanted)
                yield table if len(rows) == len(table) else table.take(rows)


def check_size(storage: Storage, entry: ShardEntry, size: int | None) -> None:
    """BadInput naming the shard if its `size` in bytes is not the committed one, or None for none."""
    if size is None:
        raise BadInput(f"{storage.shown(entry.name)} is missing; restore the shard or make the manifest again.")
    if size != entry.bytes:
        raise BadInput(
            f"{storage.shown(entry.name)} has {size} bytes where {HEADER_NAME} says {entry.bytes}; it was "
            "cut or changed: restore the shard or make the manifest again."
        )
