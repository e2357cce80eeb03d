"""Metrics of segmentation, one row of figures per image, so that any weighting of images is a mean."""

from __future__ import annotations

import numpy as np

from evaluate.metrics.classification import Figures

SEGMENTATION_METRICS = ("dice", "jaccard", "thresholded_jaccard", "hd95", "boundary_f1")
JACCARD_THRESHOLD = 0.65
"""Below it a lesion counts as missed (ISIC 2018 Task 1)."""
BOUNDARY_TOLERANCE = 0.01
"""Distance in image diagonals within which a boundary pixel counts as found."""


def mask_scores(predicted: np.ndarray, truth: np.ndarray) -> np.ndarray:
    """Scores (N, 5) in the order of SEGMENTATION_METRICS of bool masks (N, H, W).

    HD95 is in percent of the image's diagonal. Where one mask is empty it is 100 and the boundary F1 is 0;
    where both are, prediction and truth agree.
    """
    return np.array([_one_mask(p, t) for p, t in zip(predicted, truth, strict=True)]).reshape(-1, 5)


def _one_mask(predicted: np.ndarray, truth: np.ndarray) -> tuple[float, ...]:
    both, total = np.count_nonzero(predicted & truth), np.count_nonzero(predicted) + np.count_nonzero(truth)
    if total == 0:
        return 1.0, 1.0, 1.0, 0.0, 1.0
    dice, jaccard = 2 * both / total, both / (total - both)
    thresholded = jaccard if jaccard >= JACCARD_THRESHOLD else 0.0
    if not predicted.any() or not truth.any():
        return dice, jaccard, thresholded, 100.0, 0.0
    diagonal = float(np.hypot(*truth.shape))
    to_truth, to_predicted = boundary_distances(predicted, truth)
    hd95 = max(np.percentile(to_truth, 95), np.percentile(to_predicted, 95))
    tolerance = max(1.0, BOUNDARY_TOLERANCE * diagonal)
    precision, recall = (to_truth <= tolerance).mean(), (to_predicted <= tolerance).mean()
    boundary_f1 = 2 * precision * recall / (precision + recall) if precision + recall else 0.0
    return dice, jaccard, thresholded, 100 * float(hd95) / diagonal, float(boundary_f1)


def boundary_distances(predicted: np.ndarray, truth: np.ndarray) -> tuple[np.ndarray, np.ndarray]:
    """Distances in pixels of each predicted boundary pixel to the true boundary, and of each true one to the
    predicted; neither mask may be empty."""
    edge_p, edge_t = boundary(predicted), boundary(truth)
    return distance_to(edge_t)[edge_p], distance_to(edge_p)[edge_t]


def boundary(mask: np.ndarray) -> np.ndarray:
    """The pixels of `mask` with a neighbour outside it; beyond the image counts as outside."""
    import cv2

    filled = mask.astype(np.uint8)
    cross = cv2.getStructuringElement(cv2.MORPH_CROSS, (3, 3))
    inside = cv2.erode(filled, cross, borderType=cv2.BORDER_CONSTANT, borderValue=0)
    return mask & (inside == 0)


def distance_to(edge: np.ndarray) -> np.ndarray:
    """Euclidean distance of every pixel to the nearest True one."""
    import cv2

    found = cv2.distanceTransform((~edge).astype(np.uint8), cv2.DIST_L2, cv2.DIST_MASK_PRECISE)
    # Squares of grid distances are whole numbers; going through them takes away the last bit that threads change.
    return np.sqrt(np.rint(found.astype(np.float64) ** 2))


def segmentation_figures(scores: np.ndarray) -> Figures:
    """Means over images of `mask_scores`."""
    if not len(scores):
        return Figures({}, dict.fromkeys(SEGMENTATION_METRICS, "no test pair with a mask"))
    return Figures({name: float(value) for name, value in zip(SEGMENTATION_METRICS, scores.mean(axis=0))})


def segmentation_replicates(scores: np.ndarray, weights: np.ndarray) -> dict[str, np.ndarray]:
    """The means, each (B,), under `weights` (B, N)."""
    means = weights @ scores / weights.sum(axis=1, keepdims=True)
    return {name: means[:, i] for i, name in enumerate(SEGMENTATION_METRICS)}


def dice(found: np.ndarray, wanted: np.ndarray) -> np.ndarray:
    """Dice (N,) of bool masks (N, H, W), rounded to four places; 0 where either is empty."""
    both = (found & wanted).sum((1, 2))
    return np.round(2 * both / np.maximum(1, found.sum((1, 2)) + wanted.sum((1, 2))), 4)
