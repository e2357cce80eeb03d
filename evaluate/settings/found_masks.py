"""Settings of the segmenter that finds missing masks."""

from __future__ import annotations

from pathlib import Path

from pydantic import Field

import augment
from evaluate.settings.training import SegmenterSettings

SHIPPED_SEGMENTER = Path(augment.__file__).parent / "shipped_segmenter"
WEIGHTS = "segmenter.safetensors"


class FinderSettings(SegmenterSettings):
    """How the segmenter that finds missing masks is trained, from the shipped one or from ImageNet's weights."""

    updates: int = Field(200, ge=1, description="optimiser updates on a run's own masked pairs")
    size: int = Field(128, ge=32, le=1024, description="side of the square training images, in pixels")
    learning_rate: float = Field(1e-3, gt=0, description="peak of the schedule")
    checks: int = Field(1, ge=1, description="the last weights are kept")
    frozen: float = Field(0.0, ge=0, lt=1, description="share of the encoder's first layers that keep their weights")
    pretrain_updates: int = Field(900, ge=1, description="optimiser updates of the segmenter that is shipped")
    checkpoint_every: int = Field(50, ge=1, description="updates of that between two checkpoints")
