"""The low-data step: for each part of the training pairs that low-data arms ask for, a generator that has seen only
those, in a run folder of its own under `low-data/`."""

from __future__ import annotations

import time
from collections.abc import Mapping, Sequence
from dataclasses import replace
from typing import TYPE_CHECKING, Any

from flows.engine.calls import Call
from flows.judging.part import calls_of, is_taken, perform, wrapped
from flows.run.folder import Job, RunFolder
from flows.run.records import Step, file_digest, unfinished_steps, write_record
from flows.settings import flat_groups
from flows.steps import adapt, synthesise
from flows.steps.prepare import open_real, real_digest
from manifests.errors import BadInput
from manifests.progress import Progress

if TYPE_CHECKING:
    from manifests.format.reading import Manifest

VERSION = 1


def steps(job: Job) -> list[Step]:
    """What the generated pairs of each part would be made from now; nothing where no low-data arm needs any."""
    parts = parts_of(job)
    if not parts:
        return []
    adapt.check_counts(job)
    settings: dict[str, Any] = {"seed": job.settings.seed, "threads": job.settings.engine.threads}
    settings |= flat_groups(job.settings, "base", "adapt", "sampling", "synthesis", "gates")
    inputs = {"real": real_digest(job), "base": str(adapt.base_facts(job)["digest"])}
    return [Step(_step_name(part), VERSION, settings, inputs) for part in parts]


def next_calls(job: Job, failed: Sequence[Call]) -> list[Call]:
    """For the first unfinished part: its training pairs, then its adapters, its gates and its generated pairs.

    Every class of a part is needed, so that nothing is left to do after a failure. Raises BadInput if a class has
    too few pairs in a part.
    """
    unfinished = {step.name for step in unfinished_steps(job.folder, steps(job))}
    for part in (part for part in parts_of(job) if not failed and _step_name(part) in unfinished):
        title = f"low-data {folder_name(part) if part > 1 else f'{100 * part:g} %'}"
        return [wrapped("low-data", title, {"part": part}, call) for call in _calls_of_part(job, part)]
    return []


def _calls_of_part(job: Job, part: float) -> list[Call]:
    own = restricted_job(job, part)
    try:
        return calls_of(own, is_taken(job, own), ("adapt", "gates", "synthesise"))
    except BadInput as error:
        raise BadInput(f"benchmark.low_data {part:g}: {error}; or leave this part out") from None


def perform_part(
    job: Job, progress: Progress, part: float, kind: str, arguments: Mapping[str, Any]
) -> Mapping[str, Any]:
    """Performs one call of another step on the restricted run of `part`."""
    if kind == "restrict":
        return _restrict(job, part, progress)
    if kind == "finish":
        return _finish(job, part)
    return perform(restricted_job(job, part), kind, arguments, progress)


def parts_of(job: Job) -> list[float]:
    """The parts of the training pairs that a generator of their own is made from: shares, then numbers; folds have
    their own."""
    benchmark = job.settings.benchmark
    if benchmark.cross_validated:
        return []
    arms = [arm for task in benchmark.tasks for arm in benchmark.arms(task)]
    return sorted({arm.part for arm in arms if arm.needs_synthetic and arm.part != 1})


def restricted_job(job: Job, part: float) -> Job:
    """The run folder in which the generator of `part` is made; it has no parts of its own."""
    benchmark = job.settings.benchmark.model_copy(update={"low_data": ()})
    settings = job.settings.model_copy(update={"benchmark": benchmark})
    return replace(job, folder=RunFolder(job.folder.low_data / folder_name(part)), settings=settings)


def folder_name(part: float) -> str:
    """`25` for a quarter of the training pairs, `100-pairs` for so many."""
    return f"{part:.0f}-pairs" if part > 1 else f"{100 * part:g}"


def restricted_manifests(job: Job) -> dict[float, Manifest]:
    """The generated pairs of each part that has any. Raises BadInput where they are of other real pairs."""
    jobs = {part: restricted_job(job, part) for part in parts_of(job)}
    return {part: _made_of(job, own) for part, own in jobs.items() if synthesise.has_synthetic(own)}


def _made_of(job: Job, own: Job) -> Manifest:
    """The generated pairs of a part, which must be of that part, and the part of the run's real pairs."""
    from evaluate.benchmark.evidence import check_made_from
    from manifests.format.reading import open_manifest

    synthetic, real = open_manifest(own.folder.synthetic), open_real(own)
    check_made_from(real, synthetic)
    if not is_taken(job, own):
        raise BadInput(f"{real.location} is no part of {job.folder.real}; delete {own.folder.path} and run again")
    return synthetic


def restricted_digests(job: Job) -> dict[str, str]:
    """What stands for those pairs in digests."""
    jobs = {part: restricted_job(job, part) for part in parts_of(job)}
    return {
        f"low data {folder_name(part)}": file_digest(own.folder.synthetic / "manifest.json")
        for part, own in jobs.items()
        if synthesise.has_synthetic(own)
    }


def _restrict(job: Job, part: float, progress: Progress) -> Mapping[str, Any]:
    """Writes the training pairs of the part, the same as those of the arms' real pairs, as a manifest."""
    from evaluate.benchmark.arms import low_data_rows
    from manifests.copying import write_subset
    from manifests.format.schema import UNLABELLED

    real = open_real(job)
    table = real.table(["pair_id", "dx", "group_id"], split="train").to_pydict()
    dx = ["" if name == UNLABELLED else name for name in table["dx"]]
    rows = low_data_rows(dx, table["group_id"], part)
    write_subset(real, [table["pair_id"][row] for row in rows], restricted_job(job, part).folder.real, progress)
    return {"pairs": len(rows)}


def _finish(job: Job, part: float) -> Mapping[str, Any]:
    """Notes that the part is done, if no class of it failed."""
    started, own = time.monotonic(), restricted_job(job, part)
    (step,) = (step for step in steps(job) if step.name == _step_name(part))
    manifest = own.folder.synthetic / "manifest.json"
    if not unfinished_steps(own.folder, synthesise.steps(own)):
        write_record(job.folder, step, [manifest] if manifest.exists() else [], {}, time.monotonic() - started)
    return {}


def _step_name(part: float) -> str:
    return f"low-data:{folder_name(part)}"
