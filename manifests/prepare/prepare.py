"""prepare: a source becomes a real manifest, and everything set aside on the way is listed with its reason."""

from __future__ import annotations

import contextlib
import hashlib
from collections import Counter
from collections.abc import Sequence
from concurrent.futures import ThreadPoolExecutor
from dataclasses import dataclass, field, replace
from pathlib import Path
from typing import Any

from manifests.duplicates.sketches import TrainingPictures
from manifests.errors import BadInput
from manifests.format.schema import ATTRIBUTES, BASE_PICTURES, SPLITS, UNLABELLED, PairRow, check_classes
from manifests.format.writing import ManifestWriter
from manifests.listing.source import Rejection, rejected_csv
from manifests.prepare.admission import CLASSIFICATION, admit_rows
from manifests.prepare.assignment import AssignedRow, Assignment, assign_rows
from manifests.prepare.missing_masks import FoundMasks, MakeFinder, find_missing
from manifests.prepare.pipeline import RowSpools, check_rows, work_folder
from manifests.prepare.splits import read_kept_splits
from manifests.prepare.summary import PrepareSummary, _by_check, summary_markdown
from manifests.prepare.understanding import Understanding, class_counts
from manifests.progress import Progress, no_progress
from manifests.settings import PrepareSettings
from manifests.sources.recognition import find_source
from manifests.storage import storage_at
from manifests.storage.base import Storage, explained
from manifests.workers import side_by_side

SHARD_BYTES = 24 * 1024**2
MOST_SHARD_ROWS = 1000
REJECTED_NAME, SUMMARY_NAME = "rejected.csv", "summary.md"


@dataclass(frozen=True)
class Origin:
    """Where a manifest's rows come from, what they serve (task), and what the reader said of them.

    scaled: masks that were brought to the size of their image.
    """

    source: str
    licence: str
    task: str
    class_place: str = "its label"
    group_place: str = ""
    notes: tuple[str, ...] = ()
    scaled: int = 0


def prepare(
    source: Path,
    out: str | Path,
    settings: PrepareSettings,
    progress: Progress = no_progress,
    make_finder: MakeFinder | None = None,
    pictures: TrainingPictures | None = None,
) -> PrepareSummary:
    """Read the dataset at `source`, check every row, and commit a real manifest at `out`.

    make_finder: what finds missing masks, where the settings allow it; without it they stay missing.
    pictures: those that the base was trained on, for train as `SeenPairs.in_train` says; None where nobody can tell.

    Beside the manifest stand rejected.csv and summary.md, in place before it is. Nothing at `out` changes before all
    rows are checked. Raises BadInput when the source cannot be read, nothing usable remains or, with `strict`,
    anything at all was set aside; StorageFailed when the disk is full.
    """
    storage = storage_at(out)
    with work_folder(storage) as work, contextlib.closing(RowSpools(work)) as spools:
        judged = _judged(Path(source), spools, settings, progress, pictures)
        _refuse_if_strict(judged, spools, settings)
        if not judged.assignment.rows:
            raise BadInput(_nothing_left(judged.folder, judged.rejected))
        if make_finder is not None and settings.finds_masks:
            judged = replace(judged, found=find_missing(judged.assignment.rows, spools, make_finder, progress))
        return _written(storage, judged, spools, settings, progress)


@dataclass(frozen=True)
class _Judged:
    """Every row of a source with its fate.

    enlarged: how many images were smaller than they are stored; kept_from: digest of the manifest whose splits stay;
    base: digest of the pictures that the base was trained on; found: the masks that a segmenter found.
    """

    folder: Path
    origin: Origin
    assignment: Assignment
    rejected: tuple[Rejection, ...]
    enlarged: int
    kept_from: str | None
    base: str | None
    found: FoundMasks = field(default_factory=FoundMasks)


def _judged(
    source: Path,
    spools: RowSpools,
    settings: PrepareSettings,
    progress: Progress,
    pictures: TrainingPictures | None,
) -> _Judged:
    """Reads, checks and assigns; what the source said of each row is let go of before anything is written."""
    kept = read_kept_splits(settings.keep_splits_of) if settings.keep_splits_of else None
    found, folder = find_source(source, settings.source)
    with explained(str(folder), "read"):
        listing = found.read(folder, settings)
    admitted = admit_rows(found.name, listing, settings)
    checked = check_rows(admitted, spools, settings, progress, with_sketches=pictures is not None)
    assignment = assign_rows(checked, spools, settings, progress, kept, pictures)
    rejected = (*listing.rejected, *admitted.rejected, *checked.rejected, *assignment.rejected)
    origin = Origin(
        found.name,
        settings.licence or listing.licence,
        admitted.task,
        listing.class_place,
        listing.group_place,
        (*listing.notes, *admitted.notes),
        len(checked.scaled),
    )
    kept_from, base = (one.digest if one else None for one in (kept, pictures))
    return _Judged(folder, origin, assignment, rejected, len(checked.enlarged), kept_from, base)


def _nothing_left(folder: Path, rejected: Sequence[Rejection]) -> str:
    most = Counter(row.check for row in rejected).most_common(1)
    hint = f", most often for: {most[0][0]} (as in: {_first(rejected, most[0][0])})" if most else ""
    return f"{folder}: no row can be used; all {len(rejected)} were set aside{hint}"


def _first(rejected: Sequence[Rejection], check: str) -> str:
    return next(row.reason for row in rejected if row.check == check)


def _refuse_if_strict(judged: _Judged, spools: RowSpools, settings: PrepareSettings) -> None:
    if not settings.strict:
        return
    rejected, assignment = judged.rejected, judged.assignment
    missing = [row.pair_id for row in assignment.rows if not spools.has_mask(row.place)]
    if rejected:
        first = rejected[0]
        raise BadInput(
            f"strict: {len(rejected)} rows would be set aside, the first for {first.check}: {first.reason}; "
            "mend them or prepare without strict"
        )
    if missing and settings.task != CLASSIFICATION:
        raise BadInput(
            f"strict: {len(missing)} rows have no mask, the first {missing[0]}; add the masks, or prepare with "
            "task=classification or without strict"
        )
    if assignment.disagreeing:
        one, other = assignment.disagreeing[0]
        raise BadInput(
            f"strict: {len(assignment.disagreeing)} near-duplicates have different classes, first {one} and {other}; "
            "mend the labels or prepare without strict"
        )


def _written(
    storage: Storage, judged: _Judged, spools: RowSpools, settings: PrepareSettings, progress: Progress
) -> PrepareSummary:
    origin, assignment = judged.origin, judged.assignment
    present = {row.dx for row in assignment.rows} - {UNLABELLED}
    expected = settings.classes if isinstance(settings.classes, tuple) else ()
    classes = check_classes(expected or sorted(present), storage.location)
    writer = ManifestWriter(
        storage,
        classes=classes,
        kind="real",
        provenance={
            "source": origin.source,
            "task": origin.task,
            "settings": settings.model_dump(mode="json", exclude={"workers", "source", "keep_splits_of"}),
            "splits": assignment.split_note,
            "content": _content_digest(assignment),
            "set_aside": _by_check(judged.rejected),
            **({"splits_of": judged.kept_from} if judged.kept_from else {}),
            **({BASE_PICTURES: judged.base} if judged.base else {}),
            **judged.found.provenance(),
        },
    )
    summary = _summary(classes, judged, spools, settings)
    page = summary_markdown(summary, assignment, judged.enlarged, settings)
    beside = {REJECTED_NAME: rejected_csv(judged.rejected), SUMMARY_NAME: page.encode("utf-8", "backslashreplace")}
    shards = _write_shards(writer, judged, spools, settings.workers, progress)
    manifest = writer.commit(shards, beside)
    return replace(summary, manifest_digest=manifest.digest)


def _summary(classes: tuple[str, ...], judged: _Judged, spools: RowSpools, settings: PrepareSettings) -> PrepareSummary:
    """What will have been done; the digest is not known before the commit."""
    counts = _counts(classes, judged.assignment)
    trained = {dx: counts["train"].get(dx, 0) for dx in classes}
    return PrepareSummary(
        judged.origin.source,
        judged.origin.task,
        classes,
        counts,
        judged.rejected,
        judged.assignment.duplicates,
        len({row.group for row in judged.assignment.rows}),
        {dx: count for dx, count in trained.items() if count < settings.min_pairs},
        manifest_digest="",
        understood=_understanding(judged, spools).lines(),
    )


def _understanding(judged: _Judged, spools: RowSpools) -> Understanding:
    origin, rows = judged.origin, judged.assignment.rows
    given, found = sum(spools.has_mask(row.place) for row in rows), judged.found
    scaled = (f"{origin.scaled} masks were of another size than their image and were scaled",) if origin.scaled else ()
    return Understanding(
        origin.source,
        origin.task,
        class_counts(row.dx for row in rows),
        origin.class_place,
        len({row.group for row in rows}),
        origin.group_place,
        Counter(row.split for row in rows),
        judged.assignment.split_note,
        given,
        len(rows) - given - len(found.confidence),
        (*found.notes(), *origin.notes, *scaled),
        len(found.confidence),
    )


def _counts(classes: tuple[str, ...], assignment: Assignment) -> dict[str, dict[str, int]]:
    """Pairs by split and class, as the manifest counts them."""
    found = Counter((row.split, row.dx) for row in assignment.rows)
    named = [*classes, UNLABELLED] if any(dx == UNLABELLED for _, dx in found) else classes
    return {split: {dx: found[split, dx] for dx in named} for split in SPLITS}


def _content_digest(assignment: Assignment) -> str:
    """What the manifest will hold: ids, classes, splits, groups and pixels."""
    digest = hashlib.sha256()
    for row in assignment.rows:
        fields = (row.pair_id, row.dx, row.split, row.group, row.pixels.hex())
        digest.update("\x1f".join(fields).encode("utf-8", "surrogatepass") + b"\n")
    return digest.hexdigest()


def _write_shards(
    writer: ManifestWriter, judged: _Judged, spools: RowSpools, workers: int, progress: Progress
) -> list[tuple[str, int]]:
    """Shards of each class in the order of ids, about SHARD_BYTES each; their names."""
    assignment = judged.assignment
    total, written = len(assignment.rows), 0
    per_shard = max(1, min(MOST_SHARD_ROWS, SHARD_BYTES // max(1, spools.mean_pair_bytes())))
    chunks: dict[tuple[str, int], list[AssignedRow]] = {}
    for dx in sorted({row.dx for row in assignment.rows}):
        of_class = [row for row in assignment.rows if row.dx == dx]
        for index, start in enumerate(range(0, len(of_class), per_shard)):
            chunks[dx, index] = of_class[start : start + per_shard]

    def write(shard: tuple[str, int]) -> int:
        return writer.write_shard(*shard, [_pair_row(row, judged, spools) for row in chunks[shard]]).rows

    with ThreadPoolExecutor(workers) as pool:
        for rows in side_by_side(pool, write, chunks, workers):
            written += rows
            progress(total + written, 2 * total, step="writing")
    return list(chunks)


def _pair_row(row: AssignedRow, judged: _Judged, spools: RowSpools) -> PairRow:
    image_png, mask_png = spools.pair(row.place)
    found, origin = spools.found(row.place), judged.origin
    told = dict(row.attributes)
    return PairRow(
        pair_id=row.pair_id,
        image_png=image_png,
        mask_png=mask_png or found,
        dx=row.dx,
        split=row.split,
        group_id=row.group,
        source=origin.source,
        licence=row.licence or origin.licence,
        attribution=row.attribution,
        mask_origin="predicted" if found else None,
        mask_confidence=judged.found.confidence.get(row.place),
        seen_by_base=row.seen,
        **dict[str, Any]((name, told.get(name)) for name in ATTRIBUTES),
    )
