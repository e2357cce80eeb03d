"""Copy-paste: real lesions moved, turned and bent into other real skin, masks along; more pairs without a generator.

Source: Ghiasi et al., "Simple Copy-Paste is a Strong Data Augmentation Method for Instance Segmentation" (2021), with
the host's own lesion painted out first, so that one picture shows one lesion of one class.
"""

from __future__ import annotations

import cv2
import numpy as np

from manifests.pairs import PairArrays

SKINS = 256  # pictures whose lesion is painted out at most, evenly spaced among those that are fit for it
_LARGEST_HOLE = 0.25  # share of a picture that may be painted
_MARGIN = 0.04  # of the side: how far a lesion's colour reaches beyond its mask
_FEATHER = 0.015  # of the side: how softly a lesion passes into its new skin
_BEND = 0.015  # of the side: how far a lesion is bent at most, about


class CopyPaste:
    """A seeded augmentation of batches that puts a share of the lesions into other skin; the rest stays as it is."""

    def __init__(self, pairs: PairArrays, share: float, seed: int) -> None:
        self.share = share
        self.rng = np.random.default_rng([seed, 3])
        areas = np.array([float(mask.mean()) for mask in pairs.masks])
        fit = np.flatnonzero((areas > 0) & (areas <= _LARGEST_HOLE))
        spread = np.unique(np.linspace(0, len(fit) - 1, min(len(fit), SKINS)).astype(int)) if len(fit) else fit
        self.skins = [without_lesion(pairs.images[row], pairs.masks[row]) for row in fit[spread]]

    def __call__(self, images: np.ndarray, masks: np.ndarray) -> tuple[np.ndarray, np.ndarray]:
        """images: uint8 (B, H, W, 3), masks: bool (B, H, W) -> the same; a pair without a mask stays as it is."""
        images, masks = np.array(images), np.array(masks)
        for row in range(len(images)):
            chosen = self.rng.random() < self.share
            if chosen and self.skins and masks[row].any():
                skin = self.skins[self.rng.integers(len(self.skins))]
                images[row], masks[row] = pasted(images[row], masks[row], skin, self.rng)
        return images, masks


def without_lesion(image: np.ndarray, mask: np.ndarray) -> np.ndarray:
    """The skin of a picture uint8 (H, W, 3), its lesion painted over from around (Telea 2004)."""
    margin = max(1, round(_MARGIN * len(mask)))
    ellipse = cv2.getStructuringElement(cv2.MORPH_ELLIPSE, (2 * margin + 1, 2 * margin + 1))
    hole = cv2.dilate(mask.astype(np.uint8), ellipse)
    return np.asarray(cv2.inpaint(np.ascontiguousarray(image), hole, 3, cv2.INPAINT_TELEA))


def pasted(
    image: np.ndarray, mask: np.ndarray, skin: np.ndarray, rng: np.random.Generator
) -> tuple[np.ndarray, np.ndarray]:
    """The lesion of a pair in other skin uint8 (H, W, 3), and its mask there; the pair itself where none is left."""
    across, down = _moved(mask, rng)
    lesion = cv2.remap(image, across, down, cv2.INTER_LINEAR, borderMode=cv2.BORDER_REFLECT_101)
    moved = cv2.remap(mask.astype(np.float32), across, down, cv2.INTER_LINEAR, borderValue=0)
    inside = moved > 0.5
    if not inside.any():
        return image, mask
    margin, feather = _MARGIN * len(mask), _FEATHER * len(mask)
    shift = _ring(skin, inside, margin) - _ring(lesion, inside, margin)
    alpha = cv2.GaussianBlur(moved, (0, 0), feather)[..., None]
    # Colour that reaches beyond the mask comes along, softly.
    alpha = np.minimum(1.0, 1.5 * alpha)
    blended = alpha * (lesion + shift) + (1 - alpha) * skin
    return np.clip(np.rint(blended), 0, 255).astype(np.uint8), inside


def _moved(mask: np.ndarray, rng: np.random.Generator) -> tuple[np.ndarray, np.ndarray]:
    """Where each pixel of the new picture lies in the old one: columns and rows, float32 (H, W)."""
    height, width = mask.shape
    rows, columns = np.nonzero(mask)
    centre = np.array([columns.mean(), rows.mean()])
    angle, scale = rng.uniform(0, 2 * np.pi), rng.uniform(0.8, 1.25)
    turn = np.array([[np.cos(angle), -np.sin(angle)], [np.sin(angle), np.cos(angle)]]) / scale
    if rng.random() < 0.5:
        turn[:, 0] *= -1
    # A centre from the middle half keeps most of a lesion in the picture.
    target = np.array([width, height]) * rng.uniform(0.25, 0.75, 2)
    coarse = rng.normal(0, _BEND * width, (4, 4, 2)).astype(np.float32)
    bend = cv2.resize(coarse, (width, height), interpolation=cv2.INTER_CUBIC)
    grid = np.stack(np.meshgrid(np.arange(width), np.arange(height)), axis=-1) - target
    places = (grid @ turn.T + centre + bend).astype(np.float32)
    return np.ascontiguousarray(places[..., 0]), np.ascontiguousarray(places[..., 1])


def _ring(image: np.ndarray, inside: np.ndarray, margin: float) -> np.ndarray:
    """The mean colour (3,) of what surrounds a region."""
    width = 2 * max(1, round(margin)) + 1
    near = cv2.dilate(inside.astype(np.uint8), np.ones((width, width), np.uint8)).astype(bool)
    wide = cv2.dilate(near.astype(np.uint8), np.ones((width, width), np.uint8)).astype(bool)
    ring = wide & ~near
    around = image[ring if ring.any() else ~inside]
    return np.asarray(around.mean(axis=0) if len(around) else image.mean(axis=(0, 1)))
