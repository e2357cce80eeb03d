"""The pairs that an arm draws from and those that it is judged on, decoded at the sides that they are needed at."""

from __future__ import annotations

from dataclasses import replace
from pathlib import Path

from evaluate.benchmark.arms import Pools, low_data_pairs, task_pairs
from evaluate.settings.arms import ArmName, Task
from evaluate.settings.benchmark import BenchmarkSettings
from manifests.format.reading import Manifest
from manifests.pairs import PairArrays


def load_pools(
    arm: ArmName,
    task: Task,
    real: Manifest,
    synthetic: Manifest | None,
    settings: BenchmarkSettings,
    cache: Path,
) -> Pools:
    """The training pairs that `arm` draws from, at the training size, real ones cut to its part."""
    size = settings.training(task).size
    pairs = low_data_pairs(real.arrays(split="train", size=size, cache=cache), arm.part)
    pools = Pools(task_pairs(pairs, task))
    if synthetic is None:
        return pools
    pools = replace(pools, accepted=task_pairs(synthetic.arrays(split="train", size=size, cache=cache), task))
    if arm.base != "hybrid-ungated":
        return pools
    candidates = synthetic.arrays(split="train", size=size, accepted_only=False, cache=cache)
    return replace(pools, candidates=task_pairs(candidates, task))


def judged_pairs(task: Task, real: Manifest, split: str, settings: BenchmarkSettings, cache: Path) -> PairArrays:
    """Validation or test pairs: at the training size for classes, at the stored size for masks."""
    size = settings.classifier.size if task == "classification" else None
    return task_pairs(real.arrays(split=split, size=size, cache=cache), task)
