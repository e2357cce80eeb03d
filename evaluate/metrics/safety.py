"""What a classifier misses of what must not be missed: sensitivity at a fixed specificity, and net benefit.

Sensitivity is the largest that a threshold gives which keeps the stated share of the other pairs below it. Net benefit
(Vickers and Elkin, "Decision Curve Analysis", 2006) counts what is found less what is called in vain, at the exchange
rate that the threshold of probability stands for. Both are computed for melanoma, where the data have that class.
"""

from __future__ import annotations

from collections.abc import Iterator, Sequence

import numpy as np

MELANOMA = ("mel", "melanoma")
"""What the class is called: its code, or a source's own name."""
SENSITIVITIES = {"sensitivity80": 0.8, "sensitivity90": 0.9}
THRESHOLDS = {f"net_benefit{percent:02d}": percent / 100 for percent in (5, 10, 15, 20, 30, 40)}


def safety_names(classes: Sequence[str]) -> list[str]:
    """The metrics by name, such as `sensitivity80:mel`; none without melanomas."""
    return [f"{name}:{dx}" for dx in classes if dx.lower() in MELANOMA for name in (*SENSITIVITIES, *THRESHOLDS)]


def safety_figures(probabilities: np.ndarray, labels: np.ndarray, classes: Sequence[str]) -> dict[str, float]:
    """Point values of the metrics. probabilities: (N, C); labels: (N,), indices into `classes`."""
    found = weighted_safety(probabilities, labels, np.ones((1, len(labels))), classes)
    return {name: float(values[0]) for name, values in found.items()}


def weighted_safety(
    probabilities: np.ndarray, labels: np.ndarray, weights: np.ndarray, classes: Sequence[str]
) -> dict[str, np.ndarray]:
    """The metrics, each (B,), under `weights` (B, N); nothing where melanomas or all others are absent."""
    result: dict[str, np.ndarray] = {}
    for c, dx in _present(labels, classes):
        scores, positive = probabilities[:, c], labels == c
        for name, specificity in SENSITIVITIES.items():
            result[f"{name}:{dx}"] = weighted_sensitivity(scores, positive, weights, specificity)
        for name, threshold in THRESHOLDS.items():
            result[f"{name}:{dx}"] = weighted_net_benefit(scores, positive, weights, threshold)
    return result


def _present(labels: np.ndarray, classes: Sequence[str]) -> Iterator[tuple[int, str]]:
    for c, dx in enumerate(classes):
        if dx.lower() in MELANOMA and 0 < (labels == c).sum() < len(labels):
            yield c, dx


def weighted_sensitivity(
    scores: np.ndarray, positive: np.ndarray, weights: np.ndarray, specificity: float
) -> np.ndarray:
    """The largest sensitivity (B,) at this specificity or a higher one; positive: bool (N,), weights: (B, N)."""
    positives, negatives = ranked(scores, positive, weights)
    called = np.cumsum(negatives, axis=1) / negatives.sum(axis=1, keepdims=True)
    found = np.cumsum(positives, axis=1) / positives.sum(axis=1, keepdims=True)
    # Rounding must not turn away a threshold that keeps exactly the share that is asked for.
    return np.where(called <= 1 - specificity + 1e-9, found, 0.0).max(axis=1)


def weighted_net_benefit(scores: np.ndarray, positive: np.ndarray, weights: np.ndarray, threshold: float) -> np.ndarray:
    """Net benefit (B,) of calling those with a probability of `threshold` or more, per pair."""
    called = scores >= threshold
    true, false = weights @ (called & positive), weights @ (called & ~positive)
    return np.asarray((true - false * threshold / (1 - threshold)) / weights.sum(axis=1))


def ranked(scores: np.ndarray, positive: np.ndarray, weights: np.ndarray) -> tuple[np.ndarray, np.ndarray]:
    """Weight of positives and negatives at each distinct score, highest first, each (B, distinct scores)."""
    order = np.argsort(-scores, kind="stable")
    starts = np.flatnonzero(np.r_[True, np.diff(scores[order]) != 0])
    ordered, hits = weights[:, order], positive[order]
    return np.add.reduceat(ordered * hits, starts, axis=1), np.add.reduceat(ordered * ~hits, starts, axis=1)
