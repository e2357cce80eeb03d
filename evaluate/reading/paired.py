"""What changes between two answers of one reader to one case: right diagnoses, means, and how far confidence is earned.

Several readers of one case are not independent: every figure here carries the case of each answer.
"""

from __future__ import annotations

import math
from collections.abc import Sequence
from typing import Any

import numpy as np
from scipy.stats import binomtest, norm, wilcoxon

from evaluate.metrics.statistics import Replicates, estimate, group_weights
from evaluate.reading.proportions import auroc, effective_answers, share_of

CONFIDENCE = 0.95
REPLICATES = 2000
_Z = float(norm.ppf((1 + CONFIDENCE) / 2))


def paired_change(before: Sequence[bool], after: Sequence[bool], cases: Sequence[str]) -> dict[str, Any]:
    """Share that is right after less share that is right before, with a 95 % interval and an exact p.

    The interval is that of Agresti and Min ("Simple improved confidence intervals for comparing matched proportions",
    2005) on as many answers as the design effect of cases leaves. p is that of McNemar's exact test; a case that
    several have read counts once there, by whether more of them came to the right answer than left it.
    """
    change = np.asarray(after, float) - np.asarray(before, float)
    total = len(change)
    if not total:
        return {"difference": None, "interval": None, "to_right": 0, "to_wrong": 0, "p": None}
    effective = effective_answers(change, cases)
    share, changed = float(change.mean()), float((change != 0).mean())
    middle, half = share * effective / (effective + 2), _half(effective, changed, share)
    net = case_means(change, cases)
    gained, lost = int((net > 0).sum()), int((net < 0).sum())
    return {
        "difference": share,
        "interval": [max(-1.0, middle - half), min(1.0, middle + half)],
        "to_right": int((change > 0).sum()),
        "to_wrong": int((change < 0).sum()),
        "p": float(binomtest(gained, gained + lost).pvalue) if gained + lost else 1.0,
    }


def _half(answers: float, changed: float, share: float) -> float:
    """Half an interval of a paired difference `share` where a share `changed` of the answers differs; half an answer is
    added to each of the four cells."""
    spread = changed * answers + 1 - (share * answers) ** 2 / (answers + 2)
    return _Z * math.sqrt(max(spread, 0.0)) / (answers + 2)


def widest_change(answers: float, changed: float = 1.0) -> float:
    """How wide the interval of a paired difference is at its widest, where a share `changed` of the answers changes."""
    return 2 * _half(answers, changed, 0.0)


def mean_of(values: Sequence[float], cases: Sequence[str], bounds: tuple[float, float]) -> dict[str, Any]:
    """Mean of answers with a 95 % interval by a bootstrap over cases; None where they are all alike or of one case."""
    points = np.asarray(values, float)
    if not len(points):
        return {"mean": None, "interval": None}
    weights = group_weights(cases, REPLICATES, 0)
    drawn = weights @ points / weights.sum(axis=1)
    replicates = Replicates(np.array([points.mean()]), drawn[:, None], float(len(set(cases))))
    found = estimate(replicates, CONFIDENCE, bounds)
    known = found.interval is not None and np.ptp(points) > 0
    return {"mean": found.mean, "interval": list(found.interval) if found.interval and known else None}


def signed_rank_p(changes: Sequence[float], cases: Sequence[str]) -> float | None:
    """Two-sided p of Wilcoxon's signed rank test on each case's mean change (Wilcoxon, "Individual comparisons by
    ranking methods", 1945); cases without a change are left out."""
    if not len(changes):
        return None
    # Means of thirds that are the same are ties.
    means = case_means(np.asarray(changes, float), cases).round(9)
    return float(wilcoxon(means).pvalue) if means.any() else 1.0


def case_means(values: np.ndarray, cases: Sequence[str]) -> np.ndarray:
    """The mean of each case's values, (N,) to (cases,)."""
    _, place = np.unique(np.asarray(cases), return_inverse=True)
    means: np.ndarray = np.bincount(place, values) / np.bincount(place)
    return means


def calibration(levels: Sequence[int], right: Sequence[bool], cases: Sequence[str], steps: int, chance: float) -> Any:
    """How far confidence, 1 (a guess) to `steps` (certain), is deserved.

    A level stands for a probability, from `chance` to 1 in equal steps. error: expected calibration error over the
    levels (Guo et al. 2017); over: stated less true, so that more than 0 is overconfident; auroc: of confidence over
    right and wrong answers.
    """
    stated, hits = chance + (1 - chance) * (np.asarray(levels, float) - 1) / (steps - 1), np.asarray(right, float)
    rows, gap = [], 0.0
    for level in range(1, steps + 1):
        own = [place for place, said in enumerate(levels) if said == level]
        gap += abs(float((hits[own] - stated[own]).sum()))
        share = share_of([right[place] for place in own], [cases[place] for place in own])
        rows.append({"level": level, "stated": chance + (1 - chance) * (level - 1) / (steps - 1), "right": share})
    total = len(levels)
    return {
        "error": gap / total if total else None,
        "over": float((stated - hits).mean()) if total else None,
        "auroc": auroc(levels, right),
        "levels": rows,
    }
