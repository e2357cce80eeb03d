"""Masks as latent channels: a clipped signed distance map, in one channel or four, or the autoencoder's own code."""

from __future__ import annotations

from collections.abc import Callable, Mapping
from dataclasses import asdict, dataclass, field, replace
from typing import Any, Protocol

import cv2
import numpy as np
import torch
from torch import Tensor

from manifests.errors import BadInput

_LARGEST = 1000  # no number of a codec comes near it
_DISTANCES = ("signed_distance", "signed_distance_s2d")
EncodeImages = Callable[[np.ndarray], Tensor]
DecodeImages = Callable[[Tensor], np.ndarray]


class MaskCodec(Protocol):
    """What turns masks into latent channels and back."""

    @property
    def channels(self) -> int:
        """Number of latent channels that a mask takes."""

    def encode(self, masks: np.ndarray, latent_side: int) -> np.ndarray:
        """masks: bool (N, H, W) -> float32 (N, channels, latent_side, latent_side)."""

    def decode(self, channels: Tensor, side: int) -> np.ndarray:
        """channels: (B, channels, h, w) -> bool masks (B, side, side)."""

    def config(self) -> dict[str, Any]:
        """What `codec_from` rebuilds this codec from."""


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
        return {"name": _DISTANCES[self.fold - 1], **asdict(self)}


def _unbound(_: Any) -> Any:
    raise ValueError("a VaeCodec needs its autoencoder: bound_codec")


@dataclass(frozen=True)
class VaeCodec:
    """Codes a mask as the latents of its black and white picture, as SkinDualGen does.

    channels: the autoencoder's; encode_images and decode_images: the autoencoder's way there and back, which
    `bound_codec` sets, since a header cannot hold them.
    """

    channels: int
    encode_images: EncodeImages = field(default=_unbound, compare=False, repr=False)
    decode_images: DecodeImages = field(default=_unbound, compare=False, repr=False)

    def encode(self, masks: np.ndarray, latent_side: int) -> np.ndarray:
        """masks: bool (N, S, S) -> float32 latents (N, C, latent_side, latent_side)."""
        pictures = np.repeat(masks[..., None].astype(np.uint8) * 255, 3, axis=-1)
        latents: np.ndarray = self.encode_images(pictures).float().cpu().numpy()
        return latents

    def decode(self, channels: Tensor, side: int) -> np.ndarray:
        """channels: (B, C, h, w) -> bool masks (B, side, side), the brighter half."""
        bright: np.ndarray = self.decode_images(channels).mean(axis=-1) > 127.5
        return bright

    def config(self) -> dict[str, Any]:
        """What `codec_from` rebuilds this codec from, without its autoencoder."""
        return {"name": "vae", "channels": self.channels}


def codec_from(config: Mapping[str, Any], where: str = "mask codec") -> SignedDistanceCodec | VaeCodec:
    """The codec that `config` (a codec's own `config()`) describes; BadInput naming `where` if it describes none."""
    if config.get("name") != "vae":
        return distance_codec_from(config, where)
    channels = config.get("channels")
    if type(channels) is not int or not 0 < channels < _LARGEST:
        raise _no_codec(where)
    return VaeCodec(channels)


def distance_codec_from(config: Mapping[str, Any], where: str = "mask codec") -> SignedDistanceCodec:
    """As `codec_from`, where only a signed distance will do, as in a joint base."""
    fields = {name: config[name] for name in ("clip", "fold", "centre", "spread") if name in config}
    sound = all(type(value) in (int, float) and abs(value) < _LARGEST for value in fields.values())
    sound = sound and all(fields.get(name, 1) > 0 for name in ("clip", "spread"))
    if not sound or config.get("name") not in _DISTANCES or fields.get("fold", 1) not in (1, 2):
        raise _no_codec(where)
    fold = int(fields.get("fold", 1 if config["name"] == _DISTANCES[0] else 2))
    return SignedDistanceCodec(**{**fields, "fold": fold})


def _no_codec(where: str) -> BadInput:
    return BadInput(f"{where}: the mask codec that it describes does not fit here; take the file that was made with it")


def bound_codec(codec: MaskCodec, encode: EncodeImages, decode: DecodeImages = _unbound) -> MaskCodec:
    """`codec`, with the autoencoder's functions (see `augment.base`) if it is one that needs them."""
    if isinstance(codec, VaeCodec):
        return replace(codec, encode_images=encode, decode_images=decode)
    return codec


def _distance_map(mask: np.ndarray, clip: float, side: int) -> np.ndarray:
    """mask: bool (H, W) -> float32 (side, side) in [-1, 1]."""
    inside = cv2.distanceTransform(mask.astype(np.uint8), cv2.DIST_L2, cv2.DIST_MASK_PRECISE)
    outside = cv2.distanceTransform((~mask).astype(np.uint8), cv2.DIST_L2, cv2.DIST_MASK_PRECISE)
    # Distances are to pixel centres of the other side; half a pixel makes the border the zero level.
    signed = np.where(mask, inside - 0.5, 0.5 - outside) / (clip * mask.shape[0])
    return cv2.resize(np.clip(signed, -1, 1).astype(np.float32), (side, side), interpolation=cv2.INTER_AREA)
