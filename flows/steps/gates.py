"""The gates step: what judges generated pairs, fitted on the real training split."""

from __future__ import annotations

import time
from collections.abc import Mapping, Sequence
from typing import Any

from flows.engine.calls import Call
from flows.run.folder import Job
from flows.run.records import Step, unfinished_steps, write_record
from flows.steps import synthesise
from flows.steps.digests import gates_step, paints
from manifests.progress import Progress


def steps(job: Job) -> list[Step]:
    """What the judge would be made from now; nothing where no pair waits for a judge."""
    if not job.settings.synthesis.gates:
        return []
    if not unfinished_steps(job.folder, synthesise.steps(job)):
        return []
    return [gates_step(job)]


def next_calls(job: Job, failed: Sequence[Call]) -> list[Call]:
    """The one call of this step."""
    return [Call("gates", "gates", {})] if unfinished_steps(job.folder, steps(job)) else []


def fit_gates(job: Job, progress: Progress) -> Mapping[str, Any]:
    """Fits the judge on the training split."""
    from evaluate.gates.judge import fit_judge

    started = time.monotonic()
    real = job.pairs("train", masked=True)
    judge = fit_judge(real, job.settings.gates, job.folder.judge, progress, paints(job))
    files = sorted(path for path in job.folder.judge.rglob("*") if path.is_file())
    write_record(job.folder, gates_step(job), files, {"pairs": len(real)}, time.monotonic() - started)
    return {"pairs": len(real), "given_up": _indistinct(judge.header["held_out"]["recall"])}


def _indistinct(recall: Mapping[str, float]) -> list[str]:
    """A sentence for each class of which the judge recognises held-out real pairs no better than by chance."""
    return [
        f"{dx}: of its own real pairs, held out, the judge recognises {share:.0%}, no more than by chance; its "
        "pictures cannot be told from other classes' (prepare.classes can merge it, more pairs may help)"
        for dx, share in recall.items()
        if len(recall) > 1 and share <= 1 / len(recall)
    ]
