"""Settings of the gates, of the copy audit, of the fidelity figures and of the quality table."""

from __future__ import annotations

from typing import Literal

from pydantic import Field, model_validator

from evaluate.settings.training import ClassifierSettings, SegmenterSettings
from manifests.settings import Frozen

PLAIN = "plain"
ReviewPolicy = Literal["off", "required", "any", "majority"]
# The extractor whose ImageNet weights are installed, and that never saw the pairs which it judges.
LITE0 = "efficientnet_lite0"


class CopySettings(Frozen):
    """How copies of real training pairs are recognised."""

    extractor: str | None = Field(
        None,
        description="efficientnet_lite0, sscd, mobilenet_v2 or a timm model to compare features of; none is the "
        "built-in descriptor",
    )
    weights: str | None = Field(None, description="local .safetensors file of the extractor, or 'hub'")
    extractor_size: int = Field(224, ge=32, description="side of the extractor's input, in pixels")
    shortlist: int = Field(4, ge=1, description="nearest real pairs that are registered and compared closely")
    false_alarm_rate: float = Field(
        0.005,
        gt=0,
        lt=0.5,
        description="share of real pairs that may look like copies of real ones of other groups",
    )
    planted_recall: float = Field(
        0.98,
        gt=0.5,
        lt=1,
        description="share of planted copies that lie above the highest threshold",
    )
    calibration_pairs: int = Field(600, ge=8, description="real pairs whose nearest others set the threshold")
    planted_per_attack: int = Field(40, ge=4, description="planted copies of each kind that set the threshold")

    @model_validator(mode="after")
    def _weights_need_an_extractor(self) -> CopySettings:
        if self.weights and self.extractor in (None, LITE0):
            raise ValueError("copies.weights needs copies.extractor, the timm model that they belong to")
        return self


class JudgeSegmenterSettings(SegmenterSettings):
    """The segmenters that find the lesion again: small images and few updates, for they are many.

    From ImageNet weights they find held-out lesions of ISIC 2017 with a Dice of .873 and a 5 % quantile of .587, plain
    ones with .855 and .498 in a third of the training time.
    """

    updates: int = Field(160, ge=1, description="optimiser updates of each segmenter")
    size: int = Field(64, ge=32, le=1024, multiple_of=16, description="side of the training images, in pixels")
    learning_rate: float = Field(5e-3, gt=0, description="peak of the one-cycle schedule")
    checks: int = Field(1, ge=1, description="the last weights are kept, since nothing is left to choose by")
    architecture: str = Field(
        "Unet", description="an architecture of smp; plain is a small U-Net that learns fast from scratch"
    )

    @model_validator(mode="after")
    def _plain_has_no_encoder_weights(self) -> JudgeSegmenterSettings:
        if self.architecture == PLAIN and self.weights:
            raise ValueError("encoder weights need an architecture of smp; set gates.segmenter.architecture=Unet")
        return self

    @property
    def weights(self) -> str | None:
        return self.weights_of(PLAIN) if self.architecture == PLAIN else super().weights


class JudgeClassifierSettings(ClassifierSettings):
    """The classifiers of the class gate, if they are networks, and the fidelity extractor; pretrained, they start as a
    linear probe like the downstream classifier."""

    updates: int = Field(200, ge=1, description="optimiser updates of each classifier")
    size: int = Field(96, ge=32, le=1024, description="side of the square training images, in pixels")
    checks: int = Field(1, ge=1, description="the last weights are kept, since nothing is left to choose by")


class GateSettings(Frozen):
    """What a generated pair must pass. Every threshold is a quantile of held-out real pairs, no constant."""

    folds: int = Field(
        3,
        ge=2,
        le=10,
        description="parts of the training split; each model of the judge leaves one out",
    )
    seed: int = 0
    class_judge: Literal["appearance", "network"] = Field(
        "appearance",
        description="appearance needs no pretrained weights and tells classes better than a linear probe of "
        "ImageNet features; network trains gates.classifier",
    )
    mask_plausibility_quantile: float = Field(
        0.02, ge=0, lt=0.5, description="share of held-out real masks below the plausibility threshold"
    )
    mask_agreement_quantile: float = Field(
        0.05, ge=0, lt=0.5, description="share of held-out real pairs below the agreement threshold"
    )
    class_consistency_quantile: float = Field(
        0.1,
        ge=0,
        lt=0.5,
        description="share of a class's held-out real pairs below its threshold",
    )
    class_minimum: int = Field(20, ge=2, description="training pairs below which a class gets no threshold of its own")
    given_minimum: int = Field(
        40, ge=2, description="training pairs with given masks from which on segmenters learn from those alone"
    )
    batch: int = Field(32, ge=1, description="pairs judged at once; short batches are padded to it")
    segmenter: JudgeSegmenterSettings = JudgeSegmenterSettings()
    classifier: JudgeClassifierSettings = JudgeClassifierSettings()
    copies: CopySettings = CopySettings()
    review: ReviewPolicy = Field(
        "off",
        description="readers as a gate: any refusal refuses a pair, the majority decides, or it is required as well "
        "that somebody has read it",
    )


class FidelitySettings(Frozen):
    """With which eyes and on how many images distributions are compared."""

    extractor: str = Field(
        LITE0,
        description="efficientnet_lite0 with its installed ImageNet weights; downstream is our own classifier, "
        "trained on real pairs; else sscd, mobilenet_v2 or a timm model",
    )
    weights: str | None = Field(None, description="local .safetensors file of the extractor, or 'hub'")
    size: int = Field(128, ge=32, le=1024, description="side of the extractor's input, in pixels")
    width: int | None = Field(None, ge=1, description="features that the extractor must give; none takes any")
    classifier: JudgeClassifierSettings = Field(
        JudgeClassifierSettings(), description="how the downstream extractor is trained"
    )
    kid_subset: int = Field(50, ge=2, description="images in a KID subset; smaller sets use all they have")
    kid_subsets: int = Field(100, ge=1)
    minimum: int = Field(10, ge=4, description="images of a set below which no figure is computed")
    neighbours: int = Field(5, ge=1, description="k of precision, recall, density and coverage")
    limit: int = Field(2000, ge=10, description="images of a set that are compared at most, evenly spaced")
    seed: int = 0

    @model_validator(mode="after")
    def _own_classifier_has_its_own_weights(self) -> FidelitySettings:
        if self.extractor in ("downstream", LITE0) and self.weights:
            raise ValueError("fidelity.weights needs fidelity.extractor, the model that they belong to")
        return self


class QualitySettings(Frozen):
    """How many pairs are drawn, and what is trained on them."""

    share: float = Field(1.0, gt=0, le=4, description="generated pairs per real training pair, class by class")
    seeds: int = Field(3, ge=1, description="downstream trainings of each kind; their mean is judged")
    classifier: ClassifierSettings = ClassifierSettings(checks=1)
    segmenter: SegmenterSettings = SegmenterSettings(checks=1)
    copies: CopySettings = CopySettings()
    fidelity: FidelitySettings = FidelitySettings()
