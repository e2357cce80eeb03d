"""The segmenter that finds masks: an smp U-Net whose EfficientNet-Lite0 encoder starts from ImageNet."""

from __future__ import annotations

from collections.abc import Sequence
from pathlib import Path
from typing import TYPE_CHECKING

from evaluate.downstream.encoders import load_encoder_weights
from evaluate.downstream.lite0 import lite0_weights
from evaluate.downstream.segmenter import Segmenter
from evaluate.settings.found_masks import FinderSettings
from evaluate.settings.training import AUTO
from manifests.pairs import PairArrays

if TYPE_CHECKING:
    from torch import nn

_BUILT = ("architecture", "encoder", "decoder_channels")


class FindingSegmenter(Segmenter):
    """A segmenter that starts from another one of the same network, or with ImageNet's weights in a Lite0 encoder.

    start: the folder of that other one; one that is built otherwise is passed over.
    """

    settings_type = FinderSettings
    settings: FinderSettings

    def __init__(self, settings: FinderSettings, classes: Sequence[str] = (), start: Path | None = None) -> None:
        super().__init__(settings, classes)
        self.start = start

    def _initial_network(self, pairs: PairArrays) -> nn.Module:
        import torch

        other = FindingSegmenter.load(self.start) if self.start and self.settings.encoder_weights == AUTO else None
        if other is None or any(getattr(other.settings, name) != getattr(self.settings, name) for name in _BUILT):
            return super()._initial_network(pairs)
        self.mean, self.deviation = other.mean, other.deviation
        return other.fitted().to(self.device).to(memory_format=torch.channels_last)

    def imagenet_network(self) -> nn.Module:
        """A new network with ImageNet's encoder; the decoder is random."""
        network, (self.mean, self.deviation) = self.build(pretrained=False)
        load_encoder_weights(self.encoder(network), lite0_weights())
        return network
