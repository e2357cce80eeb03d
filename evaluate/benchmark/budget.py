"""What a benchmark costs on this machine, told before it starts, and how it is cut to the minutes that it may take."""

from __future__ import annotations

import time
from collections.abc import Iterator, Mapping
from dataclasses import dataclass
from functools import partial
from pathlib import Path

import numpy as np

from evaluate.benchmark.arms import task_pairs
from evaluate.benchmark.cells import has_masks, new_model, plan_cells
from evaluate.benchmark.evidence import LEAST_SEEDS
from evaluate.benchmark.pilot import contestants, pilot_updates
from evaluate.parts import finished_record, part_digest
from evaluate.settings.arms import Task, parse_arm
from evaluate.settings.benchmark import BenchmarkSettings
from manifests.files import write_json
from manifests.format.reading import Manifest
from manifests.progress import Progress

TIMED_UPDATES = 5
MOST_SEEDS = 10
FORWARD = 0.4
"""What a picture costs that is only predicted, as a share of what it costs in training; measured."""
HARDEST = ("real+copy-paste", "real+oversampling")
"""The controls that are the hardest to beat, so that the others are left out first."""
RECORD = "speed.json"


@dataclass(frozen=True)
class Speed:
    """Seconds of one update by task, and the pairs that a training predicts at each check and in the end."""

    update: Mapping[Task, float]
    validation: Mapping[Task, int]
    test: Mapping[Task, int]


def measure_speed(real: Manifest, settings: BenchmarkSettings, work: Path, arrays: Path, progress: Progress) -> None:
    """Time a few updates of each task on this machine and keep what they took in `work`, once."""
    if read_speed(real, settings, work) is not None:
        return
    update: dict[Task, float] = {}
    for task in settings.tasks:
        training = settings.training(task)
        table = task_pairs(real.arrays(split="train", size=training.size, cache=arrays), task)
        pairs = table.select(np.arange(4 * training.batch_size) % len(table))
        marks = [time.perf_counter()]

        def timed(done: int, total: int, **figures: float | str) -> None:
            marks.append(time.perf_counter())  # noqa: B023 - called while this task is timed
            progress(done, total, **figures)

        new_model(task, settings, real.classes).fit(pairs, updates=TIMED_UPDATES, progress=timed)
        # The first update waits for everything that is made once; the last looks at the norms.
        update[task] = float(np.median(np.diff(marks)[1:-1]))
    write_json(work / RECORD, {"digest": _digest(real, settings), "update": update})


def read_speed(real: Manifest, settings: BenchmarkSettings, work: Path) -> Speed | None:
    """What `measure_speed` kept for these settings; None where it has not."""
    record = finished_record(work / RECORD, _digest(real, settings))
    if record is None:
        return None
    counts = {split: sum(by_dx.values()) for split, by_dx in real.counts().items()}
    sizes = [{task: counts.get(split, 0) for task in settings.tasks} for split in ("validation", "test")]
    return Speed(record["update"], *sizes)


def _digest(real: Manifest, settings: BenchmarkSettings) -> str:
    trainings = [settings.training(task).model_dump(mode="json") for task in settings.tasks]
    return part_digest(real.digest, settings.tasks, trainings)


def seconds_of(settings: BenchmarkSettings, real: Manifest, has_synthetic: bool, speed: Speed, pilot: bool) -> float:
    """What the trainings take at most; pilot: whether theirs are still to come.

    The last rung of a pilot that climbs to the top is taken over, so that only the rungs below are extra. Folds are
    trained each as a whole benchmark.
    """
    restricted = dict.fromkeys(settings.low_data, None)
    cells = plan_cells(settings, real.counts(), has_synthetic, restricted, has_masks(real))
    total = 0.0
    for task in settings.tasks:
        training = settings.training(task)
        predicted = (training.checks + 1) * speed.validation[task] + speed.test[task]
        predicted += training.draws_of_probe
        each = FORWARD * predicted * speed.update[task] / training.batch_size
        total += sum(cell.task == task for cell in cells) * (training.updates * speed.update[task] + each)
        if pilot and settings.pilot:
            controls = len(contestants(settings, task, real))
            rungs = pilot_updates(settings, task, controls)
            total += rungs * speed.update[task] + (controls + min(controls, settings.pilot)) * each
    return total * max(1, settings.folds)


def within_budget(
    settings: BenchmarkSettings, real: Manifest, has_synthetic: bool, speed: Speed
) -> tuple[BenchmarkSettings, list[str]]:
    """The settings cut to `budget` minutes or with seeds added, and a sentence on what became of them, if one is set.

    Cut are, in this order and no further than is needed: seeds above three, arms, updates to a half, seeds to two,
    updates to a quarter. What is cut is told, since it weakens what the verdicts rest on.
    """
    if settings.budget is None:
        return settings, []
    limit, plans = 60 * settings.budget, list(_plans(settings))
    cost = partial(seconds_of, real=real, has_synthetic=has_synthetic, speed=speed, pilot=True)
    taken = next((plan for plan in plans if cost(plan) <= limit), plans[-1])
    if taken == settings:
        more = [settings.model_copy(update={"seeds": seeds}) for seeds in range(settings.seeds + 1, MOST_SEEDS + 1)]
        taken = max((plan for plan in more if cost(plan) <= limit), key=lambda plan: plan.seeds, default=taken)
    return taken, [_sentence(settings, taken, cost(taken))]


def _plans(settings: BenchmarkSettings) -> Iterator[BenchmarkSettings]:
    """The settings, and then ever less of them."""
    yield settings
    for seeds in range(settings.seeds - 1, LEAST_SEEDS - 1, -1):
        settings = settings.model_copy(update={"seeds": seeds})
        yield settings
    while (fewer := _without_last_arm(settings)) != settings:
        settings = fewer
        yield settings
    whole = {task: settings.training(task).updates for task in settings.tasks}
    for share, seeds in ((0.75, LEAST_SEEDS), (0.5, LEAST_SEEDS), (0.5, 2), (0.25, 2)):
        cut = settings.with_updates({task: max(1, round(share * updates)) for task, updates in whole.items()})
        yield cut.model_copy(update={"seeds": min(seeds, settings.seeds)})


def _without_last_arm(settings: BenchmarkSettings) -> BenchmarkSettings:
    """One arm of each task less: extra ones of generated pairs first, then controls down to two."""
    if settings.low_data or settings.ratio_sweep:
        return settings.model_copy(update={"low_data": (), "ratio_sweep": ()})
    changed: dict[str, tuple[str, ...]] = {}
    for task in settings.tasks:
        field = f"{task}_arms"
        named: tuple[str, ...] = getattr(settings, field)
        extra = [name for name in named if not parse_arm(name).is_control and name != "hybrid"]
        if "hybrid" not in named:
            extra = extra[1:]
        controls = [name for name in named if parse_arm(name).is_control]
        spare = sorted(controls, key=lambda name: name not in HARDEST)[2:]
        for going in extra[-1:] or spare[-1:]:
            changed[field] = tuple(name for name in named if name != going)
    return settings.model_copy(update=changed)


def _sentence(asked: BenchmarkSettings, taken: BenchmarkSettings, seconds: float) -> str:
    """What the budget did to the plan."""
    changes = []
    if taken.seeds != asked.seeds:
        changes.append(f"{taken.seeds} seeds instead of {asked.seeds}")
    for task in asked.tasks:
        gone = [str(arm) for arm in asked.arms(task) if arm not in taken.arms(task)]
        if gone:
            changes.append(f"{task} without {', '.join(gone)}")
        most, whole = (settings.training(task).updates for settings in (taken, asked))
        if most != whole:
            changes.append(f"{task} with {most} updates at most instead of {whole}")
    minutes = seconds / 60
    plan = f"benchmark.budget={asked.budget:g} minutes: {'; '.join(changes) or 'nothing was changed'}"
    over = ", more than the budget even so" if asked.budget is not None and minutes > asked.budget else ""
    return f"{plan}; {minutes:.1f} minutes were expected on this machine{over}"
