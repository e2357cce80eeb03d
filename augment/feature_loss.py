"""A loss in the features of an ImageNet network: what keeps a decoder from smoothing away what it cannot know."""

from __future__ import annotations

from pathlib import Path

import torch
from safetensors import SafetensorError
from safetensors.torch import load_file
from torch import Tensor, nn

from manifests.errors import BadInput, first_line

_STAGES = (2, 4, 7, 11)  # blocks of MobileNetV2 after which the resolution is a half, a quarter and so on


class FeatureLoss(nn.Module):
    """Distance of two pictures in the first stages of MobileNetV2, channels normalised (Zhang et al. 2018).

    The network sees pictures in [-1, 1], as in weights that were published quantised. Raises BadInput unless `weights`
    is a safetensors file of torchvision's mobilenet_v2.
    """

    def __init__(self, weights: Path) -> None:
        super().__init__()
        from torchvision.models import mobilenet_v2

        network = mobilenet_v2(weights=None)
        try:
            network.load_state_dict(load_file(weights))
        except (OSError, SafetensorError, RuntimeError) as error:
            said = first_line(error)
            raise BadInput(f"{weights}: no weights of torchvision's mobilenet_v2 ({said}); name their file") from error
        first = (0, *_STAGES[:-1])
        self.stages = nn.ModuleList(network.features[a:b] for a, b in zip(first, _STAGES, strict=True))
        self.eval().requires_grad_(False)

    def forward(self, drawn: Tensor, wanted: Tensor) -> Tensor:
        """Pictures (B, 3, H, W) in [-1, 1] -> distances (B,), the mean over stages of squared distances in [0, 4]."""
        with torch.no_grad():
            targets = self._features(wanted)
        found = self._features(drawn)
        parts = [((a - b) ** 2).sum(dim=1).mean(dim=(1, 2)) for a, b in zip(found, targets, strict=True)]
        return torch.stack(parts).mean(dim=0)

    def _features(self, values: Tensor) -> list[Tensor]:
        found = []
        for stage in self.stages:
            values = stage(values)
            found.append(nn.functional.normalize(values, dim=1))
        return found
