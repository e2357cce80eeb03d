"""Which generated pictures nearly repeat an earlier one: compared with all while they are few, then with those that
a graph of neighbours leads to, so that a million take hours and not weeks."""

from __future__ import annotations

from collections.abc import Sequence
from typing import Any

import numpy as np

from evaluate.copies.graph import EXACT, graph_of
from evaluate.copies.index import FINE_WIDTH, CopyIndex
from evaluate.copies.views import VIEWS, grey_thumbnails, view


class SeenIndex:
    """Generated images met so far; `add` tells which of the next ones nearly repeat an earlier one.

    earlier: those of other classes, which count as met. Of all classes together, at most `EXACT` are compared with all.
    """

    def __init__(self, index: CopyIndex, earlier: Sequence[SeenIndex] = ()):
        self._index, self._earlier = index, tuple(earlier)
        self._limit = index.threshold.value if index.threshold else 1.0
        self._rows = np.zeros((64, FINE_WIDTH), np.float32)
        self._count = 0
        self._graph: Any = None

    def add(self, images: np.ndarray) -> list[bool]:
        """Whether each uint8 image (N, H, W, 3) repeats an earlier one, flipped or turned; else remember it."""
        flags = []
        for thumbnail in grey_thumbnails(images):
            views = np.concatenate([view(thumbnail[None], v) for v in range(VIEWS)])
            rows = self._index.describe_closely(views)
            repeats = any(seen.similarity(rows) >= self._limit for seen in (self, *self._earlier))
            if not repeats:
                self._remember(rows[:1])
            flags.append(repeats)
        return flags

    def similarity(self, rows: np.ndarray) -> float:
        """The greatest similarity of any of the unit rows (N, 512) to a remembered one; -1 where none is."""
        if self._graph is not None:
            return round(float(self._graph.search(rows, 1)[0].max()), 5)
        known = self._rows[: self._count]
        return round(float((rows @ known.T).max()), 5) if len(known) else -1.0

    def _remember(self, row: np.ndarray) -> None:
        compared = sum(seen._count for seen in (self, *self._earlier) if seen._graph is None)
        if self._graph is None and compared >= EXACT:
            self._graph = graph_of(self._rows[: self._count])
            self._rows = np.empty((0, FINE_WIDTH), np.float32)  # no view, which would keep them all
        if self._graph is not None:
            self._graph.add(row)
            return
        if self._count == len(self._rows):
            self._rows = np.concatenate([self._rows, np.zeros_like(self._rows)])
        self._rows[self._count] = row[0]
        self._count += 1
