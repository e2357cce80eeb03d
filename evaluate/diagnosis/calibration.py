"""Probabilities that mean what they say: temperature scaling, judged on images it was not fitted on."""

from __future__ import annotations

from collections.abc import Mapping, Sequence

import numpy as np

_FOLDS = 5
_RANGE = (0.05, 20.0)


def logits_of(probabilities: np.ndarray) -> np.ndarray:
    """Logits (N, C) whose softmax is `probabilities`, clipped away from 0."""
    return np.log(np.clip(probabilities, 1e-6, 1.0))


def scaled(logits: np.ndarray, temperature: float) -> np.ndarray:
    """Softmax of logits (N, C) over a temperature (Guo et al. 2017)."""
    values = logits / temperature
    powers = np.exp(values - values.max(axis=1, keepdims=True))
    return powers / powers.sum(axis=1, keepdims=True)


def fit_temperature(logits: np.ndarray, labels: np.ndarray) -> float:
    """The temperature with the least negative log-likelihood of labels (N,); 1 where there is nothing to fit."""
    from scipy.optimize import minimize_scalar

    if not len(labels):
        return 1.0

    def loss(log_temperature: float) -> float:
        chosen = scaled(logits, float(np.exp(log_temperature)))[np.arange(len(labels)), labels]
        return float(-np.log(np.clip(chosen, 1e-12, 1)).mean())

    found = minimize_scalar(loss, bounds=tuple(np.log(_RANGE)), method="bounded")
    return round(float(np.exp(found.x)), 4)


def held_out_probabilities(logits: np.ndarray, labels: np.ndarray, groups: Sequence[str]) -> np.ndarray:
    """Probabilities (N, C) of each image under a temperature that was fitted without its fold of groups."""
    order = {group: place % _FOLDS for place, group in enumerate(sorted(set(groups)))}
    folds = np.array([order[group] for group in groups])
    result = np.zeros_like(logits)
    for fold in range(_FOLDS):
        held = folds == fold
        if held.any():
            result[held] = scaled(logits[held], fit_temperature(logits[~held], labels[~held]))
    return result


def calibration_error(bins: Sequence[Mapping[str, float | None]]) -> float | None:
    """Expected calibration error of `evaluate.metrics.calibration_bins`; None where all bins are empty."""
    filled = [(b["pairs"] or 0, b["confidence"], b["accuracy"]) for b in bins]
    total = sum(pairs for pairs, _, _ in filled)
    gaps = sum(pairs * abs(c - a) for pairs, c, a in filled if c is not None and a is not None)
    return round(gaps / total, 4) if total else None
