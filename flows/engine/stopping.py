"""Ending on a signal: a flag that long work sees at its next progress report, and a last resort behind it."""

from __future__ import annotations

import os
import signal
import sys
import threading
from collections.abc import Iterator
from contextlib import contextmanager
from types import FrameType

# Work that has not reached a checkpoint by then is cut off, as if the power had gone: resuming copes with it.
GRACE_SECONDS = 8.0


SIGNALS = (signal.SIGINT, signal.SIGTERM, signal.SIGHUP)


class StopFlag:
    """Set once the process has been asked to end; `signal_name` says how."""

    def __init__(self) -> None:
        self.signal_name: str | None = None
        self._last_resort: threading.Timer | None = None

    def __bool__(self) -> bool:
        return self.signal_name is not None

    def set(self, signal_name: str) -> None:
        """Asks for a stop, and ends the process if that takes longer than the grace."""
        self.signal_name = signal_name
        self._last_resort = threading.Timer(GRACE_SECONDS, end_now)
        self._last_resort.daemon = True
        self._last_resort.start()

    def clear(self) -> None:
        """Forgets a request that has been met."""
        self.signal_name = None
        if self._last_resort is not None:
            self._last_resort.cancel()


STOP = StopFlag()


@contextmanager
def stop_on_signals() -> Iterator[StopFlag]:
    """While it lasts, SIGINT, SIGTERM and SIGHUP set the process's stop flag; a second one ends it at once.

    Does nothing outside the main thread, where signals cannot be handled.
    """
    if threading.current_thread() is not threading.main_thread():
        yield STOP
        return
    before = {name: signal.getsignal(name) for name in SIGNALS}
    take_signals()
    try:
        yield STOP
    finally:
        STOP.clear()
        for name, handler in before.items():
            signal.signal(name, handler)


def take_signals() -> None:
    """Sets the handlers (again: Prefect puts its own in their place when a flow starts)."""
    if threading.current_thread() is threading.main_thread():
        for name in SIGNALS:
            signal.signal(name, _on_signal)


def _on_signal(number: int, frame: FrameType | None) -> None:
    if STOP:
        end_now()
    STOP.set(signal.Signals(number).name)


def end_now() -> None:
    """Ends the process without any further step."""
    message = f"evenderm: ended by {STOP.signal_name}; the same command goes on from here"
    print(message, file=sys.stderr, flush=True)
    os._exit(1)
