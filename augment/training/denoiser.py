"""Training the shipped base's joint denoiser and text encoder from scratch, on cached latents."""

from __future__ import annotations

import time
from collections.abc import Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import numpy as np
import torch
from diffusers import DDPMScheduler, UNet2DConditionModel

from augment.base.text_encoder import embeddings_of, tokens_of
from augment.mask_codec import SignedDistanceCodec
from augment.objectives import alpha_sigma, joint_loss
from augment.prompts import prompt_for
from augment.settings import PretrainSettings
from augment.training.data import class_weights
from augment.training.latents import LatentCache
from augment.training.schedules import warmed_up_cosine
from augment.training.state import TrainingState, step_generators
from manifests.progress import Progress, StopRequested, no_progress


def make_unet(channels: int, widths: Sequence[int], text_width: int, side: int) -> UNet2DConditionModel:
    """A joint denoiser without attention at its top resolution and with few wide heads below: fast on a CPU."""
    return UNet2DConditionModel(
        sample_size=side,
        in_channels=channels,
        out_channels=channels,
        block_out_channels=tuple(widths),
        layers_per_block=1,
        down_block_types=("DownBlock2D", *("CrossAttnDownBlock2D",) * (len(widths) - 1)),
        up_block_types=(*("CrossAttnUpBlock2D",) * (len(widths) - 1), "UpBlock2D"),
        cross_attention_dim=text_width,
        attention_head_dim=4,
        norm_num_groups=32,
    )


def make_scheduler() -> DDPMScheduler:
    """Squared-cosine noise (Nichol and Dhariwal 2021) with v-prediction."""
    return DDPMScheduler(
        num_train_timesteps=1000,
        beta_schedule="squaredcos_cap_v2",
        prediction_type="v_prediction",
        steps_offset=1,
        timestep_spacing="trailing",
        clip_sample=False,
    )


@dataclass(frozen=True)
class DenoiserParts:
    """What is trained together, and what it is told."""

    unet: UNet2DConditionModel
    text_encoder: Any
    tokenizer: Any
    scheduler: DDPMScheduler
    codec: SignedDistanceCodec

    def named_parameters(self) -> dict[str, torch.nn.Parameter]:
        """Parameters of the UNet and the text encoder under distinct names."""
        unet = {f"unet.{name}": value for name, value in self.unet.named_parameters()}
        text = {f"text_encoder.{name}": value for name, value in self.text_encoder.named_parameters()}
        return {**unet, **text}


def train_denoiser(
    parts: DenoiserParts,
    cache: LatentCache,
    settings: PretrainSettings,
    seed: int,
    work: Path,
    header: dict[str, str],
    progress: Progress = no_progress,
) -> TrainingState:
    """Trains for `settings.steps`, checkpointing to `work`; the state's averages are the result."""
    parts.unet.to(memory_format=torch.channels_last)
    state = TrainingState(parts.named_parameters(), settings.learning_rate, settings.ema_decay, weight_decay=0.01)
    checkpoint = work / "denoiser.safetensors"
    state.load(checkpoint, header)
    tokens = tokens_of(parts.tokenizer, [*(prompt_for(dx) for dx in cache.classes), ""])
    weights = class_weights(cache.labels, len(cache.classes))
    parts.unet.train()
    parts.text_encoder.train()
    started, first, smooth = time.monotonic(), state.step, 0.0
    try:
        while state.step < settings.steps:
            loss, terms = _loss(parts, cache, settings, seed, state.step, tokens, weights)
            state.update(loss, warmed_up_cosine(state.step, settings.steps, settings.warmup))
            smooth = float(terms["image"]) * 0.02 + smooth * 0.98 if smooth else float(terms["image"])
            if state.step % settings.checkpoint_every == 0 or state.step == settings.steps:
                state.save(checkpoint, header)
            rate = (state.step - first) / (time.monotonic() - started)
            progress(
                state.step,
                settings.steps,
                rate=rate,
                smooth=smooth,
                **{k: float(v) for k, v in terms.items()},
            )
    except StopRequested:
        state.save(checkpoint, header)
        raise
    return state


def _loss(
    parts: DenoiserParts,
    cache: LatentCache,
    settings: PretrainSettings,
    seed: int,
    step: int,
    tokens: torch.Tensor,
    weights: np.ndarray,
) -> tuple[torch.Tensor, dict[str, torch.Tensor]]:
    numbers, generator = step_generators(seed, step)
    indices = numbers.choice(len(weights), settings.batch, p=weights)
    clean = cache.batch(indices, numbers.integers(0, cache.latents.shape[1], settings.batch))
    said = np.where(numbers.random(settings.batch) < settings.prompt_dropout, len(cache.classes), cache.labels[indices])
    noise = torch.randn(clean.shape, generator=generator)
    steps = parts.scheduler.config.num_train_timesteps
    # Stratified over the batch: the noise levels of one step cover the range evenly (Kingma et al. 2021, I.1).
    offsets = (torch.arange(settings.batch) + torch.rand(settings.batch, generator=generator)) / settings.batch
    timesteps = (offsets * steps).long().clamp(max=steps - 1)
    alpha, sigma = alpha_sigma(parts.scheduler.alphas_cumprod, timesteps)
    noisy = alpha * clean + sigma * noise
    with torch.autocast("cpu", torch.bfloat16):
        context = embeddings_of(parts.text_encoder, tokens)[torch.from_numpy(said)]
        channels_last = noisy.contiguous(memory_format=torch.channels_last)
        output = parts.unet(channels_last, timesteps, context).sample.float()
    return joint_loss(
        output,
        clean,
        noise,
        noisy,
        timesteps,
        parts.scheduler.alphas_cumprod,
        parts.scheduler.config.prediction_type,
        parts.codec,
        settings.objective,
    )
