"""Calls: the units of work that an engine may run anywhere, and the loops in which engines run them."""

from __future__ import annotations

import time
import traceback
from collections import Counter
from collections.abc import Callable, Iterator, Mapping, Sequence
from dataclasses import dataclass
from functools import partial
from typing import Any, TypeVar

from flows.engine.stopping import STOP
from flows.engine.tally import Tally
from flows.engine.watch import TimeLimitReached, Watch, watch_of
from flows.run.folder import Job
from manifests.errors import BadInput, StorageFailed
from manifests.progress import StopRequested
from manifests.workers import WorkerKilled


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


# Runs a call on a run folder, in whatever process; see flows.steps.
Perform = Callable[[str, Call], Result]
# Runs calls, which do not depend on each other, in any order; results come in the order of the calls.
Engine = Callable[[Job, Sequence[Call]], list[Result]]
Found = TypeVar("Found")


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
    return isinstance(error, StopRequested | BadInput | StorageFailed | WorkerKilled | OSError | MemoryError)


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


def results_of(job: Job, calls: Sequence[Call], result_of: Callable[[Call], Result]) -> list[Result]:
    """What became of each call, in their order: the loop of every engine."""
    watch = watch_of(job.folder.log)
    results: list[Result] = []
    kinds = Counter(call.kind for call in calls)
    for call in calls:
        watch.count(call.kind, sum(result.call.kind == call.kind for result in results), kinds[call.kind])
        results.append(attempt(partial(result_of, call), call, watch))
    for kind, count in kinds.items():
        watch.count(kind, count, count)
    return results


def one_by_one(perform: Perform, job: Job, calls: Sequence[Call]) -> list[Result]:
    """The calls one after another in this process."""
    return results_of(job, calls, partial(perform, str(job.folder.path)))


def retried(action: Callable[[], Found], delays: Iterator[float], title: str, watch: Watch) -> Found:
    """What `action` gives, tried again after each of `delays` while it meets faults that may pass."""
    while True:
        try:
            return action()
        except Exception as error:
            delay = next(delays, None) if is_passing(error) else None
            if delay is None:
                raise
            watch.warn(f"{title}: {error}; trying again in {delay:g} s")
            pause(delay)


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
