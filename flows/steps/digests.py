"""Digests that several steps share."""

from __future__ import annotations

from typing import Any

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
    settings |= flat_groups(job.settings, "gates")
    return Step("gates", VERSION, settings, {"real": real_digest(job)})
