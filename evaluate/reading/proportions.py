"""Shares with their intervals, how many pictures an interval needs, and how well confidence separates two kinds."""

from __future__ import annotations

import math
from collections.abc import Callable, Sequence
from typing import Any

import numpy as np
from scipy.stats import norm, rankdata

_Z = float(norm.ppf(0.975))  # of an interval of 95 %


def wilson_interval(hits: float, total: float) -> tuple[float, float]:
    """95 % score interval of a share (Wilson, "Probable inference", 1927); `total` may be an effective number."""
    share, spread = hits / total, _Z * _Z / total
    middle = (share + spread / 2) / (1 + spread)
    half = _Z / (1 + spread) * math.sqrt(share * (1 - share) / total + spread / (4 * total))
    return max(0.0, middle - half), min(1.0, middle + half)


def share_of(hits: Sequence[bool], pictures: Sequence[str]) -> dict[str, Any]:
    """How many of the answers `hits` are right, with a 95 % interval; pictures: which one each answer is about.

    Several readers of one picture are not independent: the interval counts as many answers as the design effect of
    pictures leaves (Rao and Scott, "A simple method for the analysis of clustered binary data", 1992), and where all
    answers are alike no more than there are pictures.
    """
    total = len(hits)
    if total == 0:
        return {"share": None, "interval": None, "answers": 0}
    share = sum(map(bool, hits)) / total
    effective = effective_answers(np.asarray(hits, float), pictures)
    return {"share": share, "interval": list(wilson_interval(share * effective, effective)), "answers": total}


def effective_answers(values: np.ndarray, pictures: Sequence[str]) -> float:
    """How many independent answers (N,) to these pictures are worth; one that is said of all is worth one a picture."""
    names, place = np.unique(np.asarray(pictures), return_inverse=True)
    total, clusters, variance = len(values), len(names), float(values.var())
    if clusters == total:
        return float(total)
    if variance == 0 or clusters == 1:
        return float(clusters)
    off = np.bincount(place, values) - values.mean() * np.bincount(place)
    cluster_variance = clusters / (clusters - 1) * float((off**2).sum()) / total**2
    effect = cluster_variance / (variance / total)
    return float(total / min(max(effect, 1.0), total / clusters))


def widest_interval(answers: float) -> float:
    """How wide a Wilson interval of independent answers is at its widest, at a share of a half, from end to end."""
    lower, upper = wilson_interval(answers / 2, answers)
    return upper - lower


def pictures_needed(width: float, width_of: Callable[[float], float] = widest_interval) -> int:
    """Fewest independent answers whose interval is no wider than `width` from end to end, whatever they are.

    width_of: how wide it is at its widest for a number of answers; of Wilson's for a share where not given.
    """
    low, high = 0, 1
    while width_of(high) > width:
        low, high = high, 2 * high
    while high - low > 1:
        middle = (low + high) // 2
        low, high = (middle, high) if width_of(middle) > width else (low, middle)
    return high


def auroc(scores: Sequence[float], positive: Sequence[bool]) -> dict[str, Any]:
    """Area under the ROC curve of scores that are higher for positives, ties counting half, with a 95 % interval.

    The interval's spread is that of Hanley and McNeil ("The meaning and use of the area under a ROC curve", 1982).
    """
    truth = np.asarray(positive, bool)
    hits, misses = int(truth.sum()), int((~truth).sum())
    if not hits or not misses:
        return {"value": None, "interval": None}
    area = (rankdata(scores)[truth].sum() - hits * (hits + 1) / 2) / (hits * misses)
    first, second = area / (2 - area), 2 * area**2 / (1 + area)
    variance = area * (1 - area) + (hits - 1) * (first - area**2) + (misses - 1) * (second - area**2)
    half = _Z * math.sqrt(max(variance, 0) / (hits * misses))
    return {"value": float(area), "interval": [max(0.0, float(area) - half), min(1.0, float(area) + half)]}
