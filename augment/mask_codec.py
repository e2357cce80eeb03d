"""Masks as latent channels: a clipped signed distance map, in one channel or in four by space to depth."""

from __future__ import annotations

from collections.abc import Callable
from dataclasses import asdict, dataclass

import cv2
import numpy as np
import torch
from torch import Tensor


@dataclass(frozen=True)
class SignedDistanceCodec:
    """Codes a mask as its signed distance, positive inside the lesion.

    clip: the distance that maps to 1, as a share of the image side; fold: 1 for one channel at latent resolution,
    2 for four channels that hold a map of twice that resolution; centre and spread make the values zero-mean and
    unit-variance over dermoscopy (measured on the ISIC 2017 training masks).
    """

    clip: float = 0.125
    fold: int = 2
    centre: float = -0.35
    spread: float = 0.8

    @property
    def channels(self) -> int:
        """Number of latent channels that a mask takes."""
        return self.fold**2

    def encode(self, masks: np.ndarray, latent_side: int) -> np.ndarray:
        """masks: bool (N, H, W) -> float32 (N, channels, latent_side, latent_side)."""
        side = latent_side * self.fold
        maps = np.stack([_distance_map(mask, self.clip, side) for mask in masks])
        folded = maps.reshape(-1, latent_side, self.fold, latent_side, self.fold).transpose(0, 2, 4, 1, 3)
        values = folded.reshape(len(masks), self.channels, latent_side, latent_side)
        return ((values - self.centre) / self.spread).astype(np.float32)

    def distance(self, channels: Tensor) -> Tensor:
        """channels: (B, channels, h, w) -> signed distance (B, 1, h * fold, w * fold), 1 is the clip distance."""
        return torch.nn.functional.pixel_shuffle(channels * self.spread + self.centre, self.fold)

    def decode(self, channels: Tensor, side: int) -> np.ndarray:
        """channels: (B, channels, h, w) -> bool masks (B, side, side), the zero level of the bicubic distance."""
        finer = torch.nn.functional.interpolate(self.distance(channels.float()), size=(side, side), mode="bicubic")
        return (finer[:, 0] > 0).cpu().numpy()

    def config(self) -> dict[str, float | int | str]:
        """What `codec_from` rebuilds this codec from."""
        return {"name": "signed_distance" if self.fold == 1 else "signed_distance_s2d", **asdict(self)}


@dataclass(frozen=True)
class VaeCodec:
    """Codes a mask as the latents of its black and white picture, as SkinDualGen does; kept for comparison."""

    encode_images: Callable[[np.ndarray], Tensor]
    decode_images: Callable[[Tensor], np.ndarray]

    def encode(self, masks: np.ndarray, latent_side: int) -> np.ndarray:
        """masks: bool (N, S, S) -> float32 latents (N, C, latent_side, latent_side) of unit variance."""
        pictures = np.repeat(masks[..., None].astype(np.uint8) * 255, 3, axis=-1)
        return self.encode_images(pictures).numpy()

    def decode(self, channels: Tensor, side: int) -> np.ndarray:
        """channels: (B, C, h, w) -> bool masks (B, side, side), the brighter half."""
        return self.decode_images(channels).mean(axis=-1) > 127.5


def codec_from(config: dict) -> SignedDistanceCodec:
    """The codec that `config` (of `SignedDistanceCodec.config`) describes."""
    fields = {name: config[name] for name in ("clip", "fold", "centre", "spread") if name in config}
    fold = 1 if config.get("name") == "signed_distance" else 2
    return SignedDistanceCodec(**{"fold": fold, **fields})


def _distance_map(mask: np.ndarray, clip: float, side: int) -> np.ndarray:
    """mask: bool (H, W) -> float32 (side, side) in [-1, 1]."""
    inside = cv2.distanceTransform(mask.astype(np.uint8), cv2.DIST_L2, cv2.DIST_MASK_PRECISE)
    outside = cv2.distanceTransform((~mask).astype(np.uint8), cv2.DIST_L2, cv2.DIST_MASK_PRECISE)
    # Distances are to pixel centres of the other side; half a pixel makes the border the zero level.
    signed = np.where(mask, inside - 0.5, 0.5 - outside) / (clip * mask.shape[0])
    return cv2.resize(np.clip(signed, -1, 1).astype(np.float32), (side, side), interpolation=cv2.INTER_AREA)
