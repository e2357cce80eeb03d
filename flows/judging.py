"""The gates step: what judges generated pairs, fitted on the real training split."""

from __future__ import annotations

import time
from collections.abc import Generator, Mapping, Sequence
from typing import Any

from flows import synthesising
from flows.calls import Call, Result
from flows.preparing import open_real, real_digest
from flows.records import Step, reason_to_run, write_record
from flows.run_folder import Job
from flows.settings import flat
from manifests.progress import Progress

VERSION = 1


def steps(job: Job) -> list[Step]:
    """What the judge would be made from now; nothing where no pair waits for a judge."""
    if not job.settings.synthesis.gates:
        return []
    if not any(reason_to_run(job.folder, step) for step in synthesising.steps(job)):
        return []
    return [_step(job)]


def batches(job: Job, unfinished: Sequence[Step]) -> Generator[list[Call], list[Result], None]:
    """The one call of this step."""
    yield [Call("gates", "gates", {})]


def fit_gates(job: Job, progress: Progress) -> Mapping[str, Any]:
    """Fits the judge on the training split."""
    from evaluate.gates.judge import fit_judge

    started = time.monotonic()
    real = open_real(job).arrays(split="train", size=job.settings.base.resolution)
    fit_judge(real, job.settings.gates, job.folder.judge, progress)
    files = sorted(path for path in job.folder.judge.rglob("*") if path.is_file())
    write_record(job.folder, _step(job), files, {"pairs": len(real)}, time.monotonic() - started)
    return {"pairs": len(real)}


def judge_digest(job: Job) -> str:
    """What stands for the judge in digests: all that decides its verdicts."""
    return _step(job).digest


def _step(job: Job) -> Step:
    settings: dict[str, Any] = {"threads": job.settings.engine.threads, "size": job.settings.base.resolution}
    settings |= {f"gates.{name}": value for name, value in flat(job.settings.gates).items()}
    return Step("gates", VERSION, settings, {"real": real_digest(job)})
