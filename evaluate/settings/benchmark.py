"""Settings of the benchmark: which arms are trained, on what budget, and how they are judged."""

from __future__ import annotations

import re
from collections.abc import Mapping
from typing import Any, Literal, get_args

from pydantic import Field, field_validator, model_validator

from manifests.settings import Frozen

Task = Literal["classification", "segmentation"]
TASKS: tuple[Task, ...] = get_args(Task)

# The controls train on real pairs alone; every other arm is judged against all of them.
CONTROLS = ("real", "real+oversampling", "real+weighted-loss", "real+replay", "real+strong", "real+copy-paste")
GENERATED = ("hybrid", "hybrid-ungated", "synthetic", "synthetic-then-real")
RATIO_ARMS = ("hybrid", "hybrid-ungated")
# How they draw where classes are what is learned: part of what a trained cell is recognised by.
DRAWS = {
    "hybrid": "classes equally often, origins by ratio",
    "hybrid-ungated": "classes equally often, origins by ratio",
    "synthetic-then-real": "real classes equally often",
}
# timm's name of the network whose ImageNet weights come as a package; smp takes it as an encoder after tu-.
LITE0_MODEL = "tf_efficientnet_lite0"
AUTO, PACKAGE = "auto", "package"
_RATE_OF_RANDOM_LAYERS = 3e-3
LEAST_OF_CLASS = 10
"""Pairs that a class keeps at least, or all that it has, in a part of so many pairs."""
_ARM_NAME = re.compile(
    r"^(?P<base>[a-z+-]+)(?:@(?P<ratio>\d*\.?\d+))?(?:%(?P<percent>\d*\.?\d+)|#(?P<number>[1-9]\d{1,8}))?$"
)
_EXTERNAL_NAME = re.compile(r"^[A-Za-z0-9][A-Za-z0-9_.-]{0,39}$")


class ArmName(Frozen):
    """An arm by its parts: `hybrid@0.5%25` is the base `hybrid`, ratio .5, a quarter of the real pairs.

    part: the real training pairs that it sees, a share up to 1 or a number above, as in `hybrid#100`.
    """

    base: str
    ratio: float = 1.0
    part: float = 1.0

    def __str__(self) -> str:
        ratio = "" if self.ratio == 1 else f"@{self.ratio:g}"
        part = "" if self.part == 1 else f"#{self.part:.0f}" if self.part > 1 else f"%{100 * self.part:g}"
        return self.base + ratio + part

    @property
    def is_control(self) -> bool:
        """Whether the arm sees no generated pair."""
        return self.base in CONTROLS

    @property
    def needs_synthetic(self) -> bool:
        """Whether the arm cannot be built without a synthetic manifest (replay takes its counts from it)."""
        return not self.is_control or self.base == "real+replay"


def parse_arm(name: str) -> ArmName:
    """The parts of an arm's name; ValueError names the arms that exist where the name is not one."""
    match = _ARM_NAME.match(name)
    if not match or match["base"] not in CONTROLS + GENERATED:
        known = ", ".join(CONTROLS + GENERATED)
        also = "hybrid@2 for a ratio, real%25 or real#100 for low data"
        raise ValueError(f"no arm is called {name!r}; choose from {known} ({also})")
    part = float(match["number"] or 0) or float(match["percent"] or 100) / 100
    arm = ArmName(base=match["base"], ratio=float(match["ratio"] or 1), part=part)
    if arm.ratio != 1 and arm.base not in RATIO_ARMS:
        raise ValueError(f"arm {name!r} takes no ratio; only {' and '.join(RATIO_ARMS)} do")
    if not (arm.ratio > 0 and part > 0 and (match["number"] or part <= 1)):
        raise ValueError(f"arm {name!r} needs a ratio above 0 and a percentage above 0 and at most 100")
    return arm


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


class BenchmarkSettings(Frozen):
    """What is compared with what, how often and how sure one wants to be."""

    tasks: tuple[Task, ...] = Field(TASKS, min_length=1)
    classification_arms: tuple[str, ...] = ("real", "real+oversampling", "real+copy-paste", "hybrid")
    segmentation_arms: tuple[str, ...] = ("real", "real+copy-paste", "hybrid")
    ratio_sweep: tuple[float, ...] = Field((), description="adds hybrid@ratio for each, such as .5, 1, 2")
    low_data: tuple[float, ...] = Field(
        (),
        description="adds all arms on parts of the training pairs: shares, such as .1, or numbers, such as 100, in "
        "which each class keeps its share and ten pairs at least",
    )
    external: dict[str, str] = Field(
        {},
        description="datasets or manifests of other hospitals by name, on which every trained model is tested too",
    )
    pilot: int = Field(
        2,
        ge=0,
        description="controls that a pilot trains for a quarter, half and all of the updates, of which the fewest are "
        "taken that come near the best on validation; 0 gives every arm all updates",
    )
    plateau: float = Field(
        0.005,
        ge=0,
        lt=1,
        description="validation score (AUROC or Jaccard) within which it is near",
    )
    budget: float | None = Field(
        None,
        gt=0,
        description="minutes for all trainings on this machine; seeds, arms and updates are cut or seeds added to fit, "
        "and the report says how",
    )
    folds: int = Field(
        0,
        ge=0,
        le=50,
        description="of a cross-validation: every pair is tested once, by models and a generator that never saw its "
        "fold; 0 or 1 keeps the one split of prepare",
    )
    fold_splits: tuple[Literal["train", "validation", "test"], ...] = Field(
        ("train", "validation", "test"),
        min_length=1,
        description="whose pairs take part in folds; without test an official test split stays untouched",
    )
    seeds: int = Field(3, ge=1, description="training runs of each arm; evidence asks for three at least")
    first_seed: int = Field(0, ge=0)
    classifier: ClassifierSettings = ClassifierSettings()
    segmenter: SegmenterSettings = SegmenterSettings()
    then_real: float = Field(0.5, gt=0, lt=1, description="share of updates on real pairs in synthetic-then-real")
    confidence: float = Field(0.95, gt=0.5, lt=1)
    replicates: int = Field(2000, ge=100, description="bootstrap replicates")
    power: float = Field(0.8, gt=0.5, lt=1, description="power at which the smallest detectable difference is told")
    classification_metrics: tuple[str, ...] = Field(
        ("macro_f1", "balanced_accuracy", "auroc"),
        min_length=1,
        description="compared; the first is the verdict's",
    )
    segmentation_metrics: tuple[str, ...] = Field(("dice", "jaccard"), min_length=1)
    subgroup_pairs: int = Field(10, ge=2, description="test pairs below which a subgroup gets no figures")

    @field_validator("classification_arms", "segmentation_arms")
    @classmethod
    def _arms_exist(cls, names: tuple[str, ...]) -> tuple[str, ...]:
        return tuple(dict.fromkeys(str(parse_arm(name)) for name in names))

    @field_validator("ratio_sweep", "low_data")
    @classmethod
    def _positive(cls, values: tuple[float, ...]) -> tuple[float, ...]:
        if any(value <= 0 for value in values):
            raise ValueError("ratios and parts must be above 0")
        return values

    @field_validator("low_data")
    @classmethod
    def _parts(cls, values: tuple[float, ...]) -> tuple[float, ...]:
        if any(value > 1 and (value < LEAST_OF_CLASS or value % 1) for value in values):
            raise ValueError(f"parts are shares up to 1 or whole numbers of pairs from {LEAST_OF_CLASS} on")
        return values

    @field_validator("external")
    @classmethod
    def _named_as_folders(cls, sets: dict[str, str]) -> dict[str, str]:
        for name, place in sets.items():
            if not _EXTERNAL_NAME.match(name) or not place.strip():
                raise ValueError(f"{name!r}: give each set a name of letters, digits, dots and dashes, and a folder")
        if len({name.lower() for name in sets}) < len(sets):
            raise ValueError("two sets differ in nothing but capital letters; name one otherwise")
        return sets

    @model_validator(mode="after")
    def _arms_fit_their_task(self) -> BenchmarkSettings:
        if any(parse_arm(name).base == "real+weighted-loss" for name in self.segmentation_arms):
            raise ValueError("real+weighted-loss weighs classes and has no meaning in segmentation; leave it out")
        for task in self.tasks:
            if not any(arm.is_control for arm in self.arms(task)):
                raise ValueError(f"the {task} arms need at least one control such as real to be judged against")
        return self

    @property
    def cross_validated(self) -> bool:
        """Whether there is more than one fold."""
        return self.folds > 1

    def arms(self, task: Task) -> tuple[ArmName, ...]:
        """Every arm of `task` in the order of its first mention, sweep and low-data arms last."""
        named = self.classification_arms if task == "classification" else self.segmentation_arms
        sweep = [f"hybrid@{ratio:g}" for ratio in self.ratio_sweep]
        whole = [arm for arm in map(parse_arm, named) if arm.part == 1]
        low = [arm.model_copy(update={"part": part}) for part in self.low_data for arm in whole]
        return tuple(dict.fromkeys([*map(parse_arm, [*named, *sweep]), *low]))

    def with_updates(self, updates: Mapping[Task, int]) -> BenchmarkSettings:
        """These settings with other updates of each task that is named."""
        changed: dict[str, Any] = {}
        for task, number in updates.items():
            name = "classifier" if task == "classification" else "segmenter"
            changed[name] = self.training(task).model_copy(update={"updates": number})
        return self.model_copy(update=changed)

    def training(self, task: Task) -> ClassifierSettings | SegmenterSettings:
        """The budget of `task`."""
        return self.classifier if task == "classification" else self.segmenter

    def compared(self, task: Task) -> tuple[str, ...]:
        """The metrics that arms of `task` are compared by; the first is the one that decides."""
        return self.classification_metrics if task == "classification" else self.segmentation_metrics
