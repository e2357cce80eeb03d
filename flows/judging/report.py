"""The report step: one page about the run."""

from __future__ import annotations

import time
from collections.abc import Mapping, Sequence
from pathlib import Path
from typing import Any

from flows.engine.calls import Call
from flows.run.folder import Job
from flows.run.records import Step, file_digest, unfinished_steps, values_digest, write_record
from flows.steps.review import add_readings, readings
from manifests.errors import BadInput
from manifests.progress import Progress

VERSION = 1


def steps(job: Job) -> list[Step]:
    """What the report would be made from now."""
    if not job.folder.results.exists():
        raise BadInput(f"{job.folder.results}: no results yet; run evenderm benchmark first")
    inputs = {"results": file_digest(job.folder.results)}
    inputs |= {"readings": values_digest(found)} if (found := readings(job)) else {}
    return [Step("report", VERSION, job.settings.report.model_dump(), inputs)]


def next_calls(job: Job, failed: Sequence[Call]) -> list[Call]:
    """The one call of this step."""
    return [Call("report", "report", {})] if unfinished_steps(job.folder, steps(job)) else []


def make_report(job: Job, progress: Progress) -> Mapping[str, Any]:
    """Writes report.html and report.md, and a line into the history where the settings name one."""
    from evaluate.report.history import append_history
    from evaluate.report.page import write_report

    started = time.monotonic()
    progress(0, 1)
    add_readings(job, readings(job))
    history = None
    if job.settings.report.history is not None:
        history = Path(job.settings.report.history)
        append_history(job.folder.results, history)
    write_report(job.folder.path, history)
    progress(1, 1)
    files = [job.folder.report, job.folder.report.with_suffix(".md")]
    write_record(job.folder, steps(job)[0], files, {}, time.monotonic() - started)
    return {}
