"""Worker processes: the calls of a step side by side on this machine, each with a processor core of its own.

They start when several calls first come at once, and end with the run.
"""

from __future__ import annotations

import contextlib
import os
import signal
import threading
import time
from collections.abc import Callable, Mapping, Sequence
from concurrent.futures import Future, wait
from functools import partial
from typing import Any

from flows.engine.calls import Call, Perform, Result, one_by_one, results_of
from flows.engine.process import set_up_process
from flows.engine.stopping import GRACE_SECONDS, SIGNALS, STOP
from flows.engine.watch import watch_of
from flows.run.folder import Job
from flows.run.log import LogTail
from manifests.progress import StopRequested
from manifests.workers import WorkerKilled

POLL_SECONDS = 0.5
Hear = Callable[[Mapping[str, Any]], None]


class Workers:
    """Up to `count` worker processes, which perform calls; used as a context, at whose end they are gone."""

    def __init__(self, perform: Perform, count: int) -> None:
        self.perform = perform
        self.count = count
        self._pool: Any = None
        self._stop: Any = None
        self._futures: list[Future[Result]] = []
        self._starting = threading.Lock()
        self._end: float | None = None

    def __enter__(self) -> Workers:
        return self

    def __exit__(self, kind: type[BaseException] | None, *_: object) -> None:
        if self._pool is None:
            return
        if kind is not None:
            self.stop()
        self._pool.shutdown(wait=True, kill_workers=True)

    def stop(self) -> None:
        """Lets calls in work end in a checkpoint, and no other begin. Asked again, it waits for what is left of one
        grace: a failed task asks first, and the end of the run after it."""
        if self._pool is not None:
            for _ in range(self.count):
                self._stop.release()
            for future in self._futures:
                future.cancel()
            self._end = self._end or time.monotonic() + GRACE_SECONDS
            wait(self._futures, max(0.0, self._end - time.monotonic()))

    def submit(self, out: str, call: Call) -> Future[Result]:
        """Has a worker perform the call on the run folder `out`; the outcome raises what the work raises."""
        with self._starting:
            if self._pool is None:
                self._start()
            future: Future[Result] = self._pool.submit(_perform, self.perform, out, call)
            self._futures = [*(known for known in self._futures if not known.done()), future]
        return future

    def _start(self) -> None:
        # loky's processes start from any script, and without what this one has open, as its lock.
        from loky import ProcessPoolExecutor
        from loky.backend import get_context

        self._stop = get_context("loky").Semaphore(0)  # unlike an Event, it outlives a killed worker that waits
        start = (os.getpid(), self._stop)
        self._pool = ProcessPoolExecutor(self.count, initializer=_set_up_worker, initargs=start)


def side_by_side(workers: Workers, job: Job, calls: Sequence[Call]) -> list[Result]:
    """The plain engine: several calls in worker processes, where there may be several, else in this process."""
    if workers.count == 1 or len(calls) == 1:
        return one_by_one(workers.perform, job, calls)
    tail, watch = LogTail(job.folder.log), watch_of(job.folder.log)
    futures = iter([workers.submit(str(job.folder.path), call) for call in calls])
    return results_of(job, calls, lambda call: waited(next(futures), tail, watch.follow))


def waited(future: Future[Result], tail: LogTail, hear: Hear) -> Result:
    """The outcome of a call that is performed elsewhere; `hear` is told of what is logged meanwhile.

    Raises what the work raises, StopRequested when this process is told to end, WorkerKilled when the worker is gone.
    """
    from loky.process_executor import BrokenProcessPool

    done = False
    while not done:
        done = not wait([future], POLL_SECONDS).not_done
        for event in tail.new_events():
            hear(event)
        if STOP:
            raise StopRequested(f"stopped by {STOP.signal_name}")
    try:
        return future.result()
    except BrokenProcessPool:
        raise WorkerKilled(
            "a worker process was killed, most likely for want of memory; the same command goes on from here, and "
            "takes less memory with --set engine.workers=1"
        ) from None


def _perform(perform: Perform, out: str, call: Call) -> Result:
    if STOP:
        raise StopRequested(f"{call.title}: stopped by {STOP.signal_name}")
    return perform(out, call)


def _set_up_worker(parent: int, stop: Any) -> None:
    """A worker hears of a stop from its parent alone (a terminal tells the whole group), and ends with it."""
    import cv2

    set_up_process()
    cv2.setNumThreads(1)
    for name in SIGNALS:
        signal.signal(name, signal.SIG_IGN)
    threading.Thread(target=partial(_listen, parent, stop), daemon=True).start()


def _listen(parent: int, stop: Any) -> None:
    with contextlib.suppress(OSError, ValueError):  # of a stop that went with the parent
        while os.getppid() == parent:
            if stop.acquire(timeout=1.0):
                STOP.set("the end of its run")
                break
        while os.getppid() == parent:
            time.sleep(1.0)
    os._exit(1)
