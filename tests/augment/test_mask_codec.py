"""A mask survives the way through the latent channels."""

from __future__ import annotations

import cv2
import numpy as np
import pytest
import torch
from hypothesis import given, settings
from hypothesis import strategies as st

from augment.mask_codec import SignedDistanceCodec, VaeCodec, bound_codec, codec_from
from manifests.errors import BadInput
from manifests.pairs import PairArrays


def dice(first: np.ndarray, second: np.ndarray) -> float:
    return 2 * (first & second).sum() / max(1, first.sum() + second.sum())


def round_trip(codec: SignedDistanceCodec, mask: np.ndarray, latent_side: int) -> np.ndarray:
    return codec.decode(torch.from_numpy(codec.encode(mask[None], latent_side)), mask.shape[0])[0]


def test_drawn_masks_come_back_with_a_mean_dice_of_98_percent(drawn_pairs: PairArrays) -> None:
    codec = SignedDistanceCodec()
    scores = [dice(mask, round_trip(codec, mask, 16)) for mask in _at_128(drawn_pairs)]
    assert np.mean(scores) >= 0.98


def _at_128(pairs: PairArrays) -> list[np.ndarray]:
    return [cv2.resize(mask.astype(np.uint8), (128, 128)).astype(bool) for mask in pairs.masks[:40]]


@settings(max_examples=40, deadline=None)
@given(
    centre=st.tuples(st.integers(30, 98), st.integers(30, 98)),
    axes=st.tuples(st.integers(12, 60), st.integers(12, 60)),
    angle=st.integers(0, 179),
    fold=st.sampled_from([1, 2]),
)
def test_any_ellipse_survives_the_codec(centre: tuple, axes: tuple, angle: int, fold: int) -> None:
    mask = cv2.ellipse(np.zeros((128, 128), np.uint8), centre, axes, angle, 0, 360, 1, -1).astype(bool)
    assert dice(mask, round_trip(SignedDistanceCodec(fold=fold), mask, 16)) > 0.95


@pytest.mark.parametrize("filled", [False, True])
def test_empty_and_full_masks_survive_the_codec(filled: bool) -> None:
    mask = np.full((128, 128), filled)
    assert (round_trip(SignedDistanceCodec(), mask, 16) == mask).all()


def test_a_codec_is_rebuilt_from_its_config() -> None:
    codec = SignedDistanceCodec(clip=0.2, fold=1)
    assert codec_from(codec.config()) == codec
    assert codec_from(VaeCodec(16).config()) == VaeCodec(16)


@pytest.mark.parametrize(
    "config",
    [
        {},
        {"name": "rle"},
        {"name": "vae"},
        {"name": "vae", "channels": -1},
        {"name": "vae", "channels": "16"},
        {"name": "vae", "channels": True},
        {"name": "signed_distance_s2d", "spread": 0},
        {"name": "signed_distance", "clip": -0.1},
        {"name": "signed_distance", "clip": "wide"},
        {"name": "signed_distance_s2d", "fold": 3},
        {"name": "signed_distance_s2d", "spread": float("inf")},
    ],
)
def test_a_codec_that_is_none_is_one_sentence(config: dict) -> None:
    with pytest.raises(BadInput, match=r"^mask_codec\.json: the mask codec"):
        codec_from(config, "mask_codec.json")


def test_the_autoencoders_code_needs_its_autoencoder() -> None:
    halves = bound_codec(VaeCodec(1), lambda images: torch.from_numpy(images[:, None, ::2, ::2, 0] / 255.0))
    assert halves.encode(np.ones((2, 8, 8), bool), 4).shape == (2, 1, 4, 4)
    with pytest.raises(ValueError, match="autoencoder"):
        halves.decode(torch.zeros(1, 1, 4, 4), 8)
