"""Probabilities that mean what they say: temperature scaling, and how far an image is from all that was learned."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from itertools import pairwise

import numpy as np

_SIDE = 32
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


def image_statistics(images: np.ndarray) -> np.ndarray:
    """What any photograph has and few drawings share with skin: float32 (N, 22) of uint8 images (N, H, W, 3).

    Colour means, deviations and correlations, quantiles of lightness, detail by scale, and the share of pixels
    that have exactly the colour of their neighbour.
    """
    import cv2

    rows = []
    for image in images:
        small = cv2.resize(image, (_SIDE, _SIDE), interpolation=cv2.INTER_AREA).astype(np.float32) / 255
        lab = cv2.cvtColor(small, cv2.COLOR_RGB2Lab) / np.array([100, 50, 50], np.float32)
        flat = lab.reshape(-1, 3)
        spread = flat.std(0) + 1e-3
        centred = (flat - flat.mean(0)) / spread
        correlation = centred.T @ centred / len(flat)
        grey = cv2.cvtColor(image, cv2.COLOR_RGB2GRAY).astype(np.float32) / 255
        blurred = [cv2.GaussianBlur(grey, (0, 0), scale) for scale in (0.7, 1.4, 2.8, 5.6, 11.2)]
        detail = [np.log(np.abs(fine - coarse).mean() + 1e-4) for fine, coarse in pairwise(blurred)]
        same = (image[:, 1:] == image[:, :-1]).all(-1).mean()
        edges = np.concatenate([flat[:_SIDE], flat[-_SIDE:]]).mean(0)
        rows.append(
            [*flat.mean(0), *np.log(spread), *correlation[np.triu_indices(3, 1)],
             *np.quantile(flat[:, 0], (0.02, 0.25, 0.75, 0.98)), *detail, same, *edges, spread.max()]
        )  # fmt: skip
    return np.array(rows, np.float32).reshape(len(rows), -1)


@dataclass(frozen=True)
class OutlierScale:
    """Training rows and the distances of held-out lesions, by which an image's own distance is judged.

    rows: float32 (N, D), whitened; mean, whitening: how a row is whitened; held_out: sorted distances (M,).
    """

    rows: np.ndarray
    mean: np.ndarray
    whitening: np.ndarray
    held_out: np.ndarray
    neighbours: int

    @classmethod
    def fit(cls, train: np.ndarray, held_out: np.ndarray, neighbours: int, width: int = 32) -> OutlierScale:
        """Whiten training rows (N, D) to `width` directions and measure the held-out rows (M, D) against them."""
        mean = train.mean(0)
        covariance = np.cov((train - mean).T) + 1e-6 * np.eye(train.shape[1])
        power, directions = np.linalg.eigh(covariance)
        kept = min(width, train.shape[1])
        # A ridge, so that directions which hardly vary among lesions count, but rounding does not decide.
        scale = 1 / np.sqrt(np.maximum(power[-kept:], 0) + 1e-3 * power.mean())
        whitening = (directions[:, -kept:] * scale).astype(np.float32)
        empty = cls(((train - mean) @ whitening).astype(np.float32), mean, whitening, np.zeros(0), neighbours)
        distances = np.sort(empty.distances(held_out)) if len(held_out) else np.zeros(0)
        return cls(empty.rows, mean, whitening, distances.astype(np.float32), neighbours)

    def distances(self, rows: np.ndarray) -> np.ndarray:
        """Mean distance (M,) of rows (M, D) to their nearest training rows."""
        own = (rows - self.mean) @ self.whitening
        squared = (own**2).sum(1)[:, None] + (self.rows**2).sum(1)[None] - 2 * own @ self.rows.T
        nearest = np.sort(np.sqrt(np.maximum(squared, 0)), axis=1)[:, : self.neighbours]
        return nearest.mean(1)

    def excess(self, rows: np.ndarray, share: float) -> np.ndarray:
        """Distance (M,) over the distance that `share` of held-out lesions exceed; above 1 is an outlier."""
        if not len(self.held_out):
            return np.zeros(len(rows))
        limit = float(np.quantile(self.held_out, 1 - share))
        return self.distances(rows) / max(limit, 1e-9)

    def place(self, rows: np.ndarray) -> np.ndarray:
        """Share (M,) of held-out lesions that are nearer than each row."""
        if not len(self.held_out):
            return np.zeros(len(rows))
        return np.searchsorted(self.held_out, self.distances(rows)) / len(self.held_out)

    def tensors(self) -> dict[str, np.ndarray]:
        """What `from_tensors` rebuilds it from."""
        return {
            "rows": self.rows.astype(np.float32),
            "mean": self.mean.astype(np.float32),
            "whitening": self.whitening.astype(np.float32),
            "held_out": self.held_out.astype(np.float32),
            "neighbours": np.array([self.neighbours], np.int64),
        }

    @classmethod
    def from_tensors(cls, tensors: dict[str, np.ndarray]) -> OutlierScale:
        """The scale that `tensors` describes."""
        rows, mean, whitening, held_out = (tensors[name] for name in ("rows", "mean", "whitening", "held_out"))
        return cls(rows, mean, whitening, held_out, int(tensors["neighbours"][0]))
