"""The benchmark step: one downstream model per arm, task and seed, then the results of all."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from dataclasses import asdict, replace
from pathlib import Path
from typing import TYPE_CHECKING, Any

from flows.engine.calls import Call
from flows.engine.machine import worker_count
from flows.engine.terminal import duration
from flows.engine.watch import watch_of
from flows.judging.external import external_digests, external_manifests
from flows.judging.low_data import restricted_digests, restricted_manifests
from flows.judging.part import fold_steps
from flows.run.folder import Job
from flows.run.records import CELLS, Step, file_digest, unfinished_steps
from flows.settings import flat_groups
from flows.steps.digests import settings_of_gates
from flows.steps.prepare import base_pictures, open_real, real_digest, served_benchmark
from flows.steps.synthesise import has_synthetic
from manifests.errors import BadInput, EvendermError
from manifests.progress import Progress

if TYPE_CHECKING:
    from evaluate.benchmark.budget import Speed
    from evaluate.benchmark.folds import Round
    from evaluate.settings.arms import Task
    from evaluate.settings.benchmark import BenchmarkSettings
    from manifests.format.reading import Manifest

VERSION = 6
SECONDS = "seconds"
"""A kind of task that is counted in time."""


def steps(job: Job) -> list[Step]:
    """What results.json would be made from now."""
    settings: dict[str, Any] = {"threads": job.settings.engine.threads}
    settings |= flat_groups(job.settings, "benchmark", "fidelity") | settings_of_gates(job)
    synthetic = file_digest(job.folder.synthetic / "manifest.json") if has_synthetic(job) else ""
    inputs = {"real": real_digest(job), "synthetic": synthetic, **restricted_digests(job), **external_digests(job)}
    inputs |= {step.name: step.digest for step in fold_steps(job)}
    return [Step("benchmark", VERSION, settings, inputs)]


def next_calls(job: Job, failed: Sequence[Call]) -> list[Call]:
    """The call that times an update; those of the pilot; one for each arm, task and seed that is left; those that test
    each model on external sets; and after the last, the one that collects what they found. What they cost is said
    before they start."""
    from evaluate.benchmark.cells import has_masks, has_model, is_finished, plan_cells
    from evaluate.benchmark.evidence import check_unseen
    from evaluate.benchmark.external import sets_left
    from evaluate.benchmark.pilot import pilot_standings, settled

    if failed or not unfinished_steps(job.folder, steps(job)):
        return []
    check_unseen(open_real(job), base_pictures(job), job.settings.benchmark, job.folder.arrays)
    if job.settings.benchmark.cross_validated:  # its folds have trained everything
        return [Call("collect", "collect", {})]
    real, synthetic, restricted = open_real(job), synthetic_manifest(job), restricted_manifests(job)
    work = benchmark_work(job)
    if not is_measured(job):
        return [Call("measure", "benchmark speed", {})]
    settings, _ = budgeted(job)
    standings = pilot_standings(settings, real, work)
    if pilot := [cell for standing in standings for cell in standing.left]:
        if not any(standing.scores for standing in standings):
            say_cost(job, settings, pilot=True)
        return [Call("pilot", f"benchmark pilot {c.task} {c.arm} {c.updates} updates", asdict(c)) for c in pilot]
    settings = settled(settings, standings)
    planned = plan_cells(settings, real.counts(), synthetic is not None, restricted, has_masks(real))
    externals, trained = external_manifests(job), trained_round(job, settings)
    waiting = [cell for cell in planned if sets_left(cell, externals, trained)]
    cells = [
        cell
        for cell in planned
        if not is_finished(cell, real, synthetic, settings, work, restricted=restricted)
        or (cell in waiting and not has_model(work, cell))
    ]
    if cells:
        say_cost(job, settings, pilot=False)
    calls = [Call("benchmark", f"benchmark {cell.task} {cell.arm} seed {cell.seed}", asdict(cell)) for cell in cells]
    calls = calls or [
        Call("elsewhere", f"benchmark elsewhere {cell.task} {cell.arm} seed {cell.seed}", asdict(cell))
        for cell in waiting
    ]
    return calls or [Call("collect", "collect", {})]


def say_cost(job: Job, settings: BenchmarkSettings, pilot: bool) -> None:
    """Prints and logs what the trainings that are planned take at most."""
    from evaluate.benchmark.budget import seconds_of

    speed = measured_speed(job)
    seconds = seconds_of(settings, open_real(job), synthetic_manifest(job) is not None, speed, pilot)
    seconds /= worker_count(job)
    each = ", ".join(
        f"{settings.training(task).updates} updates of {took:.2g} s for {task}" for task, took in speed.update.items()
    )
    most = "at most " if pilot and settings.pilot else ""
    line = f"benchmark: {settings.seeds} seeds of every arm, {most}{each}; {most}about {duration(seconds)} in all"
    watch = watch_of(job.folder.log)
    watch.say(line)
    watch.event("cost", seconds=round(seconds, 1), said=line)


def measure(job: Job, progress: Progress) -> Mapping[str, Any]:
    """Times an update of each downstream model on this machine."""
    from evaluate.benchmark.budget import measure_speed

    measure_speed(open_real(job), served_benchmark(job), _timed_in(job), job.folder.arrays, progress)
    return {}


def is_measured(job: Job) -> bool:
    """Whether it is known what an update takes here."""
    return speed_here(job) is not None


def speed_here(job: Job) -> Speed | None:
    """What an update of each downstream model takes here; None where it is not timed."""
    from evaluate.benchmark.budget import read_speed

    return read_speed(open_real(job), served_benchmark(job), _timed_in(job))


def _timed_in(job: Job) -> Path:
    """Where it is kept what an update takes: beside folds, whose plan within a budget rests on it once for all."""
    return job.folder.folds if job.settings.benchmark.cross_validated else benchmark_work(job)


def train_pilot(job: Job, progress: Progress, arm: str, task: Task, seed: int, updates: int) -> Mapping[str, Any]:
    """Trains a control for the pilot, which chooses how many updates every arm gets."""
    from evaluate.benchmark.pilot import PilotCell, run_pilot_cell

    settings, _ = budgeted(job)
    cell = PilotCell(arm, task, seed, updates)
    run_pilot_cell(cell, open_real(job), settings, benchmark_work(job), progress, job.folder.arrays)
    return {}


def budgeted(job: Job) -> tuple[BenchmarkSettings, list[str]]:
    """The benchmark's settings within its budget, and what was cut or added for it."""
    from evaluate.benchmark.budget import within_budget

    return within_budget(
        served_benchmark(job), open_real(job), synthetic_manifest(job) is not None, measured_speed(job)
    )


def measured_speed(job: Job) -> Speed:
    """What an update of each downstream model takes here. Raises EvendermError where it is not timed yet."""
    speed = speed_here(job)
    if speed is None:
        raise EvendermError("the speed of the benchmark is not measured; run the benchmark again")
    elsewhere = sum(sum(external.counts()["test"].values()) for external in external_manifests(job).values())
    return replace(speed, test={task: count + elsewhere for task, count in speed.test.items()})


def settled_benchmark(job: Job) -> BenchmarkSettings:
    """The benchmark's settings within its budget, with the updates that the pilot chose."""
    from evaluate.benchmark.pilot import pilot_standings, settled

    settings, _ = budgeted(job)
    return settled(settings, pilot_standings(settings, open_real(job), benchmark_work(job)))


def train_cell(job: Job, progress: Progress, arm: str, task: Task, seed: int) -> Mapping[str, Any]:
    """Trains and tests the downstream model of one arm, task and seed."""
    from evaluate.benchmark.cells import Cell, run_cell

    real, synthetic = open_real(job), synthetic_manifest(job)
    cell, settings, work = Cell(arm, task, seed), settled_benchmark(job), benchmark_work(job)
    restricted, arrays = restricted_manifests(job), job.folder.arrays
    elsewhere = bool(job.settings.benchmark.external)
    run_cell(
        cell, real, synthetic, settings, work, progress, arrays=arrays, restricted=restricted, with_model=elsewhere
    )
    return {}


def judge_elsewhere(job: Job, progress: Progress, arm: str, task: Task, seed: int) -> Mapping[str, Any]:
    """Tests the trained model of one arm, task and seed on the external sets."""
    from evaluate.benchmark.cells import Cell
    from evaluate.benchmark.external import predict_sets

    predict_sets(Cell(arm, task, seed), external_manifests(job), trained_round(job), progress)
    return {}


def trained_round(job: Job, settings: BenchmarkSettings | None = None) -> Round:
    """What the cells of a run, or of a fold of one, are trained from, by settings that the pilot has settled."""
    from evaluate.benchmark.folds import Round

    made = open_real(job), synthetic_manifest(job), settings or settled_benchmark(job), job.folder.arrays
    return Round(benchmark_work(job), *made, restricted_manifests(job))


def synthetic_manifest(job: Job) -> Manifest | None:
    """The synthetic manifest; None if no class needed pairs."""
    from manifests.format.reading import open_manifest

    return open_manifest(job.folder.synthetic) if has_synthetic(job) else None


def benchmark_work(job: Job) -> Path:
    """Where finished cells lie."""
    return job.folder.work / "benchmark"


def cell_figures(job: Job, part: Job) -> dict[str, dict[str, str]]:
    """Digests of the finished cells of `part`, a run or a fold of it, for a record of the run."""
    cells = sorted(path for path in benchmark_work(part).rglob("*") if path.is_file())
    return {CELLS: {path.relative_to(job.folder.path).as_posix(): file_digest(path) for path in cells}}


def updates_left(job: Job) -> dict[str, float]:
    """What the benchmark still has to do, by kind of task: updates of each task, those of the pilot among them, or
    the seconds of its budget before anything is timed. At most so much, where the pilot may still spare some."""
    from evaluate.benchmark.cells import has_masks, is_finished, plan_cells
    from evaluate.benchmark.pilot import contestants, pilot_standings, pilot_updates

    settings, work = job.settings.benchmark, benchmark_work(job)
    if not update_rates(job):
        if settings.budget is not None:
            return {SECONDS: 60.0 * settings.budget}
        return {f"benchmark {task}": _planned_updates(settings, task) for task in settings.tasks}
    real, synthetic, restricted = open_real(job), synthetic_manifest(job), restricted_manifests(job)
    settings, _ = budgeted(job)
    standings = {standing.task: standing for standing in pilot_standings(settings, real, work)}
    left = {
        task: pilot_updates(settings, task, len(contestants(settings, task, real)), standings.get(task))
        for task in settings.tasks
    }
    settings = settings.with_updates({task: s.chosen for task, s in standings.items() if s.chosen is not None})
    for cell in plan_cells(settings, real.counts(), synthetic is not None, restricted, has_masks(real)):
        if not is_finished(cell, real, synthetic, settings, work, restricted=restricted):
            left[cell.task] += settings.training(cell.task).updates
    return {f"benchmark {task}": updates for task, updates in left.items()}


def _planned_updates(settings: BenchmarkSettings, task: Task) -> float:
    """By the settings alone: every arm, and the pilot of every control."""
    from evaluate.benchmark.pilot import pilot_updates

    arms = settings.arms(task)
    controls = sum(arm.is_control and not arm.needs_synthetic and arm.part == 1 for arm in arms)
    return len(arms) * settings.seeds * settings.training(task).updates + pilot_updates(settings, task, controls)


def update_rates(job: Job) -> dict[str, float]:
    """Seconds of an update by kind of task, where they are timed, shared by as many workers as there are."""
    try:
        speed = speed_here(job)
    except BadInput:  # nothing is prepared
        return {}
    update = speed.update if speed else {}
    return {f"benchmark {task}": seconds / worker_count(job) for task, seconds in update.items()}
