"""Checking all rows side by side, with what is needed later kept on disk and not in memory."""

from __future__ import annotations

from collections import deque
from collections.abc import Iterator
from concurrent.futures import Future, ThreadPoolExecutor
from dataclasses import dataclass, field
from pathlib import Path

import cv2

from manifests.admission import CLASSIFICATION, Admitted
from manifests.checking import CheckedRow, check_row
from manifests.fingerprints import RECORD
from manifests.progress import Progress
from manifests.settings import PrepareSettings
from manifests.sources.layout import SourceRow
from manifests.sources.rejected import Rejection
from manifests.spool import ByteSpool, RecordSpool

TOGETHER = 16
"""Rows that a thread takes at once: handing over every row by itself costs a tenth of the time."""
AHEAD = 3
"""Such handfuls in work per thread: enough to keep them busy, few enough to hold in memory."""


class RowSpools:
    """The encoded pairs and the fingerprints of all rows that passed, by their place in the order of checking."""

    def __init__(self, folder: Path) -> None:
        self.folder = folder
        self._images = ByteSpool(folder / "images")
        self._masks = ByteSpool(folder / "masks")
        self.fingerprints = RecordSpool(folder / "fingerprints", RECORD)

    def add(self, row: CheckedRow) -> None:
        self._images.add(row.image_png)
        self._masks.add(row.mask_png or b"")
        if row.fingerprint is not None:
            self.fingerprints.add(row.fingerprint)

    def pair(self, place: int) -> tuple[bytes, bytes | None]:
        """PNG of image and mask."""
        return self._images.get(place), self._masks.get(place) or None

    def mean_pair_bytes(self) -> int:
        return (self._images.total() + self._masks.total()) // max(1, len(self._images))

    def close(self) -> None:
        for spool in (self._images, self._masks, self.fingerprints):
            spool.close()


@dataclass(frozen=True)
class CheckedRows:
    """The rows that passed, in the order of their ids; place i of the spools belongs to entry i of each list."""

    pair_ids: list[str] = field(default_factory=list)
    rows: list[SourceRow] = field(default_factory=list)
    pixels: list[bytes] = field(default_factory=list)
    rejected: list[Rejection] = field(default_factory=list)
    enlarged: list[str] = field(default_factory=list)


def check_rows(admitted: Admitted, spools: RowSpools, settings: PrepareSettings, progress: Progress) -> CheckedRows:
    """Check every admitted row; the outcome does not depend on the number of workers."""
    result, total = CheckedRows(), len(admitted.rows)
    threads_before = cv2.getNumThreads()
    cv2.setNumThreads(1)  # the rows run side by side already
    try:
        outcomes = _in_order(admitted, settings)
        for done, (pair_id, row, outcome) in enumerate(zip(admitted.pair_ids, admitted.rows, outcomes, strict=True), 1):
            if isinstance(outcome, Rejection):
                result.rejected.append(outcome)
            else:
                spools.add(outcome)
                result.pair_ids.append(pair_id)
                result.rows.append(row)
                result.pixels.append(outcome.pixels)
                if outcome.enlarged:
                    result.enlarged.append(pair_id)
            progress(done, 2 * total, step="checking", set_aside=len(result.rejected))
    finally:
        cv2.setNumThreads(threads_before)
    return result


def _in_order(admitted: Admitted, settings: PrepareSettings) -> Iterator[CheckedRow | Rejection]:
    """Outcomes in the order of the rows, a bounded number of them in work at a time."""
    with_mask = admitted.task != CLASSIFICATION

    def checked(some: range) -> list[CheckedRow | Rejection]:
        return [check_row(admitted.rows[i], admitted.pair_ids[i], with_mask, settings) for i in some]

    every = range(len(admitted.rows))
    with ThreadPoolExecutor(settings.workers, thread_name_prefix="prepare") as pool:
        waiting: deque[Future[list[CheckedRow | Rejection]]] = deque()
        try:
            for start in every[::TOGETHER]:
                waiting.append(pool.submit(checked, every[start : start + TOGETHER]))
                if len(waiting) >= AHEAD * settings.workers:
                    yield from waiting.popleft().result()
            while waiting:
                yield from waiting.popleft().result()
        finally:
            for future in waiting:
                future.cancel()
