"""Checking all rows side by side, with what is needed later kept on disk and not in memory."""

from __future__ import annotations

import contextlib
import tempfile
from collections.abc import Iterator, Sequence
from dataclasses import dataclass, field
from functools import partial
from pathlib import Path

import cv2
import numpy as np

from manifests.duplicates.fingerprints import RECORD
from manifests.duplicates.sketches import SKETCH, THUMBNAILS, sketched
from manifests.errors import BadInput
from manifests.listing.source import Rejection, SourceRow
from manifests.prepare.admission import CLASSIFICATION, Admitted
from manifests.prepare.checks import CheckedRow, check_row
from manifests.progress import Progress
from manifests.settings import PrepareSettings
from manifests.storage.base import Storage, explained
from manifests.storage.spool import ByteSpool, RecordSpool
from manifests.workers import side_by_side, worker_pool

TOGETHER = 16
"""Rows that a worker takes at once: handing over every row by itself costs a tenth of the time."""


class RowSpools:
    """The encoded pairs and the fingerprints of all rows that passed, by their place in the order of checking."""

    def __init__(self, folder: Path) -> None:
        self.folder = folder
        self._images = ByteSpool(folder / "images")
        self._masks = ByteSpool(folder / "masks")
        self._found = ByteSpool(folder / "found-masks")
        self._found_at: dict[int, int] = {}
        self.fingerprints = RecordSpool(folder / "fingerprints", RECORD)
        self.sketches = RecordSpool(folder / "sketches", np.dtype(np.int8), (2, SKETCH))

    def add(self, rows: Sequence[CheckedRow]) -> None:
        self._images.add([row.image_png for row in rows])
        self._masks.add([row.mask_png or b"" for row in rows])
        fingerprints = [row.fingerprint for row in rows if row.fingerprint is not None]
        if fingerprints:
            self.fingerprints.add(np.frombuffer(b"".join(fingerprints), RECORD))
        thumbnails = [row.thumbnails for row in rows if row.thumbnails is not None]
        if thumbnails:
            self.sketches.add(sketched(np.frombuffer(b"".join(thumbnails), np.uint8).reshape(-1, *THUMBNAILS)))

    def pair(self, place: int) -> tuple[bytes, bytes | None]:
        """PNG of image and mask."""
        return self._images.get(place), self._masks.get(place) or None

    def has_mask(self, place: int) -> bool:
        """Whether the row at `place` has a mask."""
        return bool(self._masks.get(place))

    def add_found(self, place: int, mask_png: bytes) -> None:
        """Keep a mask that was found for the row at `place`, beside those that are given."""
        self._found_at[place] = len(self._found)
        self._found.add([mask_png])

    def found(self, place: int) -> bytes | None:
        """PNG of the mask that was found for the row at `place`."""
        return self._found.get(self._found_at[place]) if place in self._found_at else None

    def mean_pair_bytes(self) -> int:
        return (self._images.total() + self._masks.total()) // max(1, len(self._images))

    def close(self) -> None:
        for spool in (self._images, self._masks, self._found, self.fingerprints, self.sketches):
            spool.close()


@contextlib.contextmanager
def work_folder(storage: Storage) -> Iterator[Path]:
    """A folder for the spools, on the disk of a local manifest; gone when the block ends, however it ends."""
    parent: Path | None = None
    if storage.local:
        root = Path(storage.path("x")).parent.absolute()
        if root.exists() and not root.is_dir():
            raise BadInput(f"{root} is a file, not a folder; choose another place for the manifest")
        parent = root.parent
        with explained(str(parent), "write"):
            try:
                parent.mkdir(parents=True, exist_ok=True)
            except FileExistsError:
                raise BadInput(f"{parent} is a file, not a folder; choose another place for the manifest") from None
    with explained(str(parent or tempfile.gettempdir()), "write"):
        folder = tempfile.TemporaryDirectory(dir=parent, prefix=".prepare-", ignore_cleanup_errors=True)
    with folder as name:
        yield Path(name)


@dataclass(frozen=True)
class CheckedRows:
    """The rows that passed, in the order of their ids; place i of the spools belongs to entry i of the first three.

    enlarged, scaled: ids of those whose image was smaller than it is stored, and whose mask was scaled to its image.
    """

    pair_ids: list[str] = field(default_factory=list)
    rows: list[SourceRow] = field(default_factory=list)
    pixels: list[bytes] = field(default_factory=list)
    rejected: list[Rejection] = field(default_factory=list)
    enlarged: list[str] = field(default_factory=list)
    scaled: list[str] = field(default_factory=list)


def check_rows(
    admitted: Admitted, spools: RowSpools, settings: PrepareSettings, progress: Progress, with_sketches: bool
) -> CheckedRows:
    """Check every admitted row; the outcome does not depend on the number of workers.

    with_sketches: whether a base's training pictures are to be looked for among them.
    """
    result, total = CheckedRows(), len(admitted.rows)
    threads_before = cv2.getNumThreads()
    cv2.setNumThreads(1)  # the rows run side by side already
    try:
        for start, outcomes in _in_order(admitted, settings, with_sketches):
            spools.add([outcome for outcome in outcomes if isinstance(outcome, CheckedRow)])
            for place, outcome in enumerate(outcomes, start):
                if isinstance(outcome, Rejection):
                    result.rejected.append(outcome)
                    continue
                result.pair_ids.append(admitted.pair_ids[place])
                result.rows.append(admitted.rows[place])
                result.pixels.append(outcome.pixels)
                if outcome.enlarged:
                    result.enlarged.append(admitted.pair_ids[place])
                if outcome.scaled:
                    result.scaled.append(admitted.pair_ids[place])
            progress(start + len(outcomes), 2 * total, step="checking", set_aside=len(result.rejected))
    finally:
        cv2.setNumThreads(threads_before)
    return result


def _in_order(
    admitted: Admitted, settings: PrepareSettings, with_sketches: bool
) -> Iterator[tuple[int, list[CheckedRow | Rejection]]]:
    """Outcomes by the handful, with the place of the first, in the order of the rows; a bounded number in work."""
    with_mask, every = admitted.task != CLASSIFICATION, range(len(admitted.rows))
    pairs = list(zip(admitted.rows, admitted.pair_ids, strict=True))
    handfuls = (pairs[start : start + TOGETHER] for start in every[::TOGETHER])
    check = partial(_check_handful, with_mask=with_mask, settings=settings, with_thumbnails=with_sketches)
    with worker_pool(settings.workers, len(every)) as pool:
        yield from zip(every[::TOGETHER], side_by_side(pool, check, handfuls, settings.workers), strict=True)


def _check_handful(
    rows: list[tuple[SourceRow, str]], with_mask: bool, settings: PrepareSettings, with_thumbnails: bool
) -> list[CheckedRow | Rejection]:
    return [check_row(row, pair_id, with_mask, settings, with_thumbnails) for row, pair_id in rows]
