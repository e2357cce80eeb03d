"""A contact sheet: generated pairs of each class in a row, each with its mask's outline below it."""

from __future__ import annotations

from collections.abc import Sequence

import numpy as np

from manifests.pairs import PairArrays

_OUTLINE = (0, 255, 128)
_GAP = 4


def contact_sheet(pairs: PairArrays, per_class: int = 8) -> np.ndarray:
    """uint8 (H, W, 3): for every class, in its order, `per_class` images and below them the same with outlines."""
    rows = []
    for dx in pairs.classes:
        chosen = pairs.of_class(dx)
        count = min(per_class, len(chosen))
        if not count:
            continue
        blank = [np.full_like(pairs.images[0], 255)] * (per_class - count)
        plain = [np.asarray(chosen.images[i]) for i in range(count)]
        outlined = [outline(chosen.images[i], chosen.masks[i]) for i in range(count)]
        rows += [_row(plain + blank), _row(outlined + blank)]
    return np.concatenate(rows)


def sheet_beside(rows: Sequence[tuple[np.ndarray, np.ndarray, np.ndarray | None]], across: int) -> np.ndarray:
    """uint8 (H, W, 3): images with their masks' outlines, `across` in a row, above each the real one it came from.

    rows: image uint8 (S, S, 3), mask bool (S, S), and the real image or None.
    """
    blank = np.full_like(rows[0][0], 255)
    found = []
    for start in range(0, len(rows), across):
        part = list(rows[start : start + across])
        empty = [blank] * (across - len(part))
        found.append(_row([blank if real is None else real for _, _, real in part] + empty))
        found.append(_row([image for image, _, _ in part] + empty))
        found.append(_row([outline(image, mask) for image, mask, _ in part] + empty))
    return np.concatenate(found)


def outline(image: np.ndarray, mask: np.ndarray) -> np.ndarray:
    """The image uint8 (H, W, 3) with the boundary of its bool mask (H, W) drawn in, one pixel wide."""
    import cv2

    drawn = np.ascontiguousarray(image).copy()
    found, _ = cv2.findContours(np.ascontiguousarray(mask).view(np.uint8), cv2.RETR_EXTERNAL, cv2.CHAIN_APPROX_NONE)
    return cv2.drawContours(drawn, found, -1, _OUTLINE, 1)


def _row(images: list[np.ndarray]) -> np.ndarray:
    gap = np.full((images[0].shape[0], _GAP, 3), 255, np.uint8)
    row = np.concatenate([part for image in images for part in (image, gap)][:-1], axis=1)
    return np.concatenate([row, np.full((_GAP, row.shape[1], 3), 255, np.uint8)])
