"""Waiting for what another process, thread or page does, and telling how much it has worked."""

from __future__ import annotations

import contextlib
import subprocess
import time
from collections.abc import Callable
from typing import TypeVar

import psutil

from tests.forked import ForkedCommand

Found = TypeVar("Found")
Process = subprocess.Popen[str] | ForkedCommand
# So generous that only what never happens is given up: a busy machine is no failure.
PATIENCE_SECONDS = 300.0
POLL_SECONDS = 0.1


def until(condition: Callable[[], Found], what: str, process: Process | None = None) -> Found:
    """The first value of `condition` that is true; fails, naming `what`, if none comes or the process ends before."""
    end = time.monotonic() + PATIENCE_SECONDS
    while time.monotonic() < end:
        is_over = process is not None and process.poll() is not None
        with contextlib.suppress(OSError):
            if found := condition():
                return found
        if is_over and process is not None:
            raise AssertionError(f"the process ended before {what}: {process.communicate()[0]}")
        time.sleep(POLL_SECONDS)
    raise AssertionError(f"it did not happen in {PATIENCE_SECONDS:g} s: {what}")


def work_of(pid: int) -> float:
    """Processor seconds that a process and what it started have used so far; 0 once it is gone.

    A measure of work: on a busy machine the same work takes more time, but not more of these.
    """
    used = 0.0
    with contextlib.suppress(psutil.Error):
        process = psutil.Process(pid)
        for one in (process, *process.children(recursive=True)):
            with contextlib.suppress(psutil.Error):
                used += sum(one.cpu_times()[:4])
    return used
