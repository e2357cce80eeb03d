"""The judge's own segmenter: a small U-Net that learns from scratch in seconds, where encoders want pretraining."""

from __future__ import annotations

import torch
from torch import Tensor, nn
from torch.nn.functional import interpolate, max_pool2d

from evaluate.downstream.network import HALF
from evaluate.downstream.segmenter import Segmenter
from evaluate.settings.gates import PLAIN, JudgeSegmenterSettings

WIDTHS = (24, 48, 72, 96)


class PlainUNet(nn.Module):
    """U-Net (Ronneberger et al. 2015) with batch norm that works at half of the input's resolution."""

    def __init__(self, widths: tuple[int, ...] = WIDTHS):
        super().__init__()
        self.down = nn.ModuleList(_block(a, b) for a, b in zip((3, *widths), widths, strict=False))
        pairs = list(zip(widths[1:], widths, strict=False))[::-1]
        self.up = nn.ModuleList(_block(deep + shallow, shallow) for deep, shallow in pairs)
        self.head = nn.Conv2d(widths[0], 1, 1)

    def forward(self, images: Tensor) -> Tensor:
        """images: (B, 3, S, S), S a multiple of 16 -> logits (B, 1, S, S)."""
        features = interpolate(images, scale_factor=0.5, mode="area")
        passed: list[Tensor] = []
        for block in self.down:
            features = block(max_pool2d(features, 2) if passed else features)
            passed.append(features)
        for block, skip in zip(self.up, passed[-2::-1], strict=True):
            features = block(torch.cat([interpolate(features, scale_factor=2.0), skip], dim=1))
        return interpolate(self.head(features), scale_factor=2.0, mode="bilinear")


def _block(inside: int, outside: int) -> nn.Sequential:
    layers: list[nn.Module] = []
    for width in (inside, outside):
        layers += [nn.Conv2d(width, outside, 3, padding=1, bias=False), nn.BatchNorm2d(outside), nn.ReLU(True)]
    return nn.Sequential(*layers)


class JudgeSegmenter(Segmenter):
    """A segmenter that is a plain U-Net unless the settings name an architecture of smp."""

    settings_type = JudgeSegmenterSettings

    def build(self, pretrained: bool) -> tuple[nn.Module, tuple[tuple[float, ...], tuple[float, ...]]]:
        if self.settings.architecture != PLAIN:
            return super().build(pretrained)
        return PlainUNet(), HALF
