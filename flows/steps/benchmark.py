"""The benchmark step: one downstream model per arm, task and seed, then the results of all."""

from __future__ import annotations

from collections.abc import Generator, Mapping, Sequence
from dataclasses import asdict
from pathlib import Path
from typing import TYPE_CHECKING, Any

from flows.engine.calls import Call, Result
from flows.run.folder import Job
from flows.run.records import Step, file_digest
from flows.settings import flat
from flows.steps.low_data import restricted_digests, restricted_manifests
from flows.steps.prepare import open_real, real_digest
from flows.steps.synthesise import has_synthetic
from manifests.progress import Progress

if TYPE_CHECKING:
    from evaluate.settings.benchmark import Task
    from manifests.format.reading import Manifest

VERSION = 4


def steps(job: Job) -> list[Step]:
    """What results.json would be made from now."""
    settings: dict[str, Any] = {"threads": job.settings.engine.threads}
    for group in ("benchmark", "fidelity", "gates"):
        settings |= {f"{group}.{name}": value for name, value in flat(getattr(job.settings, group)).items()}
    synthetic = file_digest(job.folder.synthetic / "manifest.json") if has_synthetic(job) else ""
    inputs = {"real": real_digest(job), "synthetic": synthetic, **restricted_digests(job)}
    return [Step("benchmark", VERSION, settings, inputs)]


def batches(job: Job, unfinished: Sequence[Step]) -> Generator[list[Call], list[Result], None]:
    """One call per arm, task and seed; then the one that collects what they found."""
    from evaluate.benchmark.cells import plan_cells

    restricted = restricted_manifests(job)
    cells = plan_cells(job.settings.benchmark, open_real(job).counts(), has_synthetic(job), restricted)
    yield [Call("benchmark", f"benchmark {cell.task} {cell.arm} seed {cell.seed}", asdict(cell)) for cell in cells]
    yield [Call("collect", "collect", {})]


def train_cell(job: Job, progress: Progress, arm: str, task: Task, seed: int) -> Mapping[str, Any]:
    """Trains and tests the downstream model of one arm, task and seed."""
    from evaluate.benchmark.cells import Cell, run_cell

    real, synthetic = open_real(job), synthetic_manifest(job)
    cell, settings, work = Cell(arm, task, seed), job.settings.benchmark, benchmark_work(job)
    run_cell(cell, real, synthetic, settings, work, progress, restricted=restricted_manifests(job))
    return {}


def synthetic_manifest(job: Job) -> Manifest | None:
    """The synthetic manifest; None if no class needed pairs."""
    from manifests.format.reading import open_manifest

    return open_manifest(job.folder.synthetic) if has_synthetic(job) else None


def benchmark_work(job: Job) -> Path:
    """Where finished cells lie."""
    return job.folder.work / "benchmark"
