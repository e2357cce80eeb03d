"""Settings of the segmenter that finds missing masks."""

from __future__ import annotations

from pydantic import Field

from evaluate.settings.benchmark import SegmenterSettings

LITE0_ENCODER = "tu-tf_efficientnet_lite0"


class FinderSettings(SegmenterSettings):
    """How the segmenter that finds missing masks is trained; without encoder weights it starts from ImageNet's."""

    updates: int = Field(200, ge=1, description="optimiser updates on a run's own masked pairs")
    size: int = Field(128, ge=32, le=1024, description="side of the square training images, in pixels")
    learning_rate: float = Field(1e-3, gt=0, description="peak of the schedule")
    checks: int = Field(1, ge=1, description="the last weights are kept")
    encoder: str = LITE0_ENCODER
    pretrain_updates: int = Field(900, ge=1, description="optimiser updates of the segmenter that is shipped")
    checkpoint_every: int = Field(50, ge=1, description="updates of that between two checkpoints")
