"""Real masks turned, scaled and bent: outlines that no patient has, of shapes that lesions take."""

from __future__ import annotations

import cv2
import numpy as np

from augment.training.latents import DIHEDRAL, dihedral

_SCALES = (0.85, 1.15)
_BEND = 0.04  # deviation of the displacement, share of the side
_SMOOTH = 0.12  # deviation of the Gaussian that makes the displacement smooth, share of the side
_AREAS = (0.6, 1.6)  # of the new outline, by the old one's
_TRIES = 4


def turned_and_bent(mask: np.ndarray, numbers: np.random.Generator) -> np.ndarray:
    """A bool mask (S, S) with a lesion and skin, turned by any angle, scaled a little and bent smoothly.

    It keeps its place, and an area within .6 to 1.6 of what it was; where no try does, it is flipped or turned alone.
    """
    for _ in range(_TRIES):
        found = _warped(mask, numbers)
        if _AREAS[0] <= found.sum() / mask.sum() <= _AREAS[1] and not found.all():
            return found
    return dihedral(mask, int(numbers.integers(DIHEDRAL)))


def _warped(mask: np.ndarray, numbers: np.random.Generator) -> np.ndarray:
    side = mask.shape[0]
    rows, columns = np.nonzero(mask)
    centre = (float(columns.mean()), float(rows.mean()))
    angle, scale = numbers.uniform(0, 360), numbers.uniform(*_SCALES)
    back = cv2.invertAffineTransform(cv2.getRotationMatrix2D(centre, angle, scale)).astype(np.float32)
    grid = np.stack(np.meshgrid(np.arange(side), np.arange(side)), axis=-1).astype(np.float32)
    bends = [cv2.GaussianBlur(field, (0, 0), _SMOOTH * side) for field in numbers.normal(size=(2, side, side))]
    bend = np.stack([_BEND * side * field / field.std() for field in bends], axis=-1).astype(np.float32)
    places = grid @ back[:, :2].T + back[:, 2] + bend
    # Beyond the frame a lesion that touches it goes on.
    shades = mask.astype(np.float32)
    warped = cv2.remap(shades, places[..., 0], places[..., 1], cv2.INTER_LINEAR, borderMode=cv2.BORDER_REPLICATE)
    return np.asarray(warped > 0.5)
