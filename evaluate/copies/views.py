"""The descriptor by which copies are found: squashed, whitened detail of small grey images, without weights.

An image becomes a grey thumbnail; its low-frequency shading is taken away and what is left is squashed, so
that neither a change of colours nor a bright ruler decides; whitening fitted on the real images over all
flips and turns then weighs down what all dermoscopy shares (a dark blob in the middle).
"""

from __future__ import annotations

from dataclasses import dataclass
from functools import cache

import numpy as np

THUMBNAIL = 64
GRID = 48
# Sides, on the grid, that a crop of 78 to 100 % can have.
SIDES = tuple(range(GRID, int(0.78 * GRID) - 1, -1))
Window = tuple[float, float, float]  # top, left and length, in pixels of a thumbnail
WHOLE: Window = (0.0, 0.0, float(THUMBNAIL))
VIEWS = 8


def view(images: np.ndarray, index: int) -> np.ndarray:
    """Flip or turn `index` (0 to 7; 0 is the identity) of images (N, H, W, ...); sides swap on odd turns."""
    turned = np.rot90(images, index % 4, (1, 2))
    return turned[:, :, ::-1] if index >= 4 else turned


@cache
def area_weights(source: int, target: int, start: float = 0.0, length: float | None = None) -> np.ndarray:
    """Rows that average `length` source pixels from `start` into `target` pixels, (target, source)."""
    step = (source if length is None else length) / target
    low = start + step * np.arange(target)[:, None]
    pixel = np.arange(source)[None]
    overlap = np.clip(np.minimum(low + step, pixel + 1) - np.maximum(low, pixel), 0, None)
    return (overlap / overlap.sum(1, keepdims=True)).astype(np.float32)


def resample(patches: np.ndarray, side: int, window: tuple[float, float, float] | None = None) -> np.ndarray:
    """Area averages float32 (N, side, side) of patches (N, S, S) or of their window (top, left, length)."""
    source = patches.shape[-1]
    top, left, length = window or (0.0, 0.0, float(source))
    rows = area_weights(source, side, top, length)
    columns = area_weights(source, side, left, length)
    return rows @ patches.astype(np.float32) @ columns.T


def grey_thumbnails(images: np.ndarray) -> np.ndarray:
    """The mean of red, green and blue of uint8 images (N, H, W, 3) as uint8 (N, 64, 64)."""
    _, height, width, _ = images.shape
    rows, columns = area_weights(height, THUMBNAIL), area_weights(width, THUMBNAIL)
    small = [rows @ image.astype(np.float32).mean(-1) @ columns.T for image in images]
    if not small:
        return np.zeros((0, THUMBNAIL, THUMBNAIL), np.uint8)
    return np.clip(np.rint(np.stack(small)), 0, 255).astype(np.uint8)


@cache
def blur_weights(side: int, sigma: float) -> np.ndarray:
    """The Gaussian blur of a line of `side` pixels, mirrored at its ends, (side, side)."""
    from scipy.ndimage import gaussian_filter1d

    return gaussian_filter1d(np.eye(side), sigma, axis=0, mode="mirror").astype(np.float32)


def without_shading(patches: np.ndarray, share: float) -> np.ndarray:
    """Patches (N, S, S) less their Gaussian blur of `share` of the side."""
    blur = blur_weights(patches.shape[-1], share * patches.shape[-1])
    return patches - blur @ patches @ blur.T


def squashed_detail(patches: np.ndarray) -> np.ndarray:
    """Detail of float32 patches (N, S, S) squashed to (-1, 1), as unit rows (N, S * S)."""
    detail = without_shading(patches, 1 / 8)
    # The floor, in grey levels, keeps the rounding noise of a flat image from becoming its detail.
    detail = np.tanh(detail / (0.7 * detail.std((1, 2), keepdims=True) + 0.3))
    return unit_rows(detail.reshape(len(detail), -1), centred=True)


def unit_rows(rows: np.ndarray, centred: bool = False) -> np.ndarray:
    """Rows (N, D) scaled to length 1; a zero row stays zero."""
    if centred:
        rows = rows - rows.mean(1, keepdims=True)
    return rows / np.maximum(np.linalg.norm(rows, axis=1, keepdims=True), 1e-12)


@dataclass(frozen=True)
class DetailDescriptor:
    """Whitened squashed detail of patches of one side; `weights` is float32 (side * side, width)."""

    weights: np.ndarray

    @property
    def side(self) -> int:
        """Side of the patches, in pixels."""
        return round(self.weights.shape[0] ** 0.5)

    @classmethod
    def fit(cls, thumbnails: np.ndarray, side: int, width: int) -> DetailDescriptor:
        """Whiten over all flips and turns of thumbnails (N, 64, 64); keep `width` strong directions."""
        chosen = thumbnails[np.linspace(0, len(thumbnails) - 1, min(len(thumbnails), 2000)).astype(int)]
        small = resample(chosen, side)
        second = np.zeros((side * side, side * side))
        for index in range(VIEWS):
            rows = squashed_detail(view(small, index))
            second += (rows.T @ rows) / (VIEWS * len(rows))
        power, directions = np.linalg.eigh(second)
        # A ridge, for directions that the images hardly use are noise and few images leave many unused.
        scale = 1 / np.sqrt(np.maximum(power, 0) + 0.15 * power.mean())
        return cls((directions * scale)[:, ::-1][:, :width].astype(np.float32))

    def __call__(self, patches: np.ndarray) -> np.ndarray:
        """Unit rows float32 (N, width) of patches (N, side, side)."""
        return unit_rows(squashed_detail(patches) @ self.weights)


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
