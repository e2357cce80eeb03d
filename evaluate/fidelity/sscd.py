"""SSCD, the copy-detection descriptor of Pizzi et al. ("A Self-Supervised Descriptor for Image Copy Detection", 2022):
a ResNet, generalised-mean pooling, one linear layer, and rows of unit length."""

from __future__ import annotations

import re
from collections.abc import Mapping
from pathlib import Path

from torch import Tensor, nn
from torch.nn.functional import normalize
from torchvision.models.resnet import BasicBlock, Bottleneck, ResNet

from evaluate.downstream.encoders import read_tensors
from manifests.errors import BadInput

POWER = 3.0
IMAGENET = ((0.485, 0.456, 0.406), (0.229, 0.224, 0.225))
"""Mean and deviation that SSCD was trained with."""
_BLOCK = re.compile(r"backbone\.layer([1-4])\.(\d+)\.")
_LAST = re.compile(r"embeddings\.\d+\.(weight|bias)")


class GeneralisedMean(nn.Module):
    """Maps (B, C, H, W) -> (B, C), the third root of the mean of cubes: between mean and maximum."""

    def forward(self, maps: Tensor) -> Tensor:
        return maps.clamp(min=1e-6).pow(POWER).mean(dim=(2, 3)).pow(1 / POWER)


class Sscd(nn.Module):
    """Images (B, 3, H, W), normalised by IMAGENET -> descriptors (B, D) of unit length."""

    def __init__(self, block: type[BasicBlock] | type[Bottleneck], depths: list[int], width: int):
        super().__init__()
        self.backbone = ResNet(block, depths, num_classes=width)
        self.backbone.avgpool = GeneralisedMean()

    def forward(self, images: Tensor) -> Tensor:
        return normalize(self.backbone(images))


def load_sscd(path: Path) -> Sscd:
    """The network that a safetensors file holds under SSCD's own names, of the depth and width that it has.

    The trunk's names are those of the published torchvision files (`backbone.conv1.weight`), the last layer's
    `backbone.fc` or `embeddings.1`. BadInput where the file is damaged or of another network.
    """
    stored = {_LAST.sub(r"backbone.fc.\1", name): tensor for name, tensor in read_tensors(path).items()}
    depths = _depths(stored)
    last = stored.get("backbone.fc.weight")
    if last is None or last.ndim != 2 or not all(depths):
        raise BadInput(
            f"extractor weights {path} are not SSCD's: they need a ResNet under backbone.conv1 to backbone.layer4 and "
            "its last layer under embeddings.1 or backbone.fc; save the tensors of a published .torchvision.pt file"
        )
    deep = any(name.startswith("backbone.layer1.0.conv3") for name in stored)
    network = Sscd(Bottleneck if deep else BasicBlock, depths, len(last))
    try:
        missing, surplus = network.load_state_dict(stored, strict=False)
    except RuntimeError as error:
        raise BadInput(
            f"extractor weights {path}: {str(error).splitlines()[-1].strip()[:200]}; fetch it again"
        ) from error
    strange = [name for name in (*missing, *surplus) if not name.endswith("num_batches_tracked")]
    if strange:
        raise BadInput(f"extractor weights {path}: {strange[0]} is missing or is none of SSCD's; fetch the file again")
    return network.eval()


def _depths(stored: Mapping[str, Tensor]) -> list[int]:
    """Blocks of each of the four layers."""
    found = {match.groups() for name in stored if (match := _BLOCK.match(name))}
    return [sum(layer == str(number) for layer, _ in found) for number in range(1, 5)]
