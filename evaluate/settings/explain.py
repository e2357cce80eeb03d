"""Settings of explain: who diagnoses, where the lesion is looked for, and what is shown of each diagnosis."""

from __future__ import annotations

from typing import Literal

from pydantic import Field

from evaluate.settings.gates import JudgeSegmenterSettings
from evaluate.settings.training import ClassifierSettings
from manifests.settings import Frozen


class EnsembleClassifierSettings(ClassifierSettings):
    """The members of the diagnosing ensemble; small images, for several of them answer together."""

    size: int = Field(96, ge=32, le=1024, description="side of the square training images, in pixels")


class ClassifierDiagnoserSettings(Frozen):
    """The ensemble that diagnoses, and when it says `none of these`."""

    downstream: bool = Field(
        True,
        description="take the benchmark's classifiers of the arm that is best on validation; "
        "where the run has none, or false, members are trained on the real training pairs",
    )
    members: int = Field(3, ge=1, le=20, description="trained classifiers, which differ in their seed alone")
    training: EnsembleClassifierSettings = EnsembleClassifierSettings()
    neighbours: int = Field(5, ge=1, description="training images to which an image's distance is averaged")
    outlier_share: float = Field(
        0.01, gt=0, lt=0.5, description="share of held-out lesions that may count as none of these"
    )


class VlmSettings(Frozen):
    """An image-text-to-text model of transformers."""

    model: str | None = Field(None, description="local folder or hub id")
    revision: str | None = Field(None, description="pinned hub revision")
    dtype: Literal["float32", "bfloat16", "float16"] = "float32"
    max_new_tokens: int = Field(512, ge=8, le=4096)
    attempts: int = Field(2, ge=1, le=5, description="how often it is asked until its answer can be read")


class EndpointSettings(Frozen):
    """A chat-completions HTTP API that the user serves; nothing is sent unless `url` is given."""

    url: str | None = Field(None, description="base URL, as in http://127.0.0.1:8000/v1")
    model: str = Field("default", description="model name that the server is asked for")
    key_file: str | None = Field(None, description="file that holds the API key, where the server wants one")
    timeout: float = Field(60, gt=0, le=3600, description="seconds for the whole answer")
    max_bytes: int = Field(1_000_000, ge=1000, description="an answer above this many bytes is cut off")
    retries: int = Field(1, ge=0, le=5, description="further tries after a fault of the server")
    side: int = Field(448, ge=64, le=2048, description="side of the picture that is sent, in pixels")
    max_tokens: int = Field(700, ge=16, le=8192)


class LocaliserSettings(Frozen):
    """Who is asked where the lesion is; the first that finds one is believed, all are compared."""

    methods: tuple[Literal["unet", "sam", "denoiser"], ...] = Field(("unet", "denoiser"), min_length=1)
    sam: str | None = Field(None, description="SAM-like model of transformers: local folder or hub id")
    sam_revision: str | None = None
    unet: JudgeSegmenterSettings = Field(
        JudgeSegmenterSettings(updates=200, size=96),
        description="trained once, where the run keeps no segmenters of its gates",
    )
    smallest: float = Field(0.002, gt=0, lt=1, description="share of the image below which nothing was found")


class WitnessSettings(ClassifierSettings):
    """The independent classifier that judges demonstrations: another architecture than the diagnosing ensemble."""

    model: str = "resnet18"
    updates: int = Field(400, ge=1, description="optimiser updates")
    size: int = Field(96, ge=32, le=1024, description="side of the square training images, in pixels")
    precision: Literal["fp32", "bf16"] = Field("bf16", description="bf16 pays for ResNets, not for mobile nets")


class StrategiesSettings(Frozen):
    """What `evenderm strategies` compares, and with how much."""

    images: int = Field(24, ge=2, description="held-out pairs, as many of each class, turned into every other class")
    strengths: tuple[float, ...] = Field((0.5, 0.65, 0.8, 0.95), min_length=1)
    guidances: tuple[float, ...] = Field((2.0, 4.0, 8.0), min_length=1)
    ranks: tuple[int, ...] = Field((4,), description="lower ranks to which the class adapters are reduced")
    tries: tuple[int, ...] = Field((6,), description="draws of which the diagnosing ensemble picks one")
    references: int = Field(24, ge=2, description="reference pairs of each class that the witness judges")
    least_psnr: float = Field(30.0, ge=0, description="dB outside the mask that a default strategy must keep")
    least_dice: float = Field(0.8, ge=0, le=1, description="mask agreement that a default strategy must reach")
    witness: WitnessSettings = WitnessSettings()


class ExplainSettings(Frozen):
    """What `evenderm explain` does with an image."""

    diagnoser: Literal["classifier", "vlm", "endpoint"] = "classifier"
    candidates: int = Field(3, ge=1, le=20, description="diagnoses that are shown")
    references: int = Field(4, ge=0, le=32, description="generated reference pairs of each of them")
    reference_draws: int = Field(2, ge=1, le=16, description="draws of which one, most like its class, is shown")
    nearest: int = Field(4, ge=0, le=32, description="nearest real cases of each of them")
    strength: float = Field(0.8, gt=0, le=1, description="share of noise that a personalised picture starts at")
    guidance: float = Field(8.0, ge=0, description="guidance of personalised pictures, away from the rival diagnosis")
    tries: int = Field(3, ge=1, le=64, description="draws of which the one most like its class is shown")
    detail: float = Field(0.6, ge=0, le=1, description="share of the picture's own hairs and grain that is put back")
    display: int = Field(256, ge=64, le=1024, description="side of the pictures on the page, in pixels")
    max_bytes: int = Field(30_000_000, ge=1000, description="a larger file is refused unread")
    max_pixels: int = Field(50_000_000, ge=1024, description="a larger picture is refused undecoded")
    classifier: ClassifierDiagnoserSettings = ClassifierDiagnoserSettings()
    vlm: VlmSettings = VlmSettings()
    endpoint: EndpointSettings = EndpointSettings()
    localiser: LocaliserSettings = LocaliserSettings()
    strategies: StrategiesSettings = StrategiesSettings()
