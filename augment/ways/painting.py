"""A lesion painted into the skin of a real picture: where it goes, what is drawn anew, and how the two are joined."""

from __future__ import annotations

import cv2
import numpy as np

MARGIN = 0.08  # of the side: skin around both lesions that is drawn anew, in which the pictures are joined
_SOFT = 1.5 / 128  # of the side: how softly fine detail of the lesion goes over into that of the skin


def placed(mask: np.ndarray, old: np.ndarray) -> np.ndarray:
    """The bool mask (S, S) moved to the middle of the lesion `old` (S, S), as far as none of it leaves the frame.

    One that touches the frame, where its lesion is cut off, stays there.
    """
    if touches_frame(mask):
        return mask
    rows, columns = np.nonzero(mask)
    old_rows, old_columns = np.nonzero(old)
    side = mask.shape[0]
    down = _kept_inside(round(float(old_rows.mean() - rows.mean())), rows, side)
    right = _kept_inside(round(float(old_columns.mean() - columns.mean())), columns, side)
    moved = np.zeros_like(mask)
    moved[rows + down, columns + right] = True
    return moved


def touches_frame(mask: np.ndarray) -> bool:
    """Whether a bool mask (S, S) reaches the picture's frame."""
    return bool(mask[[0, -1]].any() or mask[:, [0, -1]].any())


def _kept_inside(shift: int, places: np.ndarray, side: int) -> int:
    return max(-int(places.min()), min(shift, side - 1 - int(places.max())))


def drawn_region(mask: np.ndarray, old: np.ndarray) -> np.ndarray:
    """Where the picture is drawn anew: bool (S, S), both lesions and the skin around them."""
    reach = max(1, round(MARGIN * mask.shape[0]))
    disc = cv2.getStructuringElement(cv2.MORPH_ELLIPSE, (2 * reach + 1, 2 * reach + 1))
    return cv2.dilate((mask | old).astype(np.uint8), disc).astype(bool)


def joined(real: np.ndarray, drawn: np.ndarray, region: np.ndarray) -> np.ndarray:
    """`drawn` uint8 (S, S, 3) within `region` (S, S) of `real`, without a seam; outside it every pixel stays real.

    Over the outer skin of the region the one goes over into the other; before, the drawn skin takes on the shade that
    the real one has there, less and less towards the middle.
    """
    reach = max(1.0, MARGIN * real.shape[0])
    depth = cv2.distanceTransform(np.pad(region, 1, mode="edge").astype(np.uint8), cv2.DIST_L2, cv2.DIST_MASK_PRECISE)
    share = np.clip(depth[1:-1, 1:-1] / reach, 0, 1)
    weight = (share * share * (3 - 2 * share))[..., None]
    before, after = real.astype(np.float32), drawn.astype(np.float32)
    after = after + _shade_beside(before - after, ~region, reach)
    return np.clip(np.rint(before + weight * (after - before)), 0, 255).astype(np.uint8)


def _shade_beside(difference: np.ndarray, outside: np.ndarray, reach: float) -> np.ndarray:
    """The difference (S, S, 3) outside, carried smoothly into what lies within, where it fades."""
    known = outside.astype(np.float32)
    near = cv2.GaussianBlur(known, (0, 0), 2 * reach)
    carried = cv2.GaussianBlur(difference * known[..., None], (0, 0), 2 * reach)
    return np.asarray(carried / np.maximum(near, 0.2)[..., None])


def lesion_over_skin(lesion: np.ndarray, skin: np.ndarray, mask: np.ndarray) -> np.ndarray:
    """One picture uint8 (S, S, 3) of two that differ in fine detail alone: the first on the mask (S, S), softly."""
    weight = cv2.GaussianBlur(mask.astype(np.float32), (0, 0), _SOFT * mask.shape[0])[..., None]
    return np.asarray(np.rint(weight * lesion + (1 - weight) * skin), np.uint8)
