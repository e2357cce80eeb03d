"""Whether two fingerprints show the same lesion: matched keypoints that agree on one turn, scale, shift and flip."""

from __future__ import annotations

from dataclasses import dataclass

import cv2
import numpy as np

from manifests.duplicates.fingerprints import THUMBNAIL

# Among 2.4 million pairs of ISIC 2017 pictures, about 30 of different lesions reach 7 agreeing keypoints, 2 reach
# 8 or 9, and none more.
LEAST_SIMILARITY = 0.88
LEAST_AGREEING = 8
_LOOSE, _TIGHT = 0.06, 0.03  # tolerance in sides of the zoomed picture
_LEAST_SCALE, _GREATEST_SCALE = 0.45, 2.2


@dataclass(frozen=True)
class Alignment:
    """The similarity that maps one zoomed picture on another, in the complex plane with the centre at 0.

    z goes to turn * z + shift, or to turn * conj(z) + shift when flipped; `agreeing` keypoints follow it.
    """

    agreeing: int
    turn: complex
    shift: complex
    flipped: bool


def mutual_nearest(similarity: np.ndarray) -> tuple[np.ndarray, np.ndarray]:
    """Which keypoints of one picture and of each of m others are each other's nearest and similar enough.

    similarity: (n, m, k), of n keypoints to k keypoints of m pictures. Returns bool (n, m), and for each of the n
    the index of its nearest keypoint in each picture, (n, m).
    """
    nearest = similarity.argmax(2)
    closeness = np.take_along_axis(similarity, nearest[..., None], 2)[..., 0]
    back = similarity.argmax(0)  # (m, k)
    own = np.arange(len(similarity))[:, None]
    mutual = back[np.arange(similarity.shape[1]), nearest] == own
    return mutual & (closeness > LEAST_SIMILARITY), nearest


def align(
    a: np.ndarray, b: np.ndarray, from_a: np.ndarray, to_b: np.ndarray, least: int = LEAST_AGREEING
) -> Alignment | None:
    """The similarity on which most matches of two records agree, None where fewer than `least` do.

    Each match alone proposes one, by the places, sizes and angles of its two keypoints; the proposal with most
    followers is fitted to them by least squares.
    """
    if len(from_a) < least:
        return None
    pa, pb = a["place"][from_a], b["place"][to_b]
    z, w = _plane(pa), _plane(pb)
    flipped = a["mirrored"][from_a] != b["mirrored"][to_b]
    z = np.where(flipped, z.conj(), z)
    angle = np.where(flipped, pb[:, 3] + pa[:, 3], pb[:, 3] - pa[:, 3])
    turn = pb[:, 2] / pa[:, 2] * np.exp(1j * angle)
    shift = w - turn * z
    follows = np.abs(turn[:, None] * z + shift[:, None] - w) < _LOOSE
    follows &= flipped[:, None] == flipped
    followers = follows.sum(1)
    best = int(followers.argmax())
    if followers[best] < least - 3:
        return None
    alignment = _fitted(z, w, follows[best], flipped == flipped[best], bool(flipped[best]))
    return alignment if alignment is not None and alignment.agreeing >= least else None


def _plane(place: np.ndarray) -> np.ndarray:
    return (place[:, 0] - 0.5) + 1j * (place[:, 1] - 0.5)


def _fitted(z: np.ndarray, w: np.ndarray, agree: np.ndarray, same_form: np.ndarray, flipped: bool) -> Alignment | None:
    turn, shift = 0j, 0j
    for _ in range(4):
        if agree.sum() < 3:
            return None
        middle_z, middle_w = z[agree].mean(), w[agree].mean()
        dz, dw = z[agree] - middle_z, w[agree] - middle_w
        turn = complex((dz.conj() * dw).sum() / max(float((np.abs(dz) ** 2).sum()), 1e-9))
        shift = complex(middle_w - turn * middle_z)
        again = (np.abs(turn * z + shift - w) < _TIGHT) & same_form
        if (again == agree).all():
            break
        agree = again
    agreeing = int(agree.sum())
    if not _LEAST_SCALE < abs(turn) < _GREATEST_SCALE:
        return None
    return Alignment(agreeing, turn, shift, flipped)


def correlation(a: np.ndarray, b: np.ndarray, alignment: Alignment) -> float:
    """Correlation of the two grey thumbnails where they overlap once aligned; 0 where they hardly do."""
    turn, shift, side = alignment.turn, alignment.shift, THUMBNAIL
    sign = -1.0 if alignment.flipped else 1.0
    linear = np.array([[turn.real, -sign * turn.imag], [turn.imag, sign * turn.real]])
    offset = (side / 2 - 0.5) * (1 - linear.sum(1)) + side * np.array([shift.real, shift.imag])
    source = a["thumbnail"].astype(np.float32)
    moved = cv2.warpAffine(source, np.column_stack([linear, offset]), (side, side), borderValue=(-1e4,))
    seen = moved > -0.5
    if seen.mean() < 0.25:
        return 0.0
    x, y = moved[seen], b["thumbnail"][seen].astype(np.float32)
    x, y = x - x.mean(), y - y.mean()
    return float((x * y).sum() / (np.sqrt((x * x).sum() * (y * y).sum()) + 1e-6))
