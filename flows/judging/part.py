"""What every part of a run shares: its pairs are taken from the run's, and steps are performed on it as on a run."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from typing import Any

from flows.engine.calls import Call
from flows.judging.external import external_digests
from flows.run.folder import Job
from flows.run.records import Step
from flows.settings import flat_groups
from flows.steps import REGISTRY, function_of
from flows.steps.adapt import base_facts
from flows.steps.digests import VERSION, settings_of_gates
from flows.steps.prepare import open_real, real_digest
from manifests.errors import BadInput
from manifests.progress import Progress


def is_taken(job: Job, part: Job, digest: str | None = None) -> bool:
    """Whether the real pairs of a part are there, and were taken from the run's as they are now; digest: which."""
    try:
        provenance = open_real(part).header["provenance"]
    except BadInput:
        return False
    return provenance.get("part_of") == real_digest(job) and digest in (None, provenance.get("part"))


def calls_of(part: Job, taken: bool, steps: Sequence[str]) -> list[Call]:
    """What is to be done next on a part: take its pairs, the calls of the first of its steps that has any, with those
    that go beside it, or note that it is done."""
    if not taken:
        return [Call("restrict", "restrict", {})]
    for step in (REGISTRY[name] for name in steps):
        if calls := step.module.next_calls(part, ()):
            return [*step.company(part), *calls]
    return [Call("finish", "finish", {})]


def wrapped(kind: str, title: str, part: Mapping[str, Any], call: Call) -> Call:
    """The call of a run that performs `call` on one of its parts."""
    return Call(kind, f"{title} {call.title}", {**part, "kind": call.kind, "arguments": dict(call.arguments)})


def perform(part: Job, kind: str, arguments: Mapping[str, Any], progress: Progress) -> Mapping[str, Any]:
    """Performs a call of another step on a part."""
    return function_of(kind)(part, progress, **arguments)


def fold_steps(job: Job) -> list[Step]:
    """What the generator and the models of each fold would be made from now; nothing without a cross-validation."""
    if not job.settings.benchmark.cross_validated:
        return []
    settings: dict[str, Any] = {"seed": job.settings.seed, "threads": job.settings.engine.threads}
    settings |= flat_groups(job.settings, "base", "adapt", "sampling", "synthesis", "benchmark")
    settings |= settings_of_gates(job) | {"prepare.validation_fraction": job.settings.prepare.validation_fraction}
    inputs = {"real": real_digest(job), "base": str(base_facts(job)["digest"]), **external_digests(job)}
    return [Step(f"folds:{k + 1}", VERSION, settings, inputs) for k in range(job.settings.benchmark.folds)]
