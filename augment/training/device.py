"""One path for CPU and GPU: where training runs, and what is the faster way there."""

from __future__ import annotations

from contextlib import AbstractContextManager
from typing import Any

import torch
from diffusers.models.attention_processor import AttnProcessor

from augment.joint import compute_norms_in_float


def training_device() -> torch.device:
    """The GPU if there is one, else the CPU."""
    return torch.device("cuda" if torch.cuda.is_available() else "cpu")


def fitted_unet(unet: Any, device: torch.device) -> Any:
    """`unet` on `device`, in training mode and channels last; its parameters keep their names."""
    compute_norms_in_float(unet, device)
    if device.type == "cpu":
        # Written out, attention has the faster way back there.
        unet.set_attn_processor(AttnProcessor())
    return unet.to(device, memory_format=torch.channels_last).train()


def half_precision(device: torch.device) -> AbstractContextManager[Any]:
    """Autocast to bfloat16 where the device computes in it; nothing on a GPU that only imitates it."""
    able = device.type != "cuda" or torch.cuda.is_bf16_supported(including_emulation=False)
    return torch.autocast(device.type, torch.bfloat16, enabled=able)


def generator_on(device: torch.device, generator: torch.Generator) -> torch.Generator:
    """A generator for noise made on `device`, seeded as `generator` was; on the CPU that one itself."""
    if device.type == "cpu":
        return generator
    return torch.Generator(device).manual_seed(generator.initial_seed())
