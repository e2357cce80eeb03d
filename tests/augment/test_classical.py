"""The classical augmentation: seeded, and the mask goes with the image."""

from __future__ import annotations

import numpy as np
import pytest

from augment.classical import training_augmentation


@pytest.mark.parametrize("strength", ["standard", "strong"])
def test_the_mask_follows_the_image(strength) -> None:
    masks = np.zeros((16, 96, 96), bool)
    masks[:, 20:60, 30:80] = True
    images = np.where(masks[..., None], np.uint8([220, 30, 30]), np.uint8([30, 30, 220])).astype(np.uint8)
    drawn, moved = training_augmentation(80, 3, strength)(images, masks)
    assert drawn.shape == (16, 80, 80, 3) and moved.dtype == bool
    red = drawn[..., 0].astype(int) > drawn[..., 2]
    agreement = 2 * (red & moved).sum() / (red.sum() + moved.sum())
    assert agreement > (0.97 if strength == "standard" else 0.85)


def test_the_same_seed_gives_the_same_batch() -> None:
    images = np.random.default_rng(0).integers(0, 255, (4, 64, 64, 3), dtype=np.uint8)
    masks = images[..., 0] > 100
    first, again, other = (training_augmentation(64, seed)(images, masks)[0] for seed in (1, 1, 2))
    assert np.array_equal(first, again) and not np.array_equal(first, other)
