"""What a picture is recognised by, whatever was done to it: SIFT keypoints (Lowe 2004) of the zoomed-in lesion.

Zooming to the mask makes the fingerprint indifferent to crops and magnification, and keeps rulers, ink and hairs
on the skin around out of it; SIFT is indifferent to turns, shifts and light; and each descriptor is brought into
one of its two mirror forms, so that a flipped picture has the same descriptors.
"""

from __future__ import annotations

import threading

import cv2
import numpy as np

KEYPOINTS = 64
SIDE = 96
THUMBNAIL = 48
RECORD = np.dtype(
    [
        ("count", "<u2"),
        ("place", "<f4", (KEYPOINTS, 4)),  # x, y, diameter in picture sides; angle in radians
        ("mirrored", "?", (KEYPOINTS,)),
        ("descriptors", "u1", (KEYPOINTS, 128)),
        ("thumbnail", "u1", (THUMBNAIL, THUMBNAIL)),
    ]
)
_ORIENTATIONS_MIRRORED = [0, 7, 6, 5, 4, 3, 2, 1]
_UPWARDS = np.sin(np.arange(8) * np.pi / 4).astype(np.float32)
_detectors = threading.local()


def fingerprint(image: np.ndarray, mask: np.ndarray | None) -> np.ndarray:
    """One RECORD (shape ()) of `image` uint8 (S, S, 3) RGB; `mask` bool (S, S) tells where the lesion is."""
    x, y, side = lesion_square(mask, image.shape[0]) if mask is not None else (0, 0, image.shape[0])
    crop = image[y : y + side, x : x + side]
    resampling = cv2.INTER_AREA if side > SIDE else cv2.INTER_LINEAR
    grey = cv2.cvtColor(cv2.resize(crop, (SIDE, SIDE), interpolation=resampling), cv2.COLOR_RGB2GRAY)
    where = _around_lesion(mask[y : y + side, x : x + side]) if mask is not None else None
    record = np.zeros((), RECORD)
    record["thumbnail"] = cv2.resize(grey, (THUMBNAIL, THUMBNAIL), interpolation=cv2.INTER_AREA)
    points, descriptors = _detector().detectAndCompute(grey, where)
    count = min(len(points), KEYPOINTS)
    if count:
        found = np.array([(*p.pt, p.size, p.angle) for p in points[:count]])
        record["count"] = count
        record["place"][:count, :2] = (found[:, :2] + 0.5) / SIDE
        record["place"][:count, 2] = found[:, 2] / SIDE
        record["place"][:count, 3] = np.deg2rad(found[:, 3])
        one_form, mirrored = _one_mirror_form(descriptors[:count])
        record["descriptors"][:count] = one_form
        record["mirrored"][:count] = mirrored
    return record


def lesion_square(mask: np.ndarray, size: int) -> tuple[int, int, int]:
    """(x, y, side) of a square around the lesion, 1.5 times its extent, at least 0.3 of the picture's side.

    The extent leaves out the outermost percent of the mask on each side: stray pixels move it little.
    """
    marked = mask.view(np.uint8)
    columns, rows = (cv2.reduce(marked, along, cv2.REDUCE_SUM, dtype=cv2.CV_32S).cumsum() for along in (0, 1))
    total = int(columns[-1])
    if total == 0:
        return 0, 0, size
    x0, x1 = np.searchsorted(columns, [0.01 * total, 0.99 * total])
    y0, y1 = np.searchsorted(rows, [0.01 * total, 0.99 * total])
    side = min(size, int(max(1.5 * max(x1 - x0, y1 - y0), 0.3 * size)))
    x = round(min(max((x0 + x1 - side) / 2, 0), size - side))
    y = round(min(max((y0 + y1 - side) / 2, 0), size - side))
    return x, y, side


def _around_lesion(mask: np.ndarray) -> np.ndarray:
    """Where keypoints may lie: the lesion and a margin of an eighth of the zoomed picture."""
    outside = cv2.resize((~mask).view(np.uint8), (SIDE, SIDE), interpolation=cv2.INTER_NEAREST)
    if outside.all():  # nothing to be near to
        return np.ones_like(outside)
    return (cv2.distanceTransform(outside, cv2.DIST_L2, 3) <= SIDE / 8).astype(np.uint8)


def _detector() -> cv2.SIFT:
    """One detector per thread; OpenCV does not promise that it may be shared."""
    if not hasattr(_detectors, "sift"):
        _detectors.sift = cv2.SIFT.create(nfeatures=KEYPOINTS, contrastThreshold=0.005, edgeThreshold=12)
    return _detectors.sift


def _one_mirror_form(descriptors: np.ndarray) -> tuple[np.ndarray, np.ndarray]:
    """Each descriptor (n, 128) or its mirror image, whichever has more gradients to one side; and which it was."""
    cells = descriptors.reshape(-1, 4, 4, 8)
    mirrored = (cells.sum((1, 2)) @ _UPWARDS) < 0
    one_form = cells.copy()
    one_form[mirrored] = cells[mirrored][:, ::-1][..., _ORIENTATIONS_MIRRORED]
    return one_form.reshape(-1, 128), mirrored


def root_descriptors(descriptors: np.ndarray) -> np.ndarray:
    """float32 unit vectors whose product is the Hellinger similarity (RootSIFT, Arandjelovic and Zisserman 2012)."""
    values = descriptors.astype(np.float32)
    return np.sqrt(values / np.maximum(values.sum(-1, keepdims=True), 1e-6))
