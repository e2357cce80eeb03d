"""The features of EfficientNet-Lite0 with ImageNet weights: an eye from outside, on machines without network."""

from __future__ import annotations

from evaluate.downstream.lite0 import LITE0, lite0_network
from evaluate.downstream.network import HALF
from evaluate.fidelity.extractors import ImageFeatures


def lite0_features(size: int = 128) -> ImageFeatures:
    """Pooled ImageNet features (B, 1280) of images brought to `size` px."""
    return ImageFeatures(f"{LITE0} (ImageNet)", lite0_network(), size, HALF)
