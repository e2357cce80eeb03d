"""Settings of downstream training: one budget for every arm, the classifier and the segmenter."""

from __future__ import annotations

from typing import Any, Literal

from pydantic import Field, model_validator

from manifests.settings import Frozen

# timm's name of the network whose ImageNet weights come as a package; smp takes it as an encoder after tu-.
LITE0_MODEL = "tf_efficientnet_lite0"
AUTO, PACKAGE = "auto", "package"
_RATE_OF_RANDOM_LAYERS = 3e-3


class TrainingSettings(Frozen):
    """One budget, the same for every arm of a task."""

    updates: int = Field(250, ge=1, description="optimiser updates of every arm; at most, where a pilot chooses")
    batch_size: int = Field(32, ge=2)
    size: int = Field(128, ge=32, le=1024, description="side of the square training images, in pixels")
    learning_rate: float = Field(2e-3, gt=0, description="peak of the one-cycle schedule")
    weight_decay: float = Field(0.02, ge=0)
    warmup: float = Field(0.2, gt=0, lt=1, description="share of the updates in which the rate rises")
    ema_decay: float = Field(0.98, ge=0, lt=1, description="0 switches the weight average off")
    frozen: float = Field(
        0.3,
        ge=0,
        lt=1,
        description="share of a pretrained encoder's first layers that keep their weights; none of a random one's do",
    )
    clip_norm: float = Field(1.0, gt=0, description="largest gradient norm")
    checks: int = Field(3, ge=1, description="how often validation is looked at, evenly over the second half")
    patience: int | None = Field(
        None,
        ge=1,
        description="checks without a better validation score before training stops; none never stops",
    )
    precision: Literal["auto", "fp32", "bf16"] = Field(
        "auto", description="auto is bf16 where the hardware has it and the network has no depthwise convolution"
    )
    encoder_weights: str | None = Field(
        AUTO,
        description="a local .safetensors file, 'hub' for the model's own pretrained weights, 'package' for those of "
        "tf_efficientnet_lite0 that are installed, or none; auto is the package for that encoder, else none",
    )
    device: Literal["auto", "cpu", "cuda"] = "auto"

    @property
    def weights(self) -> str | None:
        """Where pretrained weights come from; none for random ones."""
        return self.weights_of("")

    @property
    def draws_of_probe(self) -> int:
        """Pairs that are drawn before the first update."""
        return 0

    def weights_of(self, encoder: str) -> str | None:
        """The encoder weights for a network of timm, chosen where the setting says auto."""
        if self.encoder_weights != AUTO:
            return self.encoder_weights
        return PACKAGE if encoder == LITE0_MODEL else None


class ClassifierSettings(TrainingSettings):
    """The downstream classifier: any timm model by name, or torchvision's mobilenet_v2."""

    updates: int = Field(80, ge=1, description="optimiser updates of every arm; at most, where a pilot chooses")
    learning_rate: float = Field(
        5e-4, gt=0, description="peak of the one-cycle schedule; 3e-3 where it is not set and no probe is the start"
    )
    frozen: float = Field(0.5, ge=0, lt=1, description="share of a pretrained encoder's first layers that stay")
    model: str = LITE0_MODEL
    probe: int = Field(
        1536,
        ge=0,
        description="draws of a linear probe that the last layer of a pretrained network starts from, its batch norms "
        "kept as they are; 0 starts that layer at random",
    )

    @model_validator(mode="before")
    @classmethod
    def _a_random_layer_learns_faster(cls, values: Any) -> Any:
        if isinstance(values, dict) and "learning_rate" not in values:
            chosen = cls.model_construct(**values)
            return values if chosen.draws_of_probe else {**values, "learning_rate": _RATE_OF_RANDOM_LAYERS}
        return values

    @property
    def weights(self) -> str | None:
        return self.weights_of(self.model)

    @property
    def draws_of_probe(self) -> int:
        return self.probe if self.weights else 0


class SegmenterSettings(TrainingSettings):
    """The downstream segmenter: any architecture and encoder of segmentation-models-pytorch by name."""

    updates: int = Field(80, ge=1, description="optimiser updates of every arm; at most, where a pilot chooses")
    batch_size: int = Field(16, ge=2)
    learning_rate: float = Field(2e-3, gt=0, description="peak of the one-cycle schedule")
    architecture: str = "Unet"
    encoder: str = f"tu-{LITE0_MODEL}"
    decoder_channels: tuple[int, ...] | None = Field(
        (128, 64, 32, 16, 8), description="none keeps the architecture's own widths"
    )

    @property
    def weights(self) -> str | None:
        return self.weights_of(self.encoder.removeprefix("tu-"))
