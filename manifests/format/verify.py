"""Whether a manifest still is what was committed: everything is hashed, decoded and counted again."""

from __future__ import annotations

import hashlib
from collections import Counter
from collections.abc import Iterator, Mapping
from dataclasses import dataclass, field
from pathlib import Path
from typing import TYPE_CHECKING, Any

from manifests.errors import BadInput, EvendermError, first_line
from manifests.format.card import card_figures
from manifests.format.header import ShardEntry
from manifests.format.reading import Manifest, parquet_file, read_group, read_header
from manifests.format.row_checks import row_faults
from manifests.format.schema import CARD_NAME, HEADER_NAME, SPLITS, arrow_schema, manifest_identity
from manifests.progress import Progress, no_progress
from manifests.storage.base import Storage

if TYPE_CHECKING:
    import pyarrow as pa
    import pyarrow.parquet as pq


@dataclass(frozen=True)
class BadRow:
    """One thing that is wrong; row and pair_id are None where it is the whole file."""

    shard: str
    row: int | None
    pair_id: str | None
    problem: str

    def __str__(self) -> str:
        row = "" if self.row is None else f" row {self.row}"
        return f"{self.shard}{row}{f' ({self.pair_id})' if self.pair_id else ''}: {self.problem}"


@dataclass(frozen=True)
class VerificationReport:
    """What a verification found, in the order of shards and rows."""

    bad: list[BadRow]
    rows: int
    shards: int

    @property
    def ok(self) -> bool:
        return not self.bad


def verify_manifest(location: str | Path | Storage, progress: Progress = no_progress) -> VerificationReport:
    """Hash every file and picture again, decode every mask and check every row against the contract.

    Checked are the schema, hashes, masks (0 and 255, the image's size), labels, that no group stands on two
    sides of the split, that no synthetic pair is in validation or test or passes for a real one, text chunks of
    synthetic pictures, all counts of header and card, and provenance. Raises BadInput where there is no committed
    manifest at all.
    """
    manifest = read_header(location)
    seen = Recount()
    bad = [BadRow(HEADER_NAME, None, None, problem) for problem in _header_faults(manifest.header)]
    done, total = 0, sum(entry.rows for entry in manifest.shards)
    for entry in manifest.shards:
        for rows, found in _shard_faults(manifest, entry, seen):
            bad += found
            done += rows
            progress(done, total, bad=len(bad))
    if seen.complete:
        bad += [BadRow(HEADER_NAME, None, None, problem) for problem in count_faults(manifest.header, seen)]
    bad += [BadRow(CARD_NAME, None, None, problem) for problem in card_faults(manifest.storage, manifest.header)]
    return VerificationReport(bad, seen.rows, len(manifest.shards))


def _header_faults(header: Mapping[str, Any]) -> Iterator[str]:
    expected = manifest_identity(header["kind"], header["classes"], header["provenance"], header["format_version"])
    if header["manifest_id"] != expected:
        yield "its provenance is not the one that the manifest was made from"
    if not header["provenance"]:
        yield "it does not say what the manifest was made from"
    names = [shard["name"] for shard in header["shards"]]
    if len(set(names)) != len(names):
        yield "it names a shard twice"


def _shard_faults(manifest: Manifest, entry: ShardEntry, seen: Recount) -> Iterator[tuple[int, list[BadRow]]]:
    """(rows done, faults found) after the file as a whole and after each of its row groups."""
    whole = [BadRow(entry.name, None, None, problem) for problem in _file_faults(manifest, entry)]
    yield 0, whole
    try:
        with _opened(manifest, entry) as file:
            if problem := _schema_fault(manifest, entry, file):
                raise BadInput(problem)
            if file.metadata.num_rows != entry.rows:
                problem = f"it has {file.metadata.num_rows} rows and {HEADER_NAME} counts {entry.rows}"
                yield 0, [BadRow(entry.name, None, None, problem)]
            before, last_id = 0, ""
            for group in range(file.num_row_groups):
                try:
                    table = read_group(manifest.storage, entry.name, file, group, manifest.columns())
                except EvendermError:
                    seen.complete = False
                    faults = _unreadable_rows(manifest, entry, file, group, before)
                else:
                    faults, last_id = _group_faults(manifest, entry, table, before, last_id, seen)
                rows = file.metadata.row_group(group).num_rows
                before += rows
                yield rows, faults
    except FileNotFoundError:
        seen.complete = False  # said already
    except EvendermError as error:
        seen.complete = False
        yield 0, [BadRow(entry.name, None, None, str(error))]


def _unreadable_rows(
    manifest: Manifest, entry: ShardEntry, file: pq.ParquetFile, group: int, before: int
) -> list[BadRow]:
    """Every row of a row group that cannot be read as a whole, with the columns that cannot be read at all."""
    ids: list[str | None] = [None] * file.metadata.row_group(group).num_rows
    damaged = []
    for name in manifest.columns():
        try:
            table = read_group(manifest.storage, entry.name, file, group, [name])
        except EvendermError:
            damaged.append(name)
        else:
            if name == "pair_id":
                ids = [str(row["pair_id"]) if row else None for row in _rows_read(table)]
    problem = f"its {', '.join(damaged) or 'row group'} cannot be read: the file is damaged there"
    return [BadRow(entry.name, before + number, pair_id, problem) for number, pair_id in enumerate(ids)]


def _opened(manifest: Manifest, entry: ShardEntry) -> pq.ParquetFile:
    """The shard with its page checksums ignored: one changed byte should name its row, not hide a page."""
    import pyarrow as pa

    try:
        return parquet_file(manifest.storage, entry)
    except FileNotFoundError:
        raise
    except BadInput:
        raise BadInput("its footer is not the one that was committed, so its rows cannot be read") from None
    except (pa.ArrowException, OSError) as error:
        raise BadInput(f"it is not a readable Parquet file ({first_line(error)})") from None


def _file_faults(manifest: Manifest, entry: ShardEntry) -> Iterator[str]:
    try:
        with manifest.storage.open(entry.name) as file:
            sha256 = hashlib.sha256()
            while block := file.read(1 << 20):
                sha256.update(block)
            length = file.tell()
    except FileNotFoundError:
        yield "the file is missing"
        return
    if length != entry.bytes:
        yield f"the file has {length} bytes and was committed with {entry.bytes}"
    elif sha256.hexdigest() != entry.sha256:
        yield "the file is not the one that was committed (its sha256 differs)"


def _schema_fault(manifest: Manifest, entry: ShardEntry, file: pq.ParquetFile) -> str | None:
    header = manifest.header
    said = (header["manifest_id"], entry.name, header["provenance"], header["format_version"])
    expected = arrow_schema(manifest.kind, manifest.classes, *said)
    found = file.schema_arrow
    if not found.equals(expected):
        different = sorted({f.name for f in set(found) ^ set(expected)})
        return f"its columns are not those of the contract (see {', '.join(different[:5]) or 'their order'})"
    if not found.equals(expected, check_metadata=True):
        return "its metadata are those of another shard or manifest"
    return None


def _group_faults(
    manifest: Manifest, entry: ShardEntry, table: pa.Table, before: int, last_id: str, seen: Recount
) -> tuple[list[BadRow], str]:
    """Faults of a row group's rows, and its last pair id; `before` rows of the shard precede it."""
    bad = []
    for number, row in enumerate(_rows_read(table)):
        if row is None:
            seen.complete = False
            bad.append(BadRow(entry.name, before + number, None, "it holds text that is not UTF-8"))
            continue
        problems = list(row_faults(row, manifest.kind, manifest.classes, entry.dx, manifest.header["manifest_id"]))
        pair_id = str(row["pair_id"])
        if pair_id < last_id:
            problems.append("the rows are not sorted by pair id")
        last_id = pair_id
        problems += seen.add(row, entry.dx)
        bad += [BadRow(entry.name, before + number, pair_id, problem) for problem in problems]
    return bad, last_id


def _rows_read(table: pa.Table) -> list[dict[str, Any] | None]:
    """The rows of a table, None for one whose text a changed byte has made unreadable."""
    try:
        rows: list[dict[str, Any] | None] = table.to_pylist()
    except UnicodeDecodeError:
        if len(table) == 1:
            return [None]
        return [row for number in range(len(table)) for row in _rows_read(table.slice(number, 1))]
    return rows


@dataclass
class Recount:
    """What has to be remembered from row to row; hashes stand for texts to keep memory small.

    complete: whether every row could be read, without which no count can be held against the header's.
    """

    ids: set[bytes] = field(default_factory=set)
    group_split: dict[bytes, str] = field(default_factory=dict)
    counts: dict[str, Counter[str]] = field(default_factory=lambda: {split: Counter() for split in SPLITS})
    rejected: Counter[str] = field(default_factory=Counter)
    sources: Counter[str] = field(default_factory=Counter)
    licences: Counter[str] = field(default_factory=Counter)
    masks: int = 0
    drawn: int = 0
    rows: int = 0
    complete: bool = True

    def add(self, row: Mapping[str, Any], dx: str) -> Iterator[str]:
        """Count a row of the partition `dx`; faults that show only beside other rows."""
        self.rows += 1
        self.masks += row["mask"] is not None
        self.drawn += row["origin"] == "drawn"
        self.sources[str(row["source"])] += 1
        self.licences[str(row["licence"])] += 1
        split = str(row["split"])
        if row.get("accepted", True):
            self.counts.setdefault(split, Counter())[dx] += 1
        else:
            self.rejected[dx] += 1
        identity = _hash(row["pair_id"])
        if identity in self.ids:
            yield "its pair id stands twice in the manifest"
        self.ids.add(identity)
        side = self.group_split.setdefault(_hash(row["group_id"]), split)
        if side != split:
            yield f"its group {row['group_id']!r} is in {side} as well as in {split}"


def count_faults(header: Mapping[str, Any], found: Recount) -> Iterator[str]:
    """Where manifest.json counts otherwise."""
    for name in ("rows", "masks", "drawn"):
        if header.get(name, 0) != getattr(found, name):
            yield f"it counts {header.get(name, 0)} {name} and there are {getattr(found, name)}"
    for split in SPLITS:
        for dx, said, there in _differing(header["counts"][split], found.counts[split]):
            yield f"it counts {said} pairs of class {dx} in {split} and there are {there}"
    for dx, said, there in _differing(header["rejected"], found.rejected):
        yield f"it counts {said} rejected pairs of {dx} and there are {there}"
    for name in ("sources", "licences"):
        for value, said, there in _differing(header[name], getattr(found, name)):
            yield f"its {name} count {said} pairs of {value[:60]!r} and there are {there}"


def _differing(said: Mapping[str, int], found: Counter[str]) -> Iterator[tuple[str, int, int]]:
    for value in sorted({*said, *found}):
        if said.get(value, 0) != found[value]:
            yield value, said.get(value, 0), found[value]


def card_faults(storage: Storage, header: Mapping[str, Any]) -> Iterator[str]:
    """Where the dataset card counts otherwise than manifest.json; its other text is the user's to change."""
    try:
        lines = set(storage.read(CARD_NAME).decode("utf-8", "replace").splitlines())
    except FileNotFoundError:
        yield "the dataset card is missing"
        return
    for line in card_figures(header):
        if line not in lines:
            yield f"it does not count as {HEADER_NAME} does, with the line {line[:120]!r}"


def _hash(text: Any) -> bytes:
    return hashlib.blake2b(str(text).encode("utf-8", "surrogatepass"), digest_size=12).digest()
