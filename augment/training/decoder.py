"""Training the decoder of the shipped base's autoencoder; its encoder is a fixed linear code."""

from __future__ import annotations

import time
from pathlib import Path

import cv2
import numpy as np
import torch
from diffusers import AutoencoderDC
from torch import Tensor

from augment.base.patch_code import LinearCode, image_tensor, psnr
from augment.feature_loss import FeatureLoss
from augment.settings import PretrainSettings
from augment.training.device import training_device
from augment.training.latents import dihedral
from augment.training.schedules import warmed_up_cosine
from augment.training.state import TrainingState, step_generators
from manifests.errors import BadInput
from manifests.progress import Progress, StopRequested, no_progress

_CROP = 64  # the decoder is convolutional: small crops, many of them
_LATENT_NOISE = 0.05  # what the denoiser leaves behind; a decoder that never saw it draws it as specks


def train_decoder(
    autoencoder: AutoencoderDC,
    code: LinearCode,
    images: np.ndarray,
    side: int,
    settings: PretrainSettings,
    seed: int,
    work: Path,
    header: dict[str, str],
    progress: Progress = no_progress,
) -> TrainingState:
    """Trains the decoder on crops of `images` (uint8 (N, S, S, 3), S >= side); its averages are the result."""
    device = training_device()
    decoder = autoencoder.decoder.to(device, memory_format=torch.channels_last)
    parameters = {f"decoder.{name}": value for name, value in decoder.named_parameters()}
    state = TrainingState(parameters, settings.decoder_learning_rate, settings.decoder_average)
    teacher = FeatureLoss(Path(settings.decoder_teacher)).to(device) if settings.decoder_teacher else None
    checkpoint = work / "decoder.safetensors"
    if not state.load(checkpoint, header) and checkpoint.exists():
        raise BadInput(f"{checkpoint}: belongs to other data or settings; name another --work or take those")
    started, first = time.monotonic(), state.step
    try:
        while state.step < settings.decoder_steps:
            numbers, generator = step_generators(seed + 1, state.step)
            wanted = image_tensor(_crops(images, side, settings.decoder_batch, numbers)).to(device)
            # Not in bf16: its rounding alone is as large as the errors that are left to mend.
            drawn = decoder(_noisy_latents(code, wanted, generator))
            # The root weighs hairy and plain images nearly alike, as the mean of their PSNR does.
            loss = ((drawn - wanted) ** 2).mean(dim=(1, 2, 3)).add(1e-6).sqrt().mean()
            felt = teacher(drawn, wanted).mean() if teacher else torch.zeros(())
            factor = warmed_up_cosine(state.step, settings.decoder_steps, settings.warmup)
            state.update(loss + settings.decoder_features * felt, factor)
            if state.step % settings.checkpoint_every == 0 or state.step == settings.decoder_steps:
                state.save(checkpoint, header)
            rate = (state.step - first) / (time.monotonic() - started)
            figures = {
                "rate": rate,
                "psnr": float(psnr(drawn.detach(), wanted).mean()),
                "features": float(felt.detach()),
            }
            progress(state.step, settings.decoder_steps, **figures)
    except StopRequested:
        state.save(checkpoint, header)
        raise
    return state


def _noisy_latents(code: LinearCode, wanted: Tensor, generator: torch.Generator) -> Tensor:
    """Latents of pictures; half of them carry noise, so that the clean half keeps the reconstruction exact."""
    latents = code.encode(wanted)
    share = torch.rand(len(latents), 1, 1, 1, generator=generator).sub(0.5).clamp(min=0) * 2
    noise = torch.randn(latents.shape, generator=generator).to(latents)
    return latents + _LATENT_NOISE * share.to(latents) * noise


def _crops(images: np.ndarray, side: int, count: int, numbers: np.random.Generator) -> np.ndarray:
    """Seeded crops (count, 64, 64, 3) of images brought to between 1 and 1.3 times `side`."""
    crops = []
    for index in numbers.integers(0, len(images), count):
        scaled = min(images.shape[1], int(side * numbers.choice([1.0, 1.0, 1.15, 1.3])))
        # Only the window that the crop needs is scaled.
        window = int(np.ceil(_CROP * images.shape[1] / scaled))
        top, left = numbers.integers(0, images.shape[1] - window + 1, 2)
        part = images[index, top : top + window, left : left + window]
        crop = cv2.resize(part, (_CROP, _CROP), interpolation=cv2.INTER_AREA)
        crops.append(dihedral(crop, int(numbers.integers(8))))
    return np.stack(crops)
