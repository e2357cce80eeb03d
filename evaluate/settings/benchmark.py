"""Settings of the benchmark: which arms are trained, on what budget, and how they are judged."""

from __future__ import annotations

import re
from collections.abc import Mapping
from typing import Any, Literal

from pydantic import Field, field_validator, model_validator

from evaluate.settings.arms import TASKS, ArmName, Task, parse_arm
from evaluate.settings.training import ClassifierSettings, SegmenterSettings
from manifests.settings import Frozen

# How they draw where classes are what is learned: part of what a trained cell is recognised by.
DRAWS = {
    "hybrid": "classes equally often, origins by ratio",
    "hybrid-ungated": "classes equally often, origins by ratio",
    "synthetic-then-real": "real classes equally often",
}
LEAST_OF_CLASS = 10
"""Pairs that a class keeps at least, or all that it has, in a part of so many pairs."""
_EXTERNAL_NAME = re.compile(r"^[A-Za-z0-9][A-Za-z0-9_.-]{0,39}$")


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
