"""The low-data step: for each share of the training pairs that low-data arms ask for, a generator that has seen only
those, in a run folder of its own under `low-data/`."""

from __future__ import annotations

import time
from collections.abc import Mapping, Sequence
from dataclasses import replace
from typing import TYPE_CHECKING, Any

from flows.engine.calls import Call
from flows.run.folder import Job, RunFolder
from flows.run.records import Step, file_digest, unfinished_steps, write_record
from flows.settings import flat_groups
from flows.steps import adapt, gates, synthesise
from flows.steps.parts.part import calls_of, is_taken, perform, wrapped
from flows.steps.prepare import open_real, real_digest
from manifests.errors import BadInput
from manifests.progress import Progress

if TYPE_CHECKING:
    from manifests.format.reading import Manifest

VERSION = 1


def steps(job: Job) -> list[Step]:
    """What the generated pairs of each share would be made from now; nothing where no low-data arm needs any."""
    shares = shares_of(job)
    if not shares:
        return []
    settings: dict[str, Any] = {"seed": job.settings.seed, "threads": job.settings.engine.threads}
    settings |= flat_groups(job.settings, "base", "adapt", "sampling", "synthesis", "gates")
    inputs = {"real": real_digest(job), "base": str(adapt.base_facts(job)["digest"])}
    return [Step(_step_name(share), VERSION, settings, inputs) for share in shares]


def next_calls(job: Job, failed: Sequence[Call]) -> list[Call]:
    """For the first unfinished share: its training pairs, then its adapters, its gates and its generated pairs.

    Every class of a share is needed, so that nothing is left to do after a failure. Raises BadInput if a class has
    too few pairs in a share.
    """
    unfinished = {step.name for step in unfinished_steps(job.folder, steps(job))}
    for share in (share for share in shares_of(job) if not failed and _step_name(share) in unfinished):
        title = f"low-data {100 * share:g} %"
        return [wrapped("low-data", title, {"share": share}, call) for call in _calls_of_share(job, share)]
    return []


def _calls_of_share(job: Job, share: float) -> list[Call]:
    part = restricted_job(job, share)
    try:
        return calls_of(part, is_taken(job, part), (adapt, gates, synthesise))
    except BadInput as error:
        raise BadInput(f"benchmark.low_data {share:g}: {error}; or leave this share out") from None


def perform_part(
    job: Job, progress: Progress, share: float, kind: str, arguments: Mapping[str, Any]
) -> Mapping[str, Any]:
    """Performs one call of another step on the restricted run of `share`."""
    if kind == "restrict":
        return _restrict(job, share, progress)
    if kind == "finish":
        return _finish(job, share)
    return perform(restricted_job(job, share), kind, arguments, progress)


def shares_of(job: Job) -> list[float]:
    """The shares of the training pairs that a generator of their own is made from, in (0, 1); folds have their own."""
    benchmark = job.settings.benchmark
    if benchmark.cross_validated:
        return []
    arms = [arm for task in benchmark.tasks for arm in benchmark.arms(task)]
    return sorted({arm.fraction for arm in arms if arm.needs_synthetic and arm.fraction < 1})


def restricted_job(job: Job, share: float) -> Job:
    """The run folder in which the generator of `share` is made."""
    return replace(job, folder=RunFolder(job.folder.low_data / f"{100 * share:g}"))


def restricted_manifests(job: Job) -> dict[float, Manifest]:
    """The generated pairs of each share that has any. Raises BadInput where they are of other real pairs."""
    parts = {share: restricted_job(job, share) for share in shares_of(job)}
    return {share: _made_of(job, part) for share, part in parts.items() if synthesise.has_synthetic(part)}


def _made_of(job: Job, part: Job) -> Manifest:
    """The generated pairs of a part, which must be of that part, and the part of the run's real pairs."""
    from evaluate.benchmark.evidence import check_made_from
    from manifests.format.reading import open_manifest

    synthetic, real = open_manifest(part.folder.synthetic), open_real(part)
    check_made_from(real, synthetic)
    if not is_taken(job, part):
        raise BadInput(f"{real.location} is no part of {job.folder.real}; delete {part.folder.path} and run again")
    return synthetic


def restricted_digests(job: Job) -> dict[str, str]:
    """What stands for those pairs in digests."""
    parts = {share: restricted_job(job, share) for share in shares_of(job)}
    return {
        f"low data {100 * share:g}": file_digest(part.folder.synthetic / "manifest.json")
        for share, part in parts.items()
        if synthesise.has_synthetic(part)
    }


def _restrict(job: Job, share: float, progress: Progress) -> Mapping[str, Any]:
    """Writes the training pairs of the share, the same as those of the arms' real pairs, as a manifest."""
    from evaluate.benchmark.arms import low_data_rows
    from manifests.copying import write_subset
    from manifests.format.schema import UNLABELLED

    real = open_real(job)
    table = real.table(["pair_id", "dx", "group_id"], split="train").to_pydict()
    dx = ["" if name == UNLABELLED else name for name in table["dx"]]
    rows = low_data_rows(dx, table["group_id"], share)
    write_subset(real, [table["pair_id"][row] for row in rows], restricted_job(job, share).folder.real, progress)
    return {"pairs": len(rows)}


def _finish(job: Job, share: float) -> Mapping[str, Any]:
    """Notes that the share is done, if no class of it failed."""
    started, part = time.monotonic(), restricted_job(job, share)
    (step,) = (step for step in steps(job) if step.name == _step_name(share))
    manifest = part.folder.synthetic / "manifest.json"
    if not unfinished_steps(part.folder, synthesise.steps(part)):
        write_record(job.folder, step, [manifest] if manifest.exists() else [], {}, time.monotonic() - started)
    return {}


def _step_name(share: float) -> str:
    return f"low-data:{100 * share:g}"
