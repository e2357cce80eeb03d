"""Where in a real image a suspected crop of it lies: normalised cross-correlation over sizes and places."""

from __future__ import annotations

import numpy as np

from evaluate.embedding import THUMBNAIL, resample, without_shading

GRID = 48
# Sides, on the grid, that a crop of 78 to 100 % can have.
SIDES = tuple(range(GRID, int(0.78 * GRID) - 1, -1))

Window = tuple[float, float, float]  # top, left and length, in pixels of a thumbnail
WHOLE: Window = (0.0, 0.0, float(THUMBNAIL))


def window_bank() -> tuple[Window, ...]:
    """The whole thumbnail, and crops of .9 and .82 of its side on grids of 3 x 3 and 4 x 4 places."""
    bank = [WHOLE]
    for scale, places in ((0.9, 3), (0.82, 4)):
        margin = THUMBNAIL * (1 - scale)
        steps = np.linspace(0, margin, places)
        bank += [(float(top), float(left), THUMBNAIL * scale) for top in steps for left in steps]
    return tuple(bank)


def register(query: np.ndarray, reference: np.ndarray, near: float) -> Window:
    """The window of the `reference` thumbnail (64, 64) that `query`, a thumbnail too, resembles most.

    Only windows whose length is within 8 % of the side of `near`, in pixels, are tried.
    """
    import cv2

    ground = _detail(reference, GRID)
    best, where = -2.0, WHOLE
    pixel = THUMBNAIL / GRID
    for side in SIDES:
        if abs(side * pixel - near) > 0.08 * THUMBNAIL:
            continue
        scores = cv2.matchTemplate(ground, _detail(query, side), cv2.TM_CCOEFF_NORMED)
        place = int(scores.argmax())
        row, column = divmod(place, scores.shape[1])
        if scores[row, column] > best:
            best, where = float(scores[row, column]), (row * pixel, column * pixel, side * pixel)
    return where


def _detail(thumbnail: np.ndarray, side: int) -> np.ndarray:
    # The blur is the same in pixels of the scene, whatever part of it the query shows.
    return without_shading(resample(thumbnail[None], side), GRID / 12 / side)[0]
