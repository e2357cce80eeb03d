"""The joint denoiser: a UNet whose first and last convolution carry mask channels beside the image latents."""

from __future__ import annotations

import shutil
from pathlib import Path
from typing import Any

import torch
from torch import Tensor, nn
from torch.nn import functional

from augment.base.folder import CODEC_FILE, BaseFolder, check_base

OUTER = ("conv_in", "conv_out")


def widen_unet(unet: Any, mask_channels: int) -> Any:
    """Gives `unet` extra input and output channels with zero weights, in place; its image output stays the same.

    After training the new channels carry the mask (SkinDualGen's joint generation, by channel concatenation).
    """
    with torch.no_grad():
        unet.conv_in = _wider(unet.conv_in, extra_in=mask_channels)
        unet.conv_out = _wider(unet.conv_out, extra_out=mask_channels)
    unet.register_to_config(in_channels=unet.conv_in.in_channels, out_channels=unet.conv_out.out_channels)
    return unet


def _wider(conv: Any, extra_in: int = 0, extra_out: int = 0) -> Any:
    wider: Any = torch.nn.Conv2d(
        conv.in_channels + extra_in,
        conv.out_channels + extra_out,
        kernel_size=conv.kernel_size,
        stride=conv.stride,
        padding=conv.padding,
        dtype=conv.weight.dtype,
        device=conv.weight.device,
    )
    wider.weight.zero_()
    wider.bias.zero_()
    wider.weight[: conv.out_channels, : conv.in_channels] = conv.weight
    wider.bias[: conv.out_channels] = conv.bias
    return wider


def narrow_unet(unet: Any, channels: int) -> Any:
    """Leaves `unet` its first `channels` input and output channels, in place: the way back from `widen_unet`."""
    with torch.no_grad():
        for name, kept in (("conv_in", (slice(None), slice(channels))), ("conv_out", (slice(channels),))):
            old = getattr(unet, name)
            weight = old.weight[kept].clone()
            conv: Any = nn.Conv2d(weight.shape[1], weight.shape[0], old.kernel_size, old.stride, old.padding)
            conv.weight.copy_(weight)
            conv.bias.copy_(old.bias[: weight.shape[0]])
            setattr(unet, name, conv)
    unet.register_to_config(in_channels=channels, out_channels=channels)
    return unet


def outer_parameters(unet: Any) -> dict[str, torch.nn.Parameter]:
    """The parameters of both outer convolutions, under their names in the UNet."""
    return {name: value for name, value in unet.named_parameters() if name.split(".")[0] in OUTER}


class FloatGroupNorm(nn.GroupNorm):
    """A group norm that computes in float32 whatever the type of its input, and gives that type back."""

    def forward(self, input: Tensor) -> Tensor:
        """(B, C, h, w) -> the same shape and type."""
        weight, bias = self.weight.float(), self.bias.float()
        return functional.group_norm(input.float(), self.num_groups, weight, bias, self.eps).to(input.dtype)


def compute_norms_in_float(unet: nn.Module, device: torch.device) -> None:
    """On the CPU torch's bfloat16 group norm takes two to four times as long as this, conversions included."""
    if device.type == "cpu":
        for module in unet.modules():
            if type(module) is nn.GroupNorm:
                module.__class__ = FloatGroupNorm


def round_frozen_weights(unet: Any) -> None:
    """Keeps frozen weights as the bfloat16 that autocast makes of them anew at every step: the same numbers, faster.

    Frozen vectors (norms, biases) stay as they are, and so does all that is trained.
    """
    from peft.tuners.tuners_utils import BaseTunerLayer

    for value in unet.parameters():
        if not value.requires_grad and value.dim() > 1:
            value.data = value.data.bfloat16()
    for module in unet.modules():
        if isinstance(module, BaseTunerLayer):
            module.cast_input_dtype_enabled = False


def without_mask_channels(base: BaseFolder, folder: Path) -> BaseFolder:
    """A copy of `base` in `folder` whose UNet knows the image latents alone; made once and found again.

    The mask channels' weights are cut from both outer convolutions, so its pictures are those that the rest of the
    UNet draws without seeing a mask.
    """
    if not (folder / "model_index.json").is_file():
        shutil.rmtree(folder, ignore_errors=True)
        left_out = shutil.ignore_patterns("unet", CODEC_FILE, "model_index.json", "README.md")
        shutil.copytree(base.path, folder, ignore=left_out)
        narrow_unet(base.unet(), base.latent_channels).save_pretrained(folder / "unet")
        shutil.copy(base.path / "model_index.json", folder)
    return check_base(folder)
