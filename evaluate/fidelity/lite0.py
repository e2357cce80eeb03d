"""The features of EfficientNet-Lite0 with ImageNet weights: an eye from outside, on machines without network."""

from __future__ import annotations

from evaluate.downstream.lite0 import LITE0
from evaluate.fidelity.extractors import ImageFeatures, pretrained_features


def lite0_features(size: int = 128) -> ImageFeatures:
    """Pooled ImageNet features (B, 1280) of images brought to `size` px."""
    return pretrained_features(LITE0, None, size)
