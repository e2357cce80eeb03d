"""Settings of the quality table: how a base's generated pairs are measured against real ones."""

from __future__ import annotations

from pydantic import Field

from evaluate.gate_settings import CopySettings, FidelitySettings
from evaluate.settings import ClassifierSettings, SegmenterSettings
from manifests.settings import Frozen


class QualitySettings(Frozen):
    """How many pairs are drawn, and what is trained on them."""

    share: float = Field(1.0, gt=0, le=4, description="generated pairs per real training pair, class by class")
    seeds: int = Field(3, ge=1, description="downstream trainings of each kind; their mean is judged")
    classifier: ClassifierSettings = ClassifierSettings(updates=300, checks=5)
    segmenter: SegmenterSettings = SegmenterSettings(updates=200, checks=5)
    copies: CopySettings = CopySettings()
    fidelity: FidelitySettings = FidelitySettings()
