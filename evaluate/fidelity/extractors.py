"""Networks that turn images into features, for copies and fidelity: ours, SSCD, torchvision's or any of timm's."""

from __future__ import annotations

from pathlib import Path

import numpy as np
import torch
from torch import Tensor, nn

from evaluate.downstream.classifier import Classifier, build_classifier, pooled_features
from evaluate.downstream.encoders import load_encoder_weights, weights_file
from evaluate.downstream.lite0 import lite0_network
from evaluate.downstream.network import HALF
from evaluate.fidelity.sscd import IMAGENET, Sscd, load_sscd
from evaluate.settings.gates import LITE0
from manifests.errors import BadInput

SSCD = "sscd"
_BATCH = 32


class ImageFeatures(nn.Module):
    """Pooled features of a classifier; fits torchmetrics, which wants uint8 images and `num_features`.

    name: what figures made with it must be told beside; num_features: D.
    """

    mean: Tensor
    deviation: Tensor

    def __init__(
        self,
        name: str,
        network: nn.Module,
        size: int,
        normalisation: tuple[tuple[float, ...], tuple[float, ...]],
    ):
        super().__init__()
        self.name, self.size, self.network = name, size, network.eval()
        mean, deviation = normalisation
        self.register_buffer("mean", torch.tensor(mean).view(1, 3, 1, 1), persistent=False)
        self.register_buffer("deviation", torch.tensor(deviation).view(1, 3, 1, 1), persistent=False)
        self.num_features = int(self.forward(torch.zeros((1, 3, size, size), dtype=torch.uint8)).shape[1])

    @torch.inference_mode()
    def forward(self, images: Tensor) -> Tensor:
        """images: uint8 (B, 3, H, W) of any size -> float32 (B, D)."""
        batch = images.float() / 255
        if batch.shape[-2:] != (self.size, self.size):
            batch = nn.functional.interpolate(batch, (self.size, self.size), mode="bilinear", antialias=True)
        batch = (batch - self.mean) / self.deviation
        network = self.network
        return (network(batch) if isinstance(network, Sscd) else pooled_features(network, batch)).float()


def features_of(extractor: nn.Module, images: np.ndarray) -> np.ndarray:
    """Features float32 (N, D) of uint8 images (N, H, W, 3); BadInput unless D is as stated."""
    rows = []
    for start in range(0, len(images), _BATCH):
        block = torch.from_numpy(np.array(images[start : start + _BATCH])).permute(0, 3, 1, 2)
        rows.append(extractor(block).numpy())
    found = np.concatenate(rows)
    if found.ndim != 2 or found.shape[1] != stated_width(extractor):
        raise BadInput(
            f"feature extractor {extractor_name(extractor)} gives shape {found.shape[1:]} but states "
            f"{stated_width(extractor)} features; use one with pooled features of its stated width"
        )
    return found


def lite0_features(size: int = 128) -> ImageFeatures:
    """Pooled ImageNet features (B, 1280) of images brought to `size` px: an eye that never saw the pairs."""
    return ImageFeatures(f"{LITE0} (ImageNet)", lite0_network(), size, HALF)


def pretrained_features(model: str, weights: str | None, size: int, width: int | None = None) -> ImageFeatures:
    """Features of efficientnet_lite0 with its packaged ImageNet weights, of torchvision's mobilenet_v2 or a timm model,
    with weights from a file or the hub, or of SSCD from a file.

    Pickled files, such as the published ones of SSCD, are never read; their tensors are, saved as safetensors
    under the names that they have. Without weights the features are those of a random network,
    and the name says so. Raises BadInput for an unknown model, a file that does not fit and features that
    are not `width` wide.
    """
    if model == LITE0:
        return checked_width(lite0_features(size), width)
    path = weights_file(weights)
    if model == SSCD:
        return checked_width(_sscd_features(path, size), width)
    torch.manual_seed(0)
    network, normalisation = build_classifier(model, 1, weights == "hub", size)
    if path:
        load_encoder_weights(network, path)
        config = getattr(network, "pretrained_cfg", None)
        normalisation = (tuple(config["mean"]), tuple(config["std"])) if config else HALF
    extractor = ImageFeatures(f"{model} ({_origin(weights, path)})", network, size, normalisation)
    return checked_width(extractor, width)


def _sscd_features(path: Path | None, size: int) -> ImageFeatures:
    if path is None:
        raise BadInput(
            "the extractor sscd needs a local file of its weights; save the tensors of a published .torchvision.pt "
            "file as .safetensors and name that one"
        )
    return ImageFeatures(f"SSCD ({path.name})", load_sscd(path), size, IMAGENET)


def downstream_features(classifier: Classifier, width: int | None = None) -> ImageFeatures:
    """Features of a trained downstream classifier."""
    network, size = classifier.fitted(), classifier.settings.size
    name = f"{classifier.settings.model} (trained on the real training pairs)"
    return checked_width(ImageFeatures(name, network, size, (classifier.mean, classifier.deviation)), width)


def checked_width(extractor: ImageFeatures, width: int | None) -> ImageFeatures:
    """`extractor`, if it is `width` wide or no width is wanted; else BadInput."""
    if width is not None and extractor.num_features != width:
        raise BadInput(
            f"feature extractor {extractor.name} gives {extractor.num_features} features, not the {width} of "
            f"fidelity.width; name another model or leave fidelity.width out"
        )
    return extractor


def stated_width(extractor: nn.Module) -> int:
    """The number of features that `extractor` says it gives; BadInput if it does not say."""
    width = getattr(extractor, "num_features", None)
    if not isinstance(width, int):
        raise BadInput(f"feature extractor {extractor_name(extractor)} has no num_features; state how many it gives")
    return width


def extractor_name(extractor: nn.Module) -> str:
    """What figures made with `extractor` are told beside."""
    name = getattr(extractor, "name", None)
    return name if isinstance(name, str) else type(extractor).__name__


def _origin(weights: str | None, path: Path | None) -> str:
    return path.name if path else ("hub weights" if weights else "random weights")
