"""What shapes a class's real masks have, and how plausible another mask is beside them."""

from __future__ import annotations

from dataclasses import dataclass

import numpy as np

STATISTICS = ("area", "parts", "border", "compactness", "holes", "row", "column")
"""Columns of a shape table.

area: share of the image, as log-odds; parts: log of the number of pieces larger than .1 % of the image;
border: share of the image's border pixels that are lesion; compactness: 4 pi area / perimeter^2 of the
largest piece, 1 for a disc; holes: share of the outlined area that is not lesion; row and column: centroid,
from 0 at the top or left to 1.
"""
_LEAST_SPREAD = np.array([0.25, 0.7, 0.05, 0.1, 0.05, 0.05, 0.05])
# A mask may be rounder, more whole and farther from the border than any real one without being wrong.
_FREE_BELOW = np.array([name in ("parts", "border", "holes") for name in STATISTICS])
_FREE_ABOVE = np.array([name == "compactness" for name in STATISTICS])
_SPECK = 0.001


def mask_shapes(masks: np.ndarray) -> np.ndarray:
    """Shape table, float64 (N, 7), of bool masks (N, H, W); a row of NaN where a mask is empty or full."""
    return np.array([_shape(mask) for mask in masks]).reshape(-1, len(STATISTICS))


def _shape(mask: np.ndarray) -> list[float]:
    import cv2

    share = float(mask.mean())
    if share in (0.0, 1.0):
        return [np.nan] * len(STATISTICS)
    height, width = mask.shape
    _, _, pieces, _ = cv2.connectedComponentsWithStats(mask.astype(np.uint8), connectivity=8)
    parts = max(1, int((pieces[1:, cv2.CC_STAT_AREA] > _SPECK * mask.size).sum()))
    border = np.concatenate([mask[0], mask[-1], mask[1:-1, 0], mask[1:-1, -1]])
    rows, columns = np.nonzero(mask)
    compactness, filled = _outline(mask)
    return [
        float(np.log(share / (1 - share))),
        float(np.log(parts)),
        float(border.mean()),
        compactness,
        1 - float(mask.sum()) / filled,
        float((rows.mean() + 0.5) / height),
        float((columns.mean() + 0.5) / width),
    ]


def _outline(mask: np.ndarray) -> tuple[float, float]:
    # Compactness of the largest outline, a polygon through pixel centres, and the pixels inside all outlines.
    import cv2

    outlines, _ = cv2.findContours(mask.astype(np.uint8), cv2.RETR_EXTERNAL, cv2.CHAIN_APPROX_NONE)
    filled = cv2.drawContours(np.zeros(mask.shape, np.uint8), outlines, -1, 1, cv2.FILLED)
    largest = max(outlines, key=cv2.contourArea)
    perimeter = cv2.arcLength(largest, closed=True)
    # Half a pixel is missing on each side of such a polygon.
    area = cv2.contourArea(largest) + perimeter / 2 + 1
    return float(min(1.0, 4 * np.pi * area / (perimeter + np.pi) ** 2)), float(filled.sum())


@dataclass(frozen=True)
class ShapeLimits:
    """Between which values nearly all of a class's real masks lie. low, high, spread: (7,)."""

    low: np.ndarray
    high: np.ndarray
    spread: np.ndarray
    pairs: int

    @classmethod
    def fit(cls, shapes: np.ndarray, pooled: np.ndarray, tail: float = 0.02) -> ShapeLimits:
        """Quantile limits, `tail` outside on either side, of a class's shape table (N, 7).

        `pooled` is the table of all classes; a class with few masks leans on it, for the extremes of ten
        masks say little about the eleventh: the weight of the class's own limits is N / (N + 20).
        """
        own, every = _known(shapes), _known(pooled)
        weight = len(own) / (len(own) + 20)
        limits = _limits(every, tail)
        if len(own):
            limits = weight * _limits(own, tail) + (1 - weight) * limits
        return cls(limits[0], limits[1], np.maximum(limits[1] - limits[0], _LEAST_SPREAD), len(own))

    def plausibility(self, shapes: np.ndarray) -> np.ndarray:
        """Scores (N,) of a shape table (N, 7): 1 inside all limits, halved at one spread outside of any.

        0 where the mask is empty or full.
        """
        return self.by_statistic(shapes).min(1)

    def by_statistic(self, shapes: np.ndarray) -> np.ndarray:
        """The plausibility (N, 7) of each statistic on its own."""
        below = np.where(_FREE_BELOW, 0, self.low - shapes)
        above = np.where(_FREE_ABOVE, 0, shapes - self.high)
        outside = np.maximum(np.maximum(below, above), 0) / self.spread
        return np.where(np.isnan(shapes), 0.0, 1 / (1 + outside))

    def to_json(self) -> dict[str, object]:
        """The limits by the names of the statistics."""
        limits = {name: [float(self.low[i]), float(self.high[i])] for i, name in enumerate(STATISTICS)}
        return {"pairs": self.pairs, "limits": limits}

    @classmethod
    def from_json(cls, content: dict) -> ShapeLimits:
        """The limits that `to_json` gave."""
        low, high = np.array([content["limits"][name] for name in STATISTICS]).T
        return cls(low, high, np.maximum(high - low, _LEAST_SPREAD), content["pairs"])


def _known(shapes: np.ndarray) -> np.ndarray:
    return shapes[~np.isnan(shapes).any(1)]


def _limits(shapes: np.ndarray, tail: float) -> np.ndarray:
    if not len(shapes):
        return np.array([[-12.0] + [0.0] * 6, [12.0, 3.0] + [1.0] * 5])
    return np.quantile(shapes, [tail, 1 - tail], axis=0)
