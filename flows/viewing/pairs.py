"""The pairs of manifests by number: small columns in memory, pictures read from the shards when one is asked for."""

from __future__ import annotations

import threading
from collections import OrderedDict
from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from functools import cached_property
from pathlib import Path
from typing import TYPE_CHECKING, Any

import numpy as np
from pydantic import BaseModel, ConfigDict, Field

from manifests.errors import BadInput, EvendermError
from manifests.format.header import ShardEntry
from manifests.format.reading import Manifest, open_manifest, read_group
from manifests.format.schema import BULKY, HEADER_NAME, SCORES
from manifests.png import pixel_digest

if TYPE_CHECKING:
    import pyarrow as pa
    import pyarrow.parquet as pq

KINDS = ("dx", "split", "origin", "gate", "review")
"""What pairs are told apart by, each with few values."""
FIGURES = (*(f"score_{name}" for name in SCORES), "nearest_similarity")
ACCEPTED = "accepted"
NEAREST = 6
CACHED_BYTES = 192_000_000
OPEN_FILES = 16
Pictures = tuple[bytes, bytes | None]
"""An image and its mask as PNG."""


class Query(BaseModel):
    """Which pairs are shown, and in which order; empty is any. figure: what least and most limit and tiles show;
    mine: what `reader` said of them; start, count: the part that is asked for."""

    model_config = ConfigDict(extra="ignore", frozen=True)

    dx: str = ""
    split: str = ""
    origin: str = ""
    gate: str = ""
    review: str = ""
    find: str = Field("", max_length=256)
    figure: str = ""
    least: float | None = None
    most: float | None = None
    sort: str = ""
    descending: bool = False
    reader: str = Field("", max_length=200)
    mine: str = ""
    start: int = Field(0, ge=0)
    count: int = Field(120, ge=0, le=400)


@dataclass(frozen=True)
class Shard:
    """A shard by its place, and where its row groups begin."""

    manifest: Manifest
    entry: ShardEntry
    starts: np.ndarray
    first: int


class PairTable:
    """Every pair of some manifests, rejected ones too, by its number; immutable, and shared by threads."""

    def __init__(self, manifests: Sequence[Manifest]) -> None:
        import pyarrow as pa

        self.manifests = tuple(manifests)
        self.version = "-".join(manifest.digest[:12] for manifest in manifests)
        tables, shards, first = [], list[Shard](), 0
        for manifest in manifests:
            names = [name for name in ("pair_id", *KINDS, "accepted", "reject_reason", *FIGURES)
                     if name in manifest.columns()]  # fmt: skip
            for entry in manifest.shards:
                with manifest.open_shard(entry) as file:
                    tables.append(file.read(names).replace_schema_metadata(None))
                    counts = [file.metadata.row_group(group).num_rows for group in range(file.num_row_groups)]
                shards.append(Shard(manifest, entry, np.cumsum([0, *counts]), first))
                first += entry.rows
        table = pa.concat_tables(tables, promote_options="default")
        self.ids = table["pair_id"].combine_chunks() if len(table) else table["pair_id"]
        self.figures = {name: table[name].to_numpy().astype(float) for name in FIGURES if name in table.column_names}
        self.kinds = {name: _coded(table[name]) for name in KINDS if name in table.column_names}
        self.kinds["gate"] = _coded(_gates(table))
        self._shards, self._firsts = shards, np.array([shard.first for shard in shards])
        self._groups: OrderedDict[tuple[int, int], list[Pictures]] = OrderedDict()
        self._lock, self._held = threading.Lock(), 0
        self._files: OrderedDict[int, pq.ParquetFile] = OrderedDict()
        self._digests: dict[int, str] = {}

    def __len__(self) -> int:
        return len(self.ids)

    @cached_property
    def counts(self) -> dict[str, dict[str, int]]:
        """Pairs by kind and value."""
        return {
            name: {value: int(n) for value, n in zip(values, np.bincount(codes, minlength=len(values)), strict=True)}
            for name, (values, codes) in self.kinds.items()
        }

    def chosen(self, query: Query, among: np.ndarray | None = None) -> np.ndarray:
        """Numbers (N,) of the pairs that a query asks for, in its order; among: bool (len,) of those that may be."""
        import pyarrow.compute as pc

        good = np.ones(len(self), bool) if among is None else among.copy()
        for name in KINDS:
            if wanted := getattr(query, name):
                values, codes = self.kinds.get(name, ([], np.zeros(len(self), int)))
                good &= codes == values.index(wanted) if wanted in values else False
        if query.find:
            good &= pc.match_substring(self.ids, query.find, ignore_case=True).to_numpy(zero_copy_only=False)
        figure = self.figures.get(query.figure)
        if figure is not None:
            good &= figure >= query.least if query.least is not None else True
            good &= figure <= query.most if query.most is not None else True
        numbers = np.flatnonzero(good)
        order = self.figures.get(query.sort)
        if order is None:
            return numbers[::-1] if query.descending else numbers
        # Pairs without the figure come last either way.
        keys = -order[numbers] if query.descending else order[numbers]
        return numbers[np.argsort(keys, kind="stable")]

    def row(self, number: int) -> dict[str, Any]:
        """The small columns of a pair as the page shows them."""
        self._place(number)
        found: dict[str, Any] = {"n": number, "id": self.ids[number].as_py()}
        found |= {name: values[codes[number]] for name, (values, codes) in self.kinds.items()}
        return found | {name: _number(figure[number]) for name, figure in self.figures.items()}

    def provenance(self, number: int) -> dict[str, Any]:
        """Every column of a pair but its pictures."""
        shard, group, row = self._place(number)
        names = [name for name in shard.manifest.columns() if name not in BULKY]
        with self._lock:
            table = self._read(shard, group, names)
        found: dict[str, Any] = table.slice(row, 1).to_pylist()[0]
        return found

    def pictures(self, number: int) -> Pictures:
        """Image and mask of a pair; the row group around it is kept for those that are asked for next."""
        shard, group, row = self._place(number)
        key = (shard.first, group)
        with self._lock:
            if key not in self._groups:
                rows = self._read(shard, group, BULKY).to_pylist()
                self._keep(key, [(row["image"]["bytes"], row["mask"] and row["mask"]["bytes"]) for row in rows])
            self._groups.move_to_end(key)
            return self._groups[key][row]

    def digest(self, number: int) -> str:
        """What stands for the pixels of a pair's image."""
        if number not in self._digests:
            self._digests[number] = pixel_digest(self.pictures(number)[0])
        return self._digests[number]

    def numbers(self, pair_ids: Sequence[str]) -> dict[str, int]:
        """Numbers of pairs by id; those that are not here are left out."""
        import pyarrow as pa
        import pyarrow.compute as pc

        if not pair_ids:
            return {}
        wanted = pa.array(sorted(set(pair_ids)), pa.string())
        there = np.flatnonzero(pc.is_in(self.ids, value_set=wanted).to_numpy(zero_copy_only=False))
        return {self.ids[int(number)].as_py(): int(number) for number in there}

    def _place(self, number: int) -> tuple[Shard, int, int]:
        """The shard of a pair, its row group there, and its row in that."""
        if not 0 <= number < len(self):
            raise BadInput(f"there is no pair {number}; open the page again")
        shard = self._shards[int(np.searchsorted(self._firsts, number, "right")) - 1]
        group = int(np.searchsorted(shard.starts, number - shard.first, "right")) - 1
        return shard, group, number - shard.first - int(shard.starts[group])

    def _read(self, shard: Shard, group: int, columns: Sequence[str]) -> pa.Table:
        """A row group of a shard, whose file stays open for the next one; the lock is held."""
        if shard.first not in self._files:
            self._files[shard.first] = shard.manifest.open_shard(shard.entry)
            while len(self._files) > OPEN_FILES:
                self._files.popitem(last=False)[1].close()
        self._files.move_to_end(shard.first)
        file = self._files[shard.first]
        return read_group(shard.manifest.storage, shard.entry.name, file, group, list(columns))

    def _keep(self, key: tuple[int, int], pictures: list[Pictures]) -> None:
        self._groups[key] = pictures
        self._held += _size(pictures)
        while self._held > CACHED_BYTES and len(self._groups) > 1:
            self._held -= _size(self._groups.popitem(last=False)[1])


class LivePairs:
    """The pairs of some manifests as they are now: another commit of one is seen at the next request."""

    def __init__(self, locations: Sequence[str | Path]) -> None:
        self._locations, self._lock = list(locations), threading.Lock()
        self._seen: list[Any] = []
        self._table: PairTable | None = None

    def table(self, version: str | None = None) -> PairTable:
        """The pairs. Raises EvendermError where `version` is not what is there now."""
        with self._lock:
            seen = [_stamp(location) for location in self._locations]
            if self._table is None or seen != self._seen:
                self._table = PairTable([open_manifest(location) for location in self._locations])
                self._seen = seen
            table = self._table
        if version is not None and version != table.version:
            raise EvendermError("These pairs were made anew; the page shows them again.")
        return table


def _stamp(location: str | Path) -> Any:
    """What changes when a manifest on a disk is committed anew."""
    try:
        status = (Path(location) / HEADER_NAME).stat()
    except OSError:
        return None
    return status.st_mtime_ns, status.st_size, status.st_ino


def _gates(table: pa.Table) -> Any:
    """What became of each generated pair: accepted, or the gate that rejected it; "" for others."""
    import pyarrow as pa
    import pyarrow.compute as pc

    if "accepted" not in table.column_names:
        return pa.repeat("", len(table))
    reasons = pc.utf8_trim_whitespace(
        pc.replace_substring_regex(pc.fill_null(table["reject_reason"], "unknown"), ":.*", "")
    )
    fate = pc.if_else(pc.fill_null(table["accepted"], False), ACCEPTED, reasons)
    return pc.if_else(pc.is_null(table["accepted"]), "", fate)


def _coded(values: Any) -> tuple[list[str], np.ndarray]:
    """The different values, and for each row the place of its own; what is missing is ""."""
    import pyarrow.compute as pc

    encoded = pc.dictionary_encode(pc.fill_null(values, ""))
    encoded = encoded.combine_chunks() if hasattr(encoded, "combine_chunks") else encoded
    return encoded.dictionary.to_pylist(), encoded.indices.to_numpy(zero_copy_only=False)


def _number(value: float) -> float | None:
    return None if np.isnan(value) else round(float(value), 4)


def _size(pictures: Sequence[Pictures]) -> int:
    return sum(len(image) + len(mask or b"") for image, mask in pictures)


def kinds_named(counts: Mapping[str, Mapping[str, int]]) -> dict[str, list[dict[str, Any]]]:
    """The values of each kind with their counts, most first, for the page's choices."""
    ordered = {name: sorted(own.items(), key=lambda one: (-one[1], one[0])) for name, own in counts.items()}
    return {name: [{"value": value, "pairs": n} for value, n in own if value] for name, own in ordered.items()}
