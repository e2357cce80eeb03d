"""The loss terms do what their papers say."""

from __future__ import annotations

import pytest
import torch

from augment.mask_codec import SignedDistanceCodec, VaeCodec
from augment.objectives import (
    alpha_sigma,
    clean_estimate,
    joint_loss,
    lesion_error,
    min_snr_weight,
    soft_dice_loss,
    target_of,
)
from augment.settings import ObjectiveSettings

ALPHAS = torch.linspace(0.999, 0.001, 1000)


@pytest.mark.parametrize("prediction", ["epsilon", "v_prediction", "sample"])
def test_a_perfect_prediction_gives_back_the_clean_latents_and_no_loss(prediction: str) -> None:
    codec = SignedDistanceCodec()
    clean, noise, steps = torch.randn(6, 8, 8, 8), torch.randn(6, 8, 8, 8), torch.randint(0, 900, (6,))
    alpha, sigma = alpha_sigma(ALPHAS, steps)
    noisy = alpha * clean + sigma * noise
    output = target_of(prediction, clean, noise, alpha, sigma)
    assert torch.allclose(clean_estimate(prediction, output, noisy, alpha, sigma), clean, atol=1e-3)
    only_errors = ObjectiveSettings(lesion=0.2)
    loss, _ = joint_loss(output, clean, noise, noisy, steps, ALPHAS, prediction, codec, only_errors)
    assert loss == 0


def test_min_snr_weights_are_the_papers() -> None:
    steps = torch.tensor([100, 500, 900])
    snr = ALPHAS[steps] / (1 - ALPHAS[steps])
    expected = snr.clamp(max=5) / snr
    assert torch.allclose(min_snr_weight(ALPHAS, steps, 5.0, "epsilon"), expected)
    assert torch.allclose(min_snr_weight(ALPHAS, steps, 5.0, "v_prediction"), snr.clamp(max=5) / (snr + 1))
    assert (min_snr_weight(ALPHAS, steps, None, "epsilon") == 1).all()


def test_small_and_large_lesions_weigh_alike() -> None:
    squared, occupancy = torch.ones(2, 4, 8, 8), torch.zeros(2, 1, 8, 8)
    occupancy[0, :, :2, :2] = 1
    occupancy[1, :, :6, :6] = 1
    assert torch.allclose(lesion_error(squared, occupancy), torch.ones(2))


def test_the_dice_term_falls_as_masks_agree() -> None:
    disc = torch.full((1, 1, 16, 16), -1.0)
    disc[:, :, 4:12, 4:12] = 1
    assert soft_dice_loss(disc, disc) < 0.05 < 0.5 < soft_dice_loss(-disc, disc)


def test_every_term_is_reported_and_a_weight_of_zero_leaves_it_out() -> None:
    codec, clean, noise = SignedDistanceCodec(), torch.randn(4, 8, 8, 8), torch.randn(4, 8, 8, 8)
    steps = torch.tensor([10, 200, 500, 900])
    alpha, sigma = alpha_sigma(ALPHAS, steps)
    arguments = (
        torch.zeros_like(clean),
        clean,
        noise,
        alpha * clean + sigma * noise,
        steps,
        ALPHAS,
        "epsilon",
        codec,
    )
    _, all_terms = joint_loss(*arguments, ObjectiveSettings(lesion=0.2, dice=0.1))
    _, fewer = joint_loss(*arguments, ObjectiveSettings())
    with pytest.raises(ValueError, match="signed distance"):
        joint_loss(*arguments[:-1], VaeCodec(4), ObjectiveSettings(dice=0.1))
    assert set(all_terms) == {"image", "mask", "lesion", "dice"} and set(fewer) == {"image", "mask"}
