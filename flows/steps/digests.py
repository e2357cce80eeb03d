"""Digests that several steps share."""

from __future__ import annotations

from typing import Any

from flows.run.folder import Job
from flows.run.records import Step
from flows.settings import flat
from flows.steps.prepare import real_digest

VERSION = 1


def judge_digest(job: Job) -> str:
    """What stands for the judge in digests: all that decides its verdicts."""
    return gates_step(job).digest


def gates_step(job: Job) -> Step:
    settings: dict[str, Any] = {"threads": job.settings.engine.threads, "size": job.settings.base.resolution}
    settings |= {f"gates.{name}": value for name, value in flat(job.settings.gates).items()}
    return Step("gates", VERSION, settings, {"real": real_digest(job)})
