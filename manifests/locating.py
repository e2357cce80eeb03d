"""Where each row of a manifest lies, down to the byte, so that a random row costs one row."""

from __future__ import annotations

import os
import struct
from collections import OrderedDict
from collections.abc import Callable, Sequence
from typing import IO, TYPE_CHECKING, Any, TypeVar

from manifests.errors import BadInput
from manifests.header import ShardEntry
from manifests.reading import chosen_rows, read_group
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

    The first row asked of a row group has the group read and checked, and its pictures, which are stored
    uncompressed, found in the file: every later row of the group costs reading its own bytes. On object
    storage the last row groups are kept instead. Open files are per process: a worker opens its own.
    """

    def __init__(self, manifest: Manifest, split: str | None, dx: str | None, accepted_only: bool) -> None:
        self.manifest = manifest
        self.pair_ids, self.groups, self.labels, self.address = _sorted_rows(manifest, split, dx, accepted_only)
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
        self._spans: dict[tuple[int, int], dict[str, np.ndarray]] = {}

    def pictures(self, index: int) -> tuple[bytes, bytes | None]:
        """PNG bytes of image and mask of row `index`; BadInput naming the shard if it is damaged."""
        if self._process != os.getpid():
            self._forget()
        shard, group, row = (int(number) for number in self.address[index])
        if not self.manifest.storage.local:
            table = self._table(shard, group)
            image, mask = (table[name][row].as_py() for name in BULKY)
            return image["bytes"], mask and mask["bytes"]
        spans = self._spans.get((shard, group))
        if spans is None:
            spans = self._spans[shard, group] = self._locate(shard, group)
        image_png, mask_png = (self._read(shard, *spans[name][row]) for name in BULKY)
        return image_png, mask_png or None

    def where(self, index: int) -> str:
        """Shard and pair of row `index`, for messages."""
        shard = self.manifest.shards[int(self.address[index, 0])]
        return f"{self.manifest.storage.shown(shard.name)}: pair {self.pair_ids[index].as_py()}"

    def _read(self, shard: int, start: int, end: int) -> bytes:
        """Bytes of a shard; not through a memory map, whose process dies if the file is cut short."""
        name = self.manifest.shards[shard].name
        file = _kept(self._raw, shard, HELD_FILES, lambda: self.manifest.storage.open(name))
        content = os.pread(file.fileno(), int(end - start), int(start))
        if len(content) != end - start:
            raise BadInput(f"{self.manifest.storage.shown(name)} was cut while it was read; restore the shard.")
        return content

    def _table(self, shard: int, group: int) -> pa.Table:
        """The picture columns of a row group, which stay in memory for a while."""
        entry = self.manifest.shards[shard]
        file = _kept(self._files, shard, HELD_GROUPS, lambda: self.manifest.open_shard(entry))
        return _kept(
            self._tables,
            (shard, group),
            HELD_GROUPS,
            lambda: read_group(self.manifest.storage, entry.name, file, group, BULKY),
        )

    def _locate(self, shard: int, group: int) -> dict[str, np.ndarray]:
        """(rows, 2) start and end in the shard of each picture of a row group, by column."""
        table = self._table(shard, group)
        chunks = self._files[shard].metadata.row_group(group)
        columns = [chunks.column(number) for number in range(chunks.num_columns)]
        spans = {}
        for name in BULKY:
            chunk = next(c for c in columns if c.path_in_schema == f"{name}.bytes")
            start = chunk.data_page_offset
            written = self._read(shard, start, start + chunk.total_compressed_size)
            spans[name] = _value_spans(table[name].to_pylist(), written, start)
        del self._tables[shard, group]
        return spans


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


def _value_spans(pictures: Sequence[dict[str, Any] | None], written: bytes, start: int) -> np.ndarray:
    """(rows, 2) where each picture's bytes stand in the file, (0, 0) where there is no picture.

    `written` is the column chunk that begins at `start` of the file. Parquet's plain encoding puts a
    four-byte length in front of each value. What is found is compared with what was read, so the answer is
    right whatever stands between the values.
    """
    import numpy as np

    found = np.zeros((len(pictures), 2), np.int64)
    cursor = 0
    for row, picture in enumerate(pictures):
        if picture is not None:
            content: bytes = picture["bytes"]
            cursor = written.index(struct.pack("<I", len(content)) + content, cursor) + 4
            found[row] = start + cursor, start + cursor + len(content)
            cursor += len(content)
    return found


def _sorted_rows(
    manifest: Manifest, split: str | None, dx: str | None, accepted_only: bool
) -> tuple[pa.Array, pa.Array, np.ndarray, np.ndarray]:
    """pair ids, group ids, labels (N,) and addresses (N, 3: shard, row group, row), sorted by pair id."""
    import numpy as np
    import pyarrow as pa
    import pyarrow.compute as pc

    columns = [c for c in ("pair_id", "group_id", "label", "split", "accepted") if c in manifest.columns()]
    tables, addresses = [], [np.zeros((0, 3), np.int32)]
    for number, entry in enumerate(manifest.shards):
        if dx is None or entry.dx == dx:
            for group, rows, table in _chosen_groups(manifest, entry, columns, split, accepted_only):
                tables.append(table)
                addresses.append(np.array([(number, group, row) for row in rows], np.int32))
    if not tables:
        empty = pa.array([], pa.string())
        return empty, empty, np.zeros(0, np.int64), addresses[0]
    table = pa.concat_tables(tables)
    order = pc.sort_indices(table["pair_id"])
    table = table.take(order).combine_chunks()
    ids, groups = (table[name].combine_chunks() for name in ("pair_id", "group_id"))
    return ids, groups, table["label"].to_numpy(), np.concatenate(addresses)[order.to_numpy()]


def _chosen_groups(
    manifest: Manifest, entry: ShardEntry, columns: Sequence[str], split: str | None, accepted_only: bool
) -> list[tuple[int, list[int], pa.Table]]:
    """(row group, chosen rows in it, their small columns) of a shard, groups without such rows left out."""
    found = []
    with manifest.open_shard(entry) as file:
        for group in range(file.num_row_groups):
            table = read_group(manifest.storage, entry.name, file, group, columns)
            if rows := chosen_rows(table, split, accepted_only):
                found.append((group, rows, table.take(rows).select(["pair_id", "group_id", "label"])))
    return found
