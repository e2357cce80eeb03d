"""Where each row of a manifest lies, down to the byte, so that a random row costs one row."""

from __future__ import annotations

import os
import struct
from collections import OrderedDict
from collections.abc import Callable, Iterator, Mapping, Sequence
from typing import IO, TYPE_CHECKING, Any, NamedTuple, TypeVar

from manifests.errors import BadInput
from manifests.header import ShardEntry
from manifests.images import PNG_SIGNATURE
from manifests.reading import check_size, chosen_rows, leaf_columns, read_group
from manifests.schema import BULKY

if TYPE_CHECKING:
    import numpy as np
    import pyarrow as pa
    import pyarrow.parquet as pq

    from manifests.reading import Manifest

HELD_FILES = 64
HELD_GROUPS = 16
"""Files kept open and row groups kept in memory; sixteen groups are about 30 MB at 128 px."""


class RowLocator:
    """Gives the PNG bytes of any chosen row of a manifest.

    The first row asked of a row group has its pictures, which are stored uncompressed, found in the file:
    every row then costs reading its own bytes, which the checksums inside the PNG vouch for. On object storage,
    and where the pictures cannot be told apart, the last row groups are read whole, checked and kept instead.
    Open files are per process: a worker opens its own.
    """

    def __init__(self, manifest: Manifest, split: str | None, dx: str | None, accepted_only: bool) -> None:
        self.manifest = manifest
        rows = _sorted_rows(manifest, split, dx, accepted_only)
        self.pair_ids, self.groups, self.labels, self.address, self.chunks = rows
        self._forget()

    def __len__(self) -> int:
        return len(self.labels)

    def __getstate__(self) -> dict[str, Any]:
        return {name: value for name, value in self.__dict__.items() if not name.startswith("_")}

    def __setstate__(self, state: dict[str, Any]) -> None:
        self.__dict__.update(state)
        self._forget()

    def _forget(self) -> None:
        self._process = os.getpid()
        self._files: OrderedDict[int, pq.ParquetFile] = OrderedDict()
        self._tables: OrderedDict[tuple[int, int], pa.Table] = OrderedDict()
        self._raw: OrderedDict[int, IO[bytes]] = OrderedDict()
        self._checked: set[int] = set()
        self._spans: dict[tuple[int, int], tuple[np.ndarray, ...] | None] = {}

    def pictures(self, index: int) -> tuple[bytes, bytes | None]:
        """PNG bytes of image and mask of row `index`; BadInput naming the shard if it is damaged."""
        if self._process != os.getpid():
            self._forget()
        shard, group, row = (int(number) for number in self.address[index])
        spans = self._picture_spans(shard, group) if self.manifest.storage.local else None
        if spans is None:
            table = self._table(shard, group)
            image, mask = (table[name][row].as_py() for name in BULKY)
            return image["bytes"], mask and mask["bytes"]
        image_png, mask_png = (self._read(shard, *span[row].tolist()) for span in spans)
        return image_png, mask_png or None

    def where(self, index: int) -> str:
        """Shard and pair of row `index`, for messages."""
        shard = self.manifest.shards[int(self.address[index, 0])]
        return f"{self.manifest.storage.shown(shard.name)}: pair {self.pair_ids[index].as_py()}"

    def _read(self, shard: int, start: int, end: int) -> bytes:
        """Bytes `start` to `end` of a shard; not through a memory map, whose process dies if the file is cut short."""
        file = _kept(self._raw, shard, HELD_FILES, lambda: self._opened(shard))
        content = os.pread(file.fileno(), end - start, start)
        if len(content) != end - start:
            name = self.manifest.shards[shard].name
            raise BadInput(f"{self.manifest.storage.shown(name)} was cut while it was read; restore the shard.")
        return content

    def _opened(self, shard: int) -> IO[bytes]:
        """A shard's file, once this process has seen that it is the one that was committed."""
        entry, storage = self.manifest.shards[shard], self.manifest.storage
        if shard not in self._checked:
            self.manifest.open_shard(entry).close()
            self._checked.add(shard)
        check_size(storage, entry, storage.size(entry.name))
        return storage.open(entry.name)

    def _table(self, shard: int, group: int) -> pa.Table:
        """The picture columns of a row group, which stay in memory for a while."""
        name = self.manifest.shards[shard].name
        return _kept(
            self._tables,
            (shard, group),
            HELD_GROUPS,
            lambda: read_group(self.manifest.storage, name, self._file(shard), group, BULKY),
        )

    def _file(self, shard: int) -> pq.ParquetFile:
        return _kept(self._files, shard, HELD_GROUPS, lambda: self.manifest.open_shard(self.manifest.shards[shard]))

    def _picture_spans(self, shard: int, group: int) -> tuple[np.ndarray, ...] | None:
        """For each of BULKY, (rows, 2): where the pictures of a row group start and end in the shard.

        Both are 0 where there is no picture. None if the pictures were not stored as this package stores them.
        """
        key = shard, group
        if key not in self._spans:
            chunks = zip(BULKY, self.chunks[key], strict=True)
            spans = [chunk and self._column_spans(shard, group, name, chunk) for name, chunk in chunks]
            known = tuple(span for span in spans if span is not None)
            self._spans[key] = known if len(known) == len(spans) else None
        return self._spans[key]

    def _column_spans(self, shard: int, group: int, name: str, chunk: Chunk) -> np.ndarray | None:
        import numpy as np

        entry = self.manifest.shards[shard]
        if not 0 <= chunk.start <= chunk.end <= entry.bytes:
            return None
        found = _value_spans(self._read(shard, chunk.start, chunk.end))
        if found is None or len(found) > chunk.rows:
            return None
        if len(found) == chunk.rows:
            return found + chunk.start
        digest = f"{name}_sha256"
        table = read_group(self.manifest.storage, entry.name, self._file(shard), group, [digest])
        present = table[digest].is_valid().to_numpy()
        if present.sum() != len(found):
            return None
        spans = np.zeros((chunk.rows, 2), np.int64)
        spans[present] = found + chunk.start
        return spans


class Chunk(NamedTuple):
    """A picture column of a row group: where it starts and ends in the shard, and its number of rows."""

    start: int
    end: int
    rows: int


Key = TypeVar("Key")
Kept = TypeVar("Kept")


def _kept(held: OrderedDict[Key, Kept], key: Key, limit: int, make: Callable[[], Kept]) -> Kept:
    """The entry under `key`, made if it is not there; the least recently used give way."""
    if key not in held:
        held[key] = make()
        while len(held) > limit:
            held.popitem(last=False)
    held.move_to_end(key)
    return held[key]


def _value_spans(written: bytes) -> np.ndarray | None:
    """(N, 2) where the N pictures of a column chunk start and end in it; None if something else is stored there.

    Parquet's plain encoding puts a four-byte length in front of each value and nothing between the values of a
    page; the signature of a PNG tells where the values begin and, after the header of a further page, go on.
    """
    import numpy as np

    found = []
    end = 0
    while (start := written.find(PNG_SIGNATURE, end + 4)) >= 0:
        end = start + struct.unpack_from("<I", written, start - 4)[0]
        found.append((start, end))
    return np.array(found, np.int64).reshape(-1, 2) if not found or end == len(written) else None


class Rows(NamedTuple):
    """The chosen rows, sorted by pair id, and where they lie.

    labels: int64 (N,); address: int32 (N, 3) shard, row group, row; chunks: those of BULKY, by shard and row group,
    None where pictures are compressed or stand in a dictionary.
    """

    pair_ids: pa.Array
    groups: pa.Array
    labels: np.ndarray
    address: np.ndarray
    chunks: Mapping[tuple[int, int], tuple[Chunk | None, ...]]


def _sorted_rows(manifest: Manifest, split: str | None, dx: str | None, accepted_only: bool) -> Rows:
    import numpy as np
    import pyarrow as pa
    import pyarrow.compute as pc

    columns = [c for c in ("pair_id", "group_id", "label", "split", "accepted") if c in manifest.columns()]
    tables, addresses = [], [np.zeros((0, 3), np.int32)]
    chunks: dict[tuple[int, int], tuple[Chunk | None, ...]] = {}
    for number, entry in enumerate(manifest.shards):
        if dx is None or entry.dx == dx:
            with manifest.open_shard(entry) as file:
                for group, rows, table in _chosen_groups(manifest, entry, file, columns, split, accepted_only):
                    tables.append(table)
                    addresses.append(np.array([(number, group, row) for row in rows], np.int32))
                    chunks[number, group] = _picture_chunks(file, group)
    if not tables:
        empty = pa.array([], pa.string())
        return Rows(empty, empty, np.zeros(0, np.int64), addresses[0], chunks)
    table = pa.concat_tables(tables)
    order = pc.sort_indices(table["pair_id"])
    table = table.take(order).combine_chunks()
    ids, groups = (table[name].combine_chunks() for name in ("pair_id", "group_id"))
    return Rows(ids, groups, table["label"].to_numpy(), np.concatenate(addresses)[order.to_numpy()], chunks)


def _chosen_groups(
    manifest: Manifest,
    entry: ShardEntry,
    file: pq.ParquetFile,
    columns: Sequence[str],
    split: str | None,
    accepted_only: bool,
) -> Iterator[tuple[int, list[int], pa.Table]]:
    """(row group, chosen rows in it, their small columns) of a shard, groups without such rows left out."""
    for group in range(file.num_row_groups):
        table = read_group(manifest.storage, entry.name, file, group, columns)
        if rows := chosen_rows(table, split, accepted_only):
            yield group, rows, table.take(rows).select(["pair_id", "group_id", "label"])


def _picture_chunks(file: pq.ParquetFile, group: int) -> tuple[Chunk | None, ...]:
    facts, leaves, found = file.metadata.row_group(group), leaf_columns(file), list[Chunk | None]()
    for name in BULKY:
        leaf = leaves[f"{name}.bytes"]
        schema = file.schema.column(leaf)
        # A struct that may be null, of bytes that may be null. Of other levels pyarrow must not be asked for facts:
        # where they contradict a damaged schema, it ends the process.
        if (schema.max_definition_level, schema.max_repetition_level) != (2, 0):
            found.append(None)
            continue
        column = facts.column(leaf)
        start, end = column.data_page_offset, column.data_page_offset + column.total_compressed_size
        plain = column.compression == "UNCOMPRESSED" and column.dictionary_page_offset is None
        found.append(Chunk(start, end, facts.num_rows) if plain else None)
    return tuple(found)
