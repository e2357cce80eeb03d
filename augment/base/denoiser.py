"""The parts of a joint base that are trained together: denoiser, text encoder, and what they are told."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass
from typing import Any

import torch
from diffusers import DDPMScheduler, UNet2DConditionModel

from augment.mask_codec import SignedDistanceCodec


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
