"""Digests that several steps share."""

from __future__ import annotations

from typing import Any

from augment.ways.plan import SKIN, takes
from flows.run.folder import Job
from flows.run.records import Step
from flows.settings import flat_groups
from flows.steps.prepare import real_digest

VERSION = 1


def judge_digest(job: Job) -> str:
    """What stands for the judge in digests: all that decides its verdicts."""
    return gates_step(job).digest


def gates_step(job: Job) -> Step:
    settings: dict[str, Any] = {"threads": job.settings.engine.threads, "size": job.settings.base.resolution}
    settings |= settings_of_gates(job)
    if paints(job):
        settings["painted"] = True
    return Step("gates", VERSION, settings, {"real": real_digest(job)})


def settings_of_gates(job: Job) -> dict[str, Any]:
    """Settings of the gates that judge by themselves: readers count by what they said, see flows.steps.review."""
    return {name: value for name, value in flat_groups(job.settings, "gates").items() if name != "gates.review"}


def paints(job: Job) -> bool:
    """Whether lesions of any class are painted into real skin, which is judged by an index of its own."""
    return takes(job.settings.synthesis.ways, SKIN)
