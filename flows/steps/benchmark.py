"""The benchmark step: one downstream model per arm, task and seed, then the results of all."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from dataclasses import asdict
from pathlib import Path
from typing import TYPE_CHECKING, Any

from flows.engine.calls import Call
from flows.run.folder import Job
from flows.run.records import Step, file_digest, unfinished_steps
from flows.settings import flat_groups
from flows.steps.digests import settings_of_gates
from flows.steps.low_data import restricted_digests, restricted_manifests
from flows.steps.prepare import open_real, real_digest, served_benchmark
from flows.steps.synthesise import has_synthetic
from manifests.progress import Progress

if TYPE_CHECKING:
    from evaluate.settings.benchmark import Task
    from manifests.format.reading import Manifest

VERSION = 4


def steps(job: Job) -> list[Step]:
    """What results.json would be made from now."""
    settings: dict[str, Any] = {"threads": job.settings.engine.threads}
    settings |= flat_groups(job.settings, "benchmark", "fidelity") | settings_of_gates(job)
    synthetic = file_digest(job.folder.synthetic / "manifest.json") if has_synthetic(job) else ""
    inputs = {"real": real_digest(job), "synthetic": synthetic, **restricted_digests(job)}
    return [Step("benchmark", VERSION, settings, inputs)]


def next_calls(job: Job, failed: Sequence[Call]) -> list[Call]:
    """A call for each arm, task and seed that is left; after the last, the one that collects what they found."""
    from evaluate.benchmark.cells import is_finished, plan_cells

    if failed or not unfinished_steps(job.folder, steps(job)):
        return []
    real, synthetic, restricted = open_real(job), synthetic_manifest(job), restricted_manifests(job)
    settings, work = served_benchmark(job), benchmark_work(job)
    cells = [
        cell
        for cell in plan_cells(settings, real.counts(), synthetic is not None, restricted)
        if not is_finished(cell, real, synthetic, settings, work, restricted=restricted)
    ]
    calls = [Call("benchmark", f"benchmark {cell.task} {cell.arm} seed {cell.seed}", asdict(cell)) for cell in cells]
    return calls or [Call("collect", "collect", {})]


def train_cell(job: Job, progress: Progress, arm: str, task: Task, seed: int) -> Mapping[str, Any]:
    """Trains and tests the downstream model of one arm, task and seed."""
    from evaluate.benchmark.cells import Cell, run_cell

    real, synthetic = open_real(job), synthetic_manifest(job)
    cell, settings, work = Cell(arm, task, seed), served_benchmark(job), benchmark_work(job)
    restricted, arrays = restricted_manifests(job), job.folder.arrays
    run_cell(cell, real, synthetic, settings, work, progress, arrays=arrays, restricted=restricted)
    return {}


def synthetic_manifest(job: Job) -> Manifest | None:
    """The synthetic manifest; None if no class needed pairs."""
    from manifests.format.reading import open_manifest

    return open_manifest(job.folder.synthetic) if has_synthetic(job) else None


def benchmark_work(job: Job) -> Path:
    """Where finished cells lie."""
    return job.folder.work / "benchmark"
