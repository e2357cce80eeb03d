"""Drawn pairs in memory, for tests of what judges images."""

from __future__ import annotations

import numpy as np

from manifests.pairs import PairArrays
from manifests.phantom.draw import draw_pair

CLASSES = ("bkl", "mel", "nv")


def drawn_pairs(counts: dict[str, int], seed: int = 0, size: int = 128) -> PairArrays:
    """Phantom pairs, `counts` of each class, every pair a group of its own."""
    pairs = [draw_pair(dx, seed, index, size) for dx in CLASSES for index in range(counts.get(dx, 0))]
    ids = [f"drawn:{seed}-{number}" for number in range(len(pairs))]
    return PairArrays(
        ids,
        np.stack([pair.image for pair in pairs]),
        np.stack([pair.mask for pair in pairs]),
        np.array([CLASSES.index(pair.dx) for pair in pairs], np.int64),
        CLASSES,
        [f"group-{name}" for name in ids],
    )
