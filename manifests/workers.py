"""Work side by side, its outcomes in order: rows are checked in threads when they are few, else in processes.

Python lets one thread at a time run; two processes check rows a quarter faster than two threads do. They are loky's,
which start from any script and without what this process has open.
"""

from __future__ import annotations

import contextlib
import os
import signal
import threading
import time
from collections import deque
from collections.abc import Callable, Iterable, Iterator
from concurrent.futures import Executor, Future, ThreadPoolExecutor
from typing import TypeVar

import cv2

from manifests.errors import EvendermError

PROCESSES_FROM = 1000
"""Rows that are worth starting processes for, which takes half a second."""

AHEAD = 3
"""Items in work or waiting to be taken per worker: enough to keep them busy, few enough to hold in memory."""
T = TypeVar("T")
U = TypeVar("U")


class WorkerKilled(EvendermError):
    """A process that did part of the work was ended from outside: nothing that was finished has changed."""


@contextlib.contextmanager
def worker_pool(workers: int, rows: int) -> Iterator[Executor]:
    """An executor for `rows` checks, `workers` at a time; what is submitted to it must be a module's function.

    At the end of the block processes are ended, wherever they are; threads finish the item in work.
    """
    if workers == 1 or rows < PROCESSES_FROM:
        with ThreadPoolExecutor(workers, thread_name_prefix="prepare") as threads:
            yield threads
        return
    from loky import ProcessPoolExecutor
    from loky.process_executor import BrokenProcessPool

    environment = {"OMP_NUM_THREADS": "1"}
    pool = ProcessPoolExecutor(workers, initializer=_set_up_worker, initargs=(os.getpid(),), env=environment)
    try:
        yield pool
    except BrokenProcessPool:
        raise WorkerKilled(
            "a process that checks rows was killed, most likely for want of memory; set prepare.workers=1 or allow "
            "fewer pixels (prepare.max_pixels), and run again"
        ) from None
    finally:
        pool.shutdown(wait=True, kill_workers=True)  # told to end, they wait for ever for one that was killed


def side_by_side(pool: Executor, work: Callable[[T], U], items: Iterable[T], workers: int) -> Iterator[U]:
    """As `pool.map`, with few outcomes at once in memory, and what has not begun left undone if the reader stops."""
    # joblib's generator (1.6) takes all of `items` while a slow reader holds few: its memory is not flat.
    waiting: deque[Future[U]] = deque()
    try:
        for item in items:
            waiting.append(pool.submit(work, item))
            if len(waiting) >= AHEAD * workers:
                yield waiting.popleft().result()
        while waiting:
            yield waiting.popleft().result()
    finally:
        for future in waiting:
            future.cancel()


def _set_up_worker(parent: int) -> None:
    """To be stopped is the parent's affair (a terminal tells the whole group); a worker must not outlive its parent."""
    cv2.setNumThreads(1)
    signal.signal(signal.SIGINT, signal.SIG_IGN)
    signal.signal(signal.SIGTERM, signal.SIG_IGN)
    threading.Thread(target=_leave_with, args=(parent,), daemon=True).start()


def _leave_with(parent: int) -> None:
    while os.getppid() == parent:
        time.sleep(1.0)
    os._exit(1)
