"""Running a job from the command line: lock, plan, engine, summary."""

from __future__ import annotations

import json
import shutil
import time
from collections.abc import Iterator, Sequence
from contextlib import suppress
from functools import partial
from pathlib import Path

from rich.console import Console

from flows.engine.calls import retried, retry_delays
from flows.engine.machine import worker_count
from flows.engine.terminal import print_line
from flows.engine.watch import Watch, watched_run
from flows.engine.workers import Workers, side_by_side
from flows.run.folder import Job, RunFolder, save_job
from flows.run.lock import run_lock
from flows.run.records import remove_touched
from flows.status import plan_line
from flows.steps import STEPS, perform
from flows.steps.sequence import Outcome, Planned, plan, run_steps, tell_finished
from flows.voice import watch_of_command
from manifests.errors import BadInput
from manifests.files import TEMPORARY

# What a killed run leaves; the last two are names that the files of earlier versions' runs bear.
LEFTOVERS = (f"{TEMPORARY}*", ".*.part", "*.partial")
LEFTOVER_FOLDERS = (".prepare-*",)


def execute(
    job: Job,
    only: Sequence[str] = STEPS,
    console: Console | None = None,
    every: bool = False,
    quiet: bool = False,
    as_json: bool = False,
) -> int:
    """Runs what is unfinished of `only`; the exit code: 0, or 1 if a class failed and was left out.

    every: reads every byte of what is finished, to find what was changed; quiet: says the last lines alone; as_json:
    says each event as JSON.
    """
    watch, voice = watch_of_command(job, only, console, quiet, as_json)
    started = time.monotonic()
    with run_lock(job.folder.lock, on_stale=watch.say):
        save_job(job)
        remove_leftovers(job.folder)
        for line in remove_touched(job.folder, only, every):
            watch.warn(f"{line}; it is made again")
        standing = retried(lambda: plan(job, only), iter(retry_delays(job)), "run", watch)
        if all(step.reason is None for step in standing):
            for step in only:
                tell_finished(job, step, watch)
            watch.say(f"{job.folder.path}: everything is finished ({', '.join(step.name for step in standing)})")
            summarise(job, watch, Outcome(), time.monotonic() - started)
            return 0
        _check_data(job, standing)
        watch.event("run", data=str(job.data), preset=job.preset, steps=list(only))
        with watched_run(watch), watch.bars(voice.time_left):
            outcome = _run(job, watch, only)
        summarise(job, watch, outcome, time.monotonic() - started)
    return 1 if outcome.failures else 0


def _check_data(job: Job, standing: Sequence[Planned]) -> None:
    """Reads what the data are before a server starts. Raises BadInput where they cannot be prepared."""
    if job.settings.engine.name != "plain" and any(step.name == "prepare" and step.reason for step in standing):
        from manifests.prepare.understanding import understand

        understand(job.data, job.settings.prepare)


def _run(job: Job, watch: Watch, only: Sequence[str]) -> Outcome:
    if job.settings.engine.name == "plain":
        with Workers(perform, worker_count(job)) as workers:
            return run_steps(job, watch, partial(side_by_side, workers), only)
    from flows.orchestration.server import prefect_server, wait_until_ready

    with prefect_server(job.folder.work / "prefect") as address:
        # Loaded while the server starts on the other processor, and only now, because Prefect reads its
        # settings when it is loaded.
        from flows.orchestration.rebalance import run_as_flow

        wait_until_ready(address)
        return run_as_flow(job, watch, only)


def show_plan(job: Job, only: Sequence[str] = STEPS, as_json: bool = False) -> int:
    """Prints what the data seem to be, what would run and why; changes nothing.

    as_json: a JSON object for each step instead, `reason` null where it is finished.
    """
    if as_json:
        for step in plan(job, only):
            print(json.dumps({"event": "plan", "step": step.name, "reason": step.reason}))
        return 0
    console = Console()
    for line in _plan_lines(job, only):
        print_line(console, line)
    return 0


def _plan_lines(job: Job, only: Sequence[str]) -> Iterator[str]:
    yield f"{job.name} into {job.folder.path}"
    if "prepare" in only:
        from manifests.prepare.understanding import understand

        understood = understand(job.data, job.settings.prepare)
        yield from (f"  {line}" for line in understood.lines())
        if understood.missing and job.settings.prepare.finds_masks:
            yield "  missing masks will be found by a segmenter; prepare.masks.find=false leaves them missing"
    yield from (plan_line(job, step) for step in plan(job, only))
    if "adapt" in only:
        from flows.steps.adapt import announced

        with suppress(BadInput):  # nothing is prepared yet, or the plan has said what is wrong
            yield from [f"  {line}" for line in announced(job)]


def remove_leftovers(folder: RunFolder) -> list[Path]:
    """Removes the temporary files and folders that killed processes left in a run folder."""
    removed = [path for pattern in LEFTOVER_FOLDERS for path in folder.path.glob(pattern)]
    for path in removed:
        shutil.rmtree(path, ignore_errors=True)
    files = [path for pattern in LEFTOVERS for path in folder.path.rglob(pattern) if path.is_file()]
    for path in files:
        path.unlink(missing_ok=True)
    return removed + files


def summarise(job: Job, watch: Watch, outcome: Outcome, seconds: float) -> None:
    """Tells what the run came to and where to look."""
    failed = {failure.call.title: str(failure.error) for failure in outcome.failures}
    report = str(job.folder.report) if job.folder.report.exists() else None
    told = {"failures": len(failed), "failed": failed, "out": str(job.folder.path), "report": report}
    watch.event("done", seconds=round(seconds, 3), **told)
