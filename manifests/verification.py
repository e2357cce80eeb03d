"""Whether a manifest still is what was committed: everything is hashed, decoded and counted again."""

from __future__ import annotations

import hashlib
from collections import Counter
from collections.abc import Iterator, Mapping
from dataclasses import dataclass, field
from pathlib import Path
from typing import TYPE_CHECKING, Any

from manifests.errors import BadInput, EvendermError
from manifests.header import ShardEntry
from manifests.progress import Progress, no_progress
from manifests.reading import Manifest, read_group, read_header
from manifests.row_checks import row_faults
from manifests.schema import HEADER_NAME, SPLITS, UNLABELLED, arrow_schema, manifest_identity
from manifests.storage import Storage, shortened

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
        place = self.shard if self.row is None else f"{self.shard} row {self.row} ({self.pair_id})"
        return f"{place}: {self.problem}"


@dataclass(frozen=True)
class VerificationReport:
    """What a verification found, in the order of shards and rows."""

    bad: list[BadRow]
    rows: int
    shards: int

    @property
    def ok(self) -> bool:
        return not self.bad


@dataclass
class _Seen:
    """What has to be remembered from row to row; hashes stand for texts to keep memory small."""

    ids: set[bytes] = field(default_factory=set)
    group_split: dict[bytes, str] = field(default_factory=dict)
    counts: dict[str, Counter[str]] = field(default_factory=lambda: {split: Counter() for split in SPLITS})
    rejected: Counter[str] = field(default_factory=Counter)
    rows: int = 0


def verify_manifest(location: str | Path | Storage, progress: Progress = no_progress) -> VerificationReport:
    """Hash every file and picture again, decode every mask and check every row against the contract.

    Checked are the schema, hashes, masks (0 and 255, the image's size), labels, that no group stands on two
    sides of the split, that no synthetic pair is in validation or test, text chunks of synthetic pictures,
    counts and provenance. Raises BadInput where there is no committed manifest at all.
    """
    manifest = read_header(location)
    seen = _Seen()
    bad = [BadRow(HEADER_NAME, None, None, problem) for problem in _header_faults(manifest.header)]
    done, total = 0, sum(entry.rows for entry in manifest.shards)
    for entry in manifest.shards:
        for rows, found in _shard_faults(manifest, entry, seen):
            bad += found
            done += rows
            progress(done, total, bad=len(bad))
    if not any(row.row is None for row in bad):
        bad += [BadRow(HEADER_NAME, None, None, problem) for problem in _count_faults(manifest.header, seen)]
    return VerificationReport(bad, seen.rows, len(manifest.shards))


def _header_faults(header: Mapping[str, Any]) -> Iterator[str]:
    expected = manifest_identity(header["kind"], header["classes"], header["provenance"])
    if header["manifest_id"] != expected:
        yield "its provenance is not the one that the manifest was made from"
    if not header["provenance"]:
        yield "it does not say what the manifest was made from"
    names = [shard["name"] for shard in header["shards"]]
    if len(set(names)) != len(names):
        yield "it names a shard twice"


def _count_faults(header: Mapping[str, Any], seen: _Seen) -> Iterator[str]:
    for split in SPLITS:
        for dx in {*header["counts"][split], *seen.counts[split]}:
            said, found = header["counts"][split].get(dx, 0), seen.counts[split][dx]
            if said != found:
                yield f"it counts {said} pairs of class {dx} in {split} and there are {found}"
    if header["rows"] != seen.rows:
        yield f"it counts {header['rows']} rows and there are {seen.rows}"
    for dx in {*header["rejected"], *seen.rejected}:
        if header["rejected"].get(dx, 0) != seen.rejected[dx]:
            yield f"it counts {header['rejected'].get(dx, 0)} rejected pairs of {dx}, not {seen.rejected[dx]}"


def _shard_faults(manifest: Manifest, entry: ShardEntry, seen: _Seen) -> Iterator[tuple[int, list[BadRow]]]:
    """(rows done, faults found) after the file as a whole and after each of its row groups."""
    whole = [BadRow(entry.name, None, None, problem) for problem in _file_faults(manifest, entry)]
    yield 0, whole
    if any("missing" in row.problem for row in whole):
        return
    try:
        with _opened(manifest, entry) as file:
            if problem := _schema_fault(manifest, entry, file):
                yield 0, [BadRow(entry.name, None, None, problem)]
                return
            before, last_id = 0, ""
            for group in range(file.num_row_groups):
                table = read_group(manifest.storage, entry.name, file, group, manifest.columns())
                faults, last_id = _group_faults(manifest, entry, table, before, last_id, seen)
                before += len(table)
                yield len(table), faults
    except EvendermError as error:
        yield 0, [BadRow(entry.name, None, None, str(error))]


def _opened(manifest: Manifest, entry: ShardEntry) -> pq.ParquetFile:
    """The shard with its page checksums ignored: one changed byte should name its row, not hide a page."""
    import pyarrow as pa
    import pyarrow.parquet as pq

    try:
        return pq.ParquetFile(manifest.storage.open(entry.name))
    except (pa.ArrowException, OSError) as error:
        raise BadInput(f"it is not a readable Parquet file ({shortened(error)})") from None


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
    expected = arrow_schema(manifest.kind, manifest.classes, header["manifest_id"], entry.name, header["provenance"])
    found = file.schema_arrow
    if not found.equals(expected):
        different = sorted({f.name for f in set(found) ^ set(expected)})
        return f"its columns are not those of the contract (see {', '.join(different[:5]) or 'their order'})"
    if not found.equals(expected, check_metadata=True):
        return "its metadata are those of another shard or manifest"
    return None


def _group_faults(
    manifest: Manifest, entry: ShardEntry, table: pa.Table, before: int, last_id: str, seen: _Seen
) -> tuple[list[BadRow], str]:
    """Faults of a row group's rows, and its last pair id; `before` rows of the shard precede it."""
    bad = []
    for number, row in enumerate(_rows_read(table)):
        if row is None:
            bad.append(BadRow(entry.name, before + number, None, "it holds text that is not UTF-8"))
            continue
        problems = list(row_faults(row, manifest.kind, manifest.classes, entry.dx, manifest.header["manifest_id"]))
        pair_id = str(row["pair_id"])
        if pair_id < last_id:
            problems.append("the rows are not sorted by pair id")
        last_id = pair_id
        problems += _remember(row, seen, entry.dx)
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


def _remember(row: Mapping[str, Any], seen: _Seen, dx: str) -> Iterator[str]:
    """Faults that show only beside other rows."""
    seen.rows += 1
    identity = _hash(row["pair_id"])
    if identity in seen.ids:
        yield "its pair id stands twice in the manifest"
    seen.ids.add(identity)
    split = str(row["split"])
    if row.get("accepted", True):
        seen.counts.setdefault(split, Counter())[dx or UNLABELLED] += 1
    else:
        seen.rejected[dx] += 1
    side = seen.group_split.setdefault(_hash(row["group_id"]), split)
    if side != split:
        yield f"its group {row['group_id']!r} is in {side} as well as in {split}"


def _hash(text: Any) -> bytes:
    return hashlib.blake2b(str(text).encode("utf-8", "surrogatepass"), digest_size=12).digest()
