"""The pilot: how many updates every arm gets, chosen once on validation by the controls that do best there."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import numpy as np

from evaluate.benchmark.cells import PILOT, Cell, cell_digest, has_masks, read_cell, run_cell, skipped_arms
from evaluate.settings.arms import Task
from evaluate.settings.benchmark import BenchmarkSettings
from manifests.errors import EvendermError
from manifests.format.reading import Manifest
from manifests.progress import Progress

SHARES = (0.25, 0.5, 1.0)
"""Of the updates that the settings allow: each a training of its own, with a whole schedule."""


@dataclass(frozen=True, order=True)
class PilotCell(Cell):
    """A control that is trained for a number of updates, with the first seed."""

    updates: int


@dataclass(frozen=True)
class Standing:
    """How far the pilot of a task has come. left: what is to be trained next; scores: by updates and control, the best
    validation score of its training; chosen: the updates of every arm, None while something is left."""

    task: Task
    left: tuple[PilotCell, ...]
    scores: dict[int, dict[str, float]]
    chosen: int | None


def pilot_standings(settings: BenchmarkSettings, real: Manifest, work: Path) -> list[Standing]:
    """How the pilot of each task stands, by what is finished in `work`; empty where the settings want none."""
    if not settings.pilot:
        return []
    found = (_standing(task, settings, real, work) for task in settings.tasks)
    return [standing for standing in found if standing is not None]


def settled(settings: BenchmarkSettings, standings: Sequence[Standing]) -> BenchmarkSettings:
    """The settings with the updates that the pilot chose; EvendermError if it is not finished."""
    if any(standing.chosen is None for standing in standings):
        raise EvendermError("the pilot of the benchmark is not finished; run the benchmark again")
    return settings.with_updates({s.task: s.chosen for s in standings if s.chosen is not None})


def run_pilot_cell(
    cell: PilotCell, real: Manifest, settings: BenchmarkSettings, work: Path, progress: Progress, arrays: Path
) -> None:
    """Train and keep one cell of the pilot; a finished one is recognised."""
    chosen = settings.with_updates({cell.task: cell.updates})
    folder = work / PILOT / str(cell.updates)
    run_cell(cell, real, None, chosen, folder, progress, arrays=arrays)


def pilot_updates(settings: BenchmarkSettings, task: Task, controls: int, standing: Standing | None = None) -> float:
    """Updates that the pilot of a task still costs, but those of its last rung, which the arms take over.

    controls: those that begin; standing: how far it has come, None where it has not begun.
    """
    whole = settings.training(task).updates
    *below, _ = (share * whole for share in SHARES)
    climbing = min(controls, settings.pilot)
    if standing is None:
        return controls * below[0] + climbing * sum(below[1:]) if settings.pilot else 0.0
    now = standing.left[0].updates if standing.left else whole
    on_this_rung = sum(float(cell.updates) for cell in standing.left) if now < whole else 0.0
    return on_this_rung + climbing * sum(rung for rung in below if round(rung) > now)


def pilot_report(settings: BenchmarkSettings, standings: Sequence[Standing]) -> list[dict[str, Any]]:
    """What the pilot found, as results.json has it."""
    return [
        {
            "task": standing.task,
            "chosen": standing.chosen,
            "plateau": settings.plateau,
            "rungs": [{"updates": updates, "scores": scores} for updates, scores in sorted(standing.scores.items())],
        }
        for standing in standings
    ]


def contestants(settings: BenchmarkSettings, task: Task, real: Manifest) -> list[str]:
    """The controls that need no generated pair and see all real ones."""
    skipped = {(s.task, s.arm) for s in skipped_arms(settings, False, None, has_masks(real))}
    arms = [arm for arm in settings.arms(task) if arm.is_control and not arm.needs_synthetic and arm.part == 1]
    return [str(arm) for arm in arms if (task, str(arm)) not in skipped]


def _standing(task: Task, settings: BenchmarkSettings, real: Manifest, work: Path) -> Standing | None:
    """The first rung is climbed by every control, the others by those that did best on it, to the top: a dip of one
    training is no plateau. Chosen are the fewest updates that come near enough to the best."""
    arms = contestants(settings, task, real)
    if not arms:
        return None
    whole = settings.training(task).updates
    scores: dict[int, dict[str, float]] = {}
    for updates in sorted({max(1, round(share * whole)) for share in SHARES}):
        cells = [PilotCell(arm, task, settings.first_seed, updates) for arm in arms]
        known = {cell.arm: _score(cell, real, settings, work) for cell in cells}
        left = tuple(cell for cell in cells if known[cell.arm] is None)
        if left:
            return Standing(task, left, scores, None)
        scores[updates] = {arm: score for arm, score in known.items() if score is not None}
        arms = sorted(arms, key=lambda arm: -scores[updates][arm])[: settings.pilot]
    means = {updates: _mean(of_rung, arms) for updates, of_rung in scores.items()}
    near = max(means.values()) - settings.plateau
    return Standing(task, (), scores, min(updates for updates, mean in means.items() if mean >= near))


def _mean(scores: Mapping[str, float], arms: Sequence[str]) -> float:
    return float(np.mean([scores[arm] for arm in arms]))


def _score(cell: PilotCell, real: Manifest, settings: BenchmarkSettings, work: Path) -> float | None:
    """The validation score that the training was chosen by; None while it is not finished."""
    chosen = settings.with_updates({cell.task: cell.updates})
    content = read_cell(work / PILOT / str(cell.updates) / f"{cell.name}.json", cell_digest(cell, real, None, chosen))
    if content is None:
        return None
    return max((step["validation"] for step in content["curve"] if step["validation"] is not None), default=0.0)
