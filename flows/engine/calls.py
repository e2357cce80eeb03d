"""Calls: the units of work that an engine may run anywhere, given a run folder and a few plain values."""

from __future__ import annotations

import time
import traceback
from collections.abc import Callable, Mapping, Sequence
from dataclasses import dataclass
from functools import partial
from importlib import import_module
from pathlib import Path
from typing import Any

from flows.engine.process import limit_threads, set_up_process
from flows.engine.stopping import STOP
from flows.engine.tally import Tally
from flows.engine.watch import TimeLimitReached, Watch, watch_of
from flows.run.folder import Job, open_job
from manifests.errors import BadInput, StorageFailed
from manifests.progress import StopRequested

# What a unit of work does: it reads and writes the run folder, and returns figures worth noting.
Unit = Callable[..., Mapping[str, Any]]


@dataclass(frozen=True)
class Kind:
    """A kind of call: where its unit of work is found, what it counts, which limit it obeys."""

    function: str
    counts: str
    limit: str
    uses_gpu: bool = False


KINDS = {
    "prepare": Kind("flows.steps.prepare:prepare_source", "pairs", "prepare"),
    "adapt": Kind("flows.steps.adapt:train_one", "steps", "adapt", uses_gpu=True),
    "gates": Kind("flows.steps.gates:fit_gates", "steps", "benchmark", uses_gpu=True),
    "synthesise": Kind("flows.steps.synthesise:fill_range", "pairs", "synthesise", uses_gpu=True),
    "commit": Kind("flows.steps.synthesise:commit_pairs", "shards", "synthesise"),
    "low-data": Kind("flows.steps.low_data:perform_part", "steps", "adapt", uses_gpu=True),
    "benchmark": Kind("flows.steps.benchmark:train_cell", "updates", "benchmark", uses_gpu=True),
    "collect": Kind("flows.steps.results:collect_results", "figures", "benchmark"),
    "report": Kind("flows.steps.report:make_report", "pages", "benchmark"),
}


@dataclass(frozen=True)
class Call:
    """One unit of work: its kind, a title for people, and its arguments beside the job."""

    kind: str
    title: str
    arguments: Mapping[str, Any]


@dataclass(frozen=True)
class Result:
    """What became of a call: figures and tally, or the error that ended it."""

    call: Call
    figures: Mapping[str, Any]
    tally: Tally
    error: Exception | None = None


# Runs calls, which do not depend on each other, in any order; results come in the order of the calls.
Engine = Callable[[Job, Sequence[Call]], list[Result]]


def perform(out: str, call: Call) -> Result:
    """Runs one call on the run folder `out`, in whatever process this is. Raises what the work raises."""
    set_up_process()
    job = open_job(Path(out))
    limit_threads(job.settings.engine.threads)
    kind = KINDS[call.kind]
    limit = float(getattr(job.settings.limits, kind.limit))
    with watch_of(job.folder.log).task(call.title, kind.counts, limit) as progress:
        figures = unit_of(call.kind)(job, progress, **call.arguments)
    return Result(call, dict(figures), progress.tally)


def attempt(run: Callable[[], Result], call: Call, watch: Watch) -> Result:
    """Runs a call and keeps the error of one that may fail alone.

    Raises what must end the whole run: a stop, bad input, lost storage.
    """
    try:
        return run()
    except Exception as error:
        if is_fatal(error):
            raise
        watch.event("error", task=call.title, traceback=traceback.format_exception(error))
        return Result(call, {}, Tally(), error)


def is_fatal(error: BaseException) -> bool:
    """Whether an error ends the run: all that other calls would meet too."""
    if isinstance(error, TimeLimitReached):
        return False
    return isinstance(error, StopRequested | BadInput | StorageFailed | OSError | MemoryError)


def is_passing(error: BaseException) -> bool:
    """Whether an error may be gone at the next try: faults of storage, network and hub, not of the disk."""
    if isinstance(error, StorageFailed | ConnectionError | TimeoutError):
        return True
    return type(error).__name__ in {
        "HfHubHTTPError",
        "ReadTimeout",
        "ConnectTimeout",
        "ConnectError",
        "IncompleteRead",
    }


def one_by_one(job: Job, calls: Sequence[Call]) -> list[Result]:
    """The plain engine: the calls one after another in this process, passing faults tried again."""
    watch = watch_of(job.folder.log)
    results: list[Result] = []
    for call in calls:
        watch.count(call.kind, len(results), len(calls))
        results.append(attempt(partial(_retried, job, call), call, watch))
    watch.count(calls[0].kind, len(calls), len(calls))
    return results


def _retried(job: Job, call: Call) -> Result:
    for delay in retry_delays(job):
        try:
            return perform(str(job.folder.path), call)
        except Exception as error:
            if not is_passing(error):
                raise
            watch_of(job.folder.log).warn(f"{call.title}: {error}; trying again in {delay:g} s")
            pause(delay)
    return perform(str(job.folder.path), call)


def pause(seconds: float) -> None:
    """Waits; StopRequested as soon as the process is told to stop."""
    deadline = time.monotonic() + seconds
    while time.monotonic() < deadline:
        if STOP:
            raise StopRequested(f"stopped by {STOP.signal_name}")
        time.sleep(min(0.2, seconds))


def retry_delays(job: Job) -> list[float]:
    """Seconds to wait before each further try: doubling."""
    return [job.settings.engine.retry_delay * 2**number for number in range(job.settings.engine.retries)]


def unit_of(kind: str) -> Unit:
    """What a call of this kind does."""
    module, _, name = KINDS[kind].function.partition(":")
    unit: Unit = getattr(import_module(module), name)
    return unit
