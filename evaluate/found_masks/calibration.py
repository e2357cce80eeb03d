"""From held-out given masks: how confident a segmenter must be for what it finds to teach an adapter."""

from __future__ import annotations

import numpy as np

from manifests.settings import MaskSettings

NONE_IS_GOOD = 1.01
"""Above every confidence: all that is found is doubtful."""


def least_confidence(agreement: np.ndarray, confidence: np.ndarray, masks: MaskSettings) -> float:
    """The lowest confidence at and above which at most the share `masks.doubtful` fails, to four places.

    agreement: Dice (N,) of found masks with held-out given ones, which fails below `masks.least_dice`; confidence:
    float (N,) in them.
    """
    order = np.argsort(-confidence, kind="stable")
    failed = np.cumsum(agreement[order] < masks.least_dice)
    good = np.flatnonzero(failed <= masks.doubtful * np.arange(1, len(order) + 1))
    if not len(good):
        return NONE_IS_GOOD
    return float(np.floor(confidence[order[good[-1]]] * 1e4) / 1e4)
