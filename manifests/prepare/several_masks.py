"""Several masks of one picture become one: parts of a lesion are joined, readings of it are put to the vote."""

from __future__ import annotations

from collections.abc import Sequence
from itertools import combinations

import numpy as np

APART = 0.1
"""The share of the smaller mask that two parts of a lesion may have in common."""
AGREEING = 0.5
"""The Dice from which on two masks are readings of one lesion."""


def joined(masks: Sequence[np.ndarray], several: str) -> np.ndarray | None:
    """One mask, bool (H, W), of several as `prepare.masks.several` says; None where auto cannot know what they are.

    Of readings a pixel is lesion that at least half of them mark.
    """
    if several == "first":
        return masks[0]
    if several == "auto":
        told = [mask for mask in masks if mask.any()]
        shared = [(int((a & b).sum()), int(a.sum()), int(b.sum())) for a, b in combinations(told, 2)]
        if all(both <= APART * min(one, other) for both, one, other in shared):
            several = "union"
        elif all(2 * both >= AGREEING * (one + other) for both, one, other in shared):
            masks = told
        else:
            return None
    marked: np.ndarray = np.sum(masks, axis=0)
    return marked > 0 if several == "union" else 2 * marked >= len(masks)
