"""The loss: named terms over one prediction of the joint denoiser, each with a weight of its own."""

from __future__ import annotations

import torch
from torch import Tensor

from augment.mask_codec import MaskCodec, SignedDistanceCodec
from augment.settings import ObjectiveSettings

_DISTANCE_SHARPNESS = 8.0  # turns a signed distance (1 = clip distance) into a soft occupancy


def alpha_sigma(alphas_cumprod: Tensor, timesteps: Tensor) -> tuple[Tensor, Tensor]:
    """Signal and noise scale (B, 1, 1, 1) at `timesteps` (B,)."""
    signal = alphas_cumprod[timesteps].view(-1, 1, 1, 1)
    return signal.sqrt(), (1 - signal).sqrt()


def min_snr_weight(alphas_cumprod: Tensor, timesteps: Tensor, gamma: float | None, prediction: str) -> Tensor:
    """Weight (B,) of the squared error of `prediction` (Hang et al. 2023, equations 8 and 9)."""
    signal = alphas_cumprod[timesteps].double()
    if gamma is None:
        return torch.ones_like(signal).float()
    snr = signal / (1 - signal)
    clipped = snr.clamp(max=gamma)
    weight = {
        "epsilon": clipped / snr.clamp(min=1e-8),
        "v_prediction": clipped / (snr + 1),
        "sample": clipped,
    }
    return weight[prediction].float()


def target_of(prediction: str, clean: Tensor, noise: Tensor, alpha: Tensor, sigma: Tensor) -> Tensor:
    """What the denoiser has to predict (Salimans and Ho 2022 for v)."""
    if prediction == "epsilon":
        return noise
    if prediction == "v_prediction":
        return alpha * noise - sigma * clean
    if prediction == "sample":
        return clean
    raise ValueError(f"prediction type {prediction!r} is not one of epsilon, v_prediction, sample")


def clean_estimate(prediction: str, output: Tensor, noisy: Tensor, alpha: Tensor, sigma: Tensor) -> Tensor:
    """The clean latents that `output` implies."""
    if prediction == "epsilon":
        return (noisy - sigma * output) / alpha.clamp(min=1e-4)
    if prediction == "v_prediction":
        return alpha * noisy - sigma * output
    return output


def lesion_error(squared: Tensor, occupancy: Tensor) -> Tensor:
    """Mean squared error (B,) inside the lesion, each lesion counting alike whatever its area.

    squared: (B, C, h, w); occupancy: (B, 1, h, w) in [0, 1].
    """
    area = occupancy.sum(dim=(1, 2, 3)).clamp(min=1.0)
    return (squared.mean(dim=1, keepdim=True) * occupancy).sum(dim=(1, 2, 3)) / area


def soft_dice_loss(distance: Tensor, wanted: Tensor) -> Tensor:
    """1 - Dice (B,) of the soft occupancies of two signed distance maps (B, 1, H, W) (Milletari et al. 2016)."""
    first, second = torch.sigmoid(distance * _DISTANCE_SHARPNESS), torch.sigmoid(wanted * _DISTANCE_SHARPNESS)
    overlap = (first * second).sum(dim=(1, 2, 3))
    return 1 - (2 * overlap + 1) / (first.sum(dim=(1, 2, 3)) + second.sum(dim=(1, 2, 3)) + 1)


def quiet_pairs(alphas_cumprod: Tensor, timesteps: Tensor, settings: ObjectiveSettings) -> Tensor:
    """How many pairs (a float scalar) at `timesteps` (B,) are so little noisy that their Dice counts."""
    _, sigma = alpha_sigma(alphas_cumprod, timesteps)
    return (sigma.flatten() <= settings.dice_max_noise).float().sum()


def _distance_codec(codec: MaskCodec) -> SignedDistanceCodec:
    if not isinstance(codec, SignedDistanceCodec):
        raise ValueError("the lesion and Dice terms need masks coded as a signed distance")
    return codec


def joint_loss(
    output: Tensor,
    clean: Tensor,
    noise: Tensor,
    noisy: Tensor,
    timesteps: Tensor,
    alphas_cumprod: Tensor,
    prediction: str,
    codec: MaskCodec,
    settings: ObjectiveSettings,
    quiet_count: Tensor | None = None,
) -> tuple[Tensor, dict[str, Tensor]]:
    """The weighted sum of the terms and each term's batch mean.

    output, clean, noise, noisy: (B, C + M, h, w), the last M channels the mask's; timesteps: (B,); quiet_count: for a
    part of a batch, the share of the whole batch's `quiet_pairs` that falls to it by its size, so that the parts' Dice
    adds up to the whole's.
    """
    alpha, sigma = alpha_sigma(alphas_cumprod, timesteps)
    squared = (output - target_of(prediction, clean, noise, alpha, sigma)) ** 2
    weight = min_snr_weight(alphas_cumprod, timesteps, settings.min_snr_gamma, prediction)
    image, mask = squared[:, : -codec.channels], squared[:, -codec.channels :]
    terms = {
        "image": (weight * image.mean(dim=(1, 2, 3))).mean(),
        "mask": (weight * mask.mean(dim=(1, 2, 3))).mean(),
    }
    if settings.lesion > 0:
        distances = _distance_codec(codec)
        inside = (distances.distance(clean[:, -codec.channels :]) > 0).float()
        occupied = torch.nn.functional.avg_pool2d(inside, distances.fold)
        terms["lesion"] = (weight * lesion_error(image, occupied)).mean()
    if settings.dice > 0:
        distance = _distance_codec(codec).distance
        estimate = clean_estimate(prediction, output, noisy, alpha, sigma)[:, -codec.channels :]
        quiet = (sigma.flatten() <= settings.dice_max_noise).float()
        loss = soft_dice_loss(distance(estimate), distance(clean[:, -codec.channels :]))
        divisor = quiet.sum().clamp(min=1) if quiet_count is None else quiet_count
        terms["dice"] = (quiet * loss).sum() / divisor
    total = sum(getattr(settings, name) * term for name, term in terms.items())
    return total, {name: term.detach() for name, term in terms.items()}
