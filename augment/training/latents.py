"""The latent cache: images and masks encoded once, with the flips and turns that dermoscopy allows."""

from __future__ import annotations

import hashlib
import json
from collections.abc import Callable
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import cv2
import numpy as np
import torch
from torch import Tensor

from augment.mask_codec import MaskCodec
from manifests.errors import BadInput
from manifests.files import new_mapped_array, written_in_pieces
from manifests.pairs import PairArrays
from manifests.progress import Progress, no_progress

DIHEDRAL = 8
_BATCH = 32
_CROPS = (0.75, 0.95)  # side of a crop as a share of the picture's
_CLOSER = 0.85  # below it a crop counts as a closer one
_SPREAD = (0.2, 5.0)  # standard deviation of image latents that a denoiser for unit variance can work with


@dataclass(frozen=True)
class LatentCache:
    """latents: float16 (N, V, C + M, h, w) of N pairs in V views; labels: int64 (N,); classes name them."""

    latents: np.ndarray
    labels: np.ndarray
    classes: tuple[str, ...]
    image_channels: int

    def batch(self, indices: np.ndarray, views: np.ndarray) -> Tensor:
        """The latents (B, C + M, h, w), float32, of pairs `indices` in `views`."""
        return torch.from_numpy(self.latents[indices, views].astype(np.float32))


def dihedral(array: np.ndarray, view: int) -> np.ndarray:
    """One of the eight flips and quarter turns of an array (H, W, ...)."""
    turned = np.rot90(array, view % 4)
    return np.ascontiguousarray(np.flip(turned, axis=1) if view >= 4 else turned)


def crop_share(view: int, seed: int) -> float:
    """Side of the seeded crop that `view_of` takes, as a share of the picture's: 1 for a whole view."""
    return 1.0 if view < DIHEDRAL else float(np.random.default_rng((seed, view)).uniform(*_CROPS))


def zoom_steps(pairs: int, views: int) -> np.ndarray:
    """Step (N, V) of `augment.prompts.ZOOMS` of each view of each pair: 0 whole, 1 a crop, 2 a closer one."""
    shares = [[crop_share(view, pair) for view in range(views)] for pair in range(pairs)]
    return (2 - np.digitize(np.array(shares), (_CLOSER, 1.0))).astype(np.int8)


def view_of(image: np.ndarray, mask: np.ndarray, view: int, side: int, seed: int) -> tuple[np.ndarray, np.ndarray]:
    """View `view` of a pair at `side` px: view % 8 is the flip and turn, view // 8 > 0 a seeded crop of 75 to 95 %."""
    if view >= DIHEDRAL:
        random = np.random.default_rng((seed, view))
        size = round(image.shape[0] * float(random.uniform(*_CROPS)))
        top, left = random.integers(0, image.shape[0] - size + 1, 2)
        image, mask = image[top : top + size, left : left + size], mask[top : top + size, left : left + size]
    image, mask = dihedral(image, view % DIHEDRAL), dihedral(mask, view % DIHEDRAL)
    if image.shape[0] != side:
        image = cv2.resize(image, (side, side), interpolation=cv2.INTER_AREA)
        mask = cv2.resize(mask.astype(np.uint8) * 255, (side, side), interpolation=cv2.INTER_AREA) > 127
    return image, mask


def build_latent_cache(
    pairs: PairArrays,
    encode: Callable[[np.ndarray], Tensor],
    codec: MaskCodec,
    folder: Path,
    key: str,
    side: int,
    views: int = DIHEDRAL,
    progress: Progress = no_progress,
) -> LatentCache:
    """Encodes `pairs` at `side` px in `views` views each into `folder`, or opens what is already there.

    encode: uint8 images (B, side, side, 3) -> scaled latents (B, C, h, w); key: digests of the encoder and of the
    pairs' manifest, since a corrected mask keeps its pair's id. More than eight views are crops too; with fewer,
    neighbouring pairs have different ones, so that all eight occur. BadInput if the latents' scale is far from one.
    """
    name = hashlib.sha256(json.dumps([key, pairs.pair_ids, codec.config(), side, views]).encode()).hexdigest()[:16]
    path = folder / f"latents-{name}.npy"
    if not path.exists():
        with written_in_pieces(path) as unfinished:
            _write_cache(pairs, encode, codec, unfinished, side, views, progress)
    latents = np.load(path, mmap_mode="r", allow_pickle=False)
    return LatentCache(latents, pairs.labels, pairs.classes, latents.shape[2] - codec.channels)


def _write_cache(
    pairs: PairArrays,
    encode: Callable[[np.ndarray], Tensor],
    codec: MaskCodec,
    path: Path,
    side: int,
    views: int,
    progress: Progress,
) -> None:
    jobs = [(index, view) for index in range(len(pairs)) for view in range(views)]
    target: Any = None
    for start in range(0, len(jobs), _BATCH):
        chunk = jobs[start : start + _BATCH]
        chosen = [(i, (view + i) % DIHEDRAL if views < DIHEDRAL else view) for i, view in chunk]
        seen = [view_of(pairs.images[i], pairs.masks[i], view, side, i) for i, view in chosen]
        images = encode(np.stack([image for image, _ in seen])).float().cpu().numpy()
        if target is None:
            _check_scale(images)
        masks = codec.encode(np.stack([mask for _, mask in seen]), images.shape[-1])
        values = np.concatenate([images, masks], axis=1).astype(np.float16)
        if target is None:
            shape = (len(pairs), views, *values.shape[1:])
            target = new_mapped_array(path, np.float16, shape)
        for (index, view), value in zip(chunk, values, strict=True):
            target[index, view] = value
        progress(min(start + _BATCH, len(jobs)), len(jobs))
    target.flush()


def _check_scale(latents: np.ndarray) -> None:
    """Latents (B, C, h, w) of the first pictures: a scaling factor that is not this VAE's shows at once."""
    spread = float(latents.std())
    if not _SPREAD[0] <= spread <= _SPREAD[1]:
        raise BadInput(
            f"vae/config.json of the base: scaled latents have a standard deviation of {spread:.3g} where the denoiser "
            f"needs about 1 ({_SPREAD[0]:g} to {_SPREAD[1]:g}); set the scaling_factor that belongs to this VAE"
        )
