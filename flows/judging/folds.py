"""The folds step: for each fold of a cross-validation, a generator and downstream models that never saw its pairs, in
a run folder of its own under `folds/`."""

from __future__ import annotations

import time
from collections.abc import Mapping, Sequence
from dataclasses import replace
from typing import TYPE_CHECKING, Any

from flows.engine.calls import Call
from flows.judging import benchmark
from flows.judging.part import calls_of, fold_steps, is_taken, perform, wrapped
from flows.run.folder import Job, RunFolder
from flows.run.records import Step, unfinished_steps, write_record
from flows.steps.prepare import lacking_tasks, open_real
from manifests.errors import BadInput
from manifests.progress import Progress

if TYPE_CHECKING:
    from evaluate.benchmark.folds import Round

COLLECT = "collect"


def steps(job: Job) -> list[Step]:
    """What each fold would be made from now. Raises BadInput where no folds can be made of the real pairs."""
    if job.settings.benchmark.cross_validated:
        _splits(job)
    return fold_steps(job)


def check(job: Job) -> None:
    """Raises BadInput where the real pairs are too few for the cross-validation that is wanted, or, without one, none
    are there to validate or to test on."""
    from evaluate.benchmark.evidence import check_splits

    if job.settings.benchmark.cross_validated:
        _splits(job)
    else:
        check_splits(open_real(job))


def announced(job: Job) -> list[str]:
    """What a cross-validation will do, before it begins."""
    folds = job.settings.benchmark.folds
    pairs = len(_splits(job)[0])
    return [
        f"{folds} folds of {pairs} pairs: each has adapters, gates, generated pairs and models of its own, which takes "
        f"about {folds} times as long as one split; finished ones stay"
    ]


def next_calls(job: Job, failed: Sequence[Call]) -> list[Call]:
    """For the first unfinished fold: its split, its adapters, gates and generated pairs, and its downstream models.

    Everything of a fold is needed, so that nothing is left to do after a failure.
    """
    unfinished = {step.name for step in unfinished_steps(job.folder, steps(job))}
    if failed or not unfinished:
        return []
    if not benchmark.is_measured(job):
        return [Call("measure", "benchmark speed", {})]
    fold = next(k for k in range(1, job.settings.benchmark.folds + 1) if f"folds:{k}" in unfinished)
    part, title = fold_job(job, fold), f"folds {fold} of {job.settings.benchmark.folds}"
    taken = is_taken(job, part, _digest(job, fold))
    if not taken and fold == 1:
        benchmark.say_cost(job, benchmark.budgeted(job)[0], pilot=True)
    if taken and (lacking := lacking_tasks(part)):
        why = "; ".join(lacking.values())
        raise BadInput(f"benchmark.folds, fold {fold}: {why}; take fewer folds, or set benchmark.tasks")
    try:
        calls = calls_of(part, taken, ("adapt", "gates", "synthesise", "low-data", "benchmark"))
    except BadInput as error:
        raise BadInput(f"benchmark.folds, fold {fold}: {error}; or take fewer folds") from None
    # What all folds found is collected once, together.
    own = [Call("finish", "finish", {}) if call.kind == COLLECT else call for call in calls]
    return [wrapped("folds", title, {"fold": fold}, call) for call in own]


def perform_part(job: Job, progress: Progress, fold: int, kind: str, arguments: Mapping[str, Any]) -> Mapping[str, Any]:
    """Performs one call of another step on the run of `fold`, counted from 1."""
    if kind == "restrict":
        return _restrict(job, fold, progress)
    if kind == "finish":
        return _finish(job, fold)
    return perform(fold_job(job, fold), kind, arguments, progress)


def fold_job(job: Job, fold: int) -> Job:
    """The run folder of `fold`, with the settings of a run on its split alone: nobody reads its generated pairs."""
    settings = job.settings
    planned, _ = benchmark.budgeted(job)  # once for all folds, for what an update takes wanders
    own = settings.model_copy(
        update={
            "benchmark": planned.model_copy(update={"folds": 0, "budget": None}),
            "gates": settings.gates.model_copy(update={"review": "off"}),
        }
    )
    return replace(job, folder=RunFolder(job.folder.folds / str(fold), job.folder.path), settings=own)


def split_jobs(job: Job) -> list[Job]:
    """The jobs whose models are judged together: those of the folds, or the run's own."""
    folds = job.settings.benchmark.folds if job.settings.benchmark.cross_validated else 0
    return [fold_job(job, fold) for fold in range(1, folds + 1)] or [job]


def fold_rounds(job: Job) -> list[Round]:
    """What was trained on each fold; nothing without a cross-validation."""
    parts = split_jobs(job) if job.settings.benchmark.cross_validated else []
    return [replace(benchmark.trained_round(part), fold=fold) for fold, part in enumerate(parts, 1)]


def _splits(job: Job) -> list[dict[str, str]]:
    from evaluate.benchmark.folds import fold_splits

    settings = job.settings
    return fold_splits(open_real(job), settings.benchmark, settings.prepare.validation_fraction, settings.seed)


def _digest(job: Job, fold: int) -> str:
    from manifests.copying import subset_digest

    return subset_digest(_splits(job)[fold - 1])


def _restrict(job: Job, fold: int, progress: Progress) -> Mapping[str, Any]:
    """Writes the pairs with the splits that they have in this fold, as a manifest."""
    from manifests.copying import write_subset

    part, splits = fold_job(job, fold), _splits(job)[fold - 1]
    write_subset(open_real(job), splits, part.folder.real, progress)
    return {"pairs": len(splits)}


def _finish(job: Job, fold: int) -> Mapping[str, Any]:
    """Notes that the fold is done, with its downstream models."""
    started, part = time.monotonic(), fold_job(job, fold)
    step = fold_steps(job)[fold - 1]
    manifest = part.folder.synthetic / "manifest.json"
    outputs = [manifest] if manifest.exists() else []
    write_record(job.folder, step, outputs, benchmark.cell_figures(job, part), time.monotonic() - started)
    return {}
