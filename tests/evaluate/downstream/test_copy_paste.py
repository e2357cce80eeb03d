"""Copy-paste shows one lesion, of its own class and with its mask on it, in the skin of another picture."""

from __future__ import annotations

import numpy as np

from evaluate.downstream.copy_paste import CopyPaste, without_lesion
from tests.evaluate.downstream.small_trainings import lesions

PAIRS = lesions(24, seed=1, size=64)


def _lesion_pixels(images: np.ndarray) -> np.ndarray:
    return images.astype(int).sum(axis=-1) < 430


def test_the_mask_goes_with_the_lesion_which_moves_and_keeps_its_colour() -> None:
    images, masks = CopyPaste(PAIRS, share=1.0, seed=0)(PAIRS.images, PAIRS.masks)
    assert images.dtype == np.uint8 and masks.dtype == bool and masks.any(axis=(1, 2)).all()
    seen = _lesion_pixels(images)
    dice = 2 * (seen & masks).sum(axis=(1, 2)) / (seen.sum(axis=(1, 2)) + masks.sum(axis=(1, 2)))
    assert dice.mean() > 0.9
    moved = [(old != new).mean() for old, new in zip(PAIRS.masks, masks, strict=True)]
    assert np.median(moved) > 0.05
    dark = [image[mask].mean() < 80 for image, mask in zip(images, masks, strict=True)]
    assert dark == [label == 1 for label in PAIRS.labels]


def test_the_skin_shows_no_lesion_of_its_own() -> None:
    for image, mask in zip(PAIRS.images[:6], PAIRS.masks[:6], strict=True):
        assert not _lesion_pixels(without_lesion(image, mask)[None]).any()


def test_the_same_seed_pastes_the_same_and_a_share_stays_whole() -> None:
    first, again, other = (CopyPaste(PAIRS, 0.5, seed)(PAIRS.images, PAIRS.masks)[0] for seed in (1, 1, 2))
    assert np.array_equal(first, again) and not np.array_equal(first, other)
    whole = [np.array_equal(old, new) for old, new in zip(PAIRS.images, first, strict=True)]
    assert 6 <= sum(whole) <= 18


def test_pairs_without_masks_stay_as_they_are() -> None:
    bare = lesions(4, seed=2)
    none = np.zeros_like(bare.masks)
    images, masks = CopyPaste(bare, 1.0, 0)(bare.images, none)
    assert np.array_equal(images, bare.images) and not masks.any()
