"""Ending on a signal: a flag that long work sees at its next progress report, and a last resort behind it."""

from __future__ import annotations

import faulthandler
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
    """Set once the process has been asked to end; `signal_name` says how, `met` whether it ever has been."""

    def __init__(self) -> None:
        self.signal_name: str | None = None
        self.met = False
        self._last_resort: threading.Timer | None = None

    def __bool__(self) -> bool:
        return self.signal_name is not None

    def set(self, signal_name: str) -> None:
        """Asks for a stop, and ends the process if that takes longer than the grace."""
        self.signal_name = signal_name
        self.arm()

    def arm(self) -> None:
        """Ends the process after the grace, if it has not ended by then."""
        if self._last_resort is not None:
            return
        self._last_resort = threading.Timer(GRACE_SECONDS, end_now)
        self._last_resort.daemon = True
        self._last_resort.start()
        # Behind it a watchdog that needs no turn of the interpreter: on a busy machine a thread may wait for long.
        faulthandler.dump_traceback_later(GRACE_SECONDS + 1, exit=True, file=_NOWHERE)

    def clear(self) -> None:
        """Forgets a request that has been met."""
        self.met = self.met or self.signal_name is not None
        self.signal_name = None
        if self._last_resort is not None:
            self._last_resort.cancel()
            self._last_resort = None
            faulthandler.cancel_dump_traceback_later()


STOP = StopFlag()
_NOWHERE = os.open(os.devnull, os.O_WRONLY)


@contextmanager
def stop_on_signals() -> Iterator[StopFlag]:
    """While it lasts, SIGINT, SIGTERM and SIGHUP set the process's stop flag; a second one ends it at once.

    Does nothing outside the main thread, where signals cannot be handled.
    """
    if threading.current_thread() is not threading.main_thread():
        yield STOP
        return
    before = {name: signal.getsignal(name) for name in SIGNALS}
    ear, mouth = os.pipe()
    os.set_blocking(mouth, False)
    threading.Thread(target=_listen, args=(ear,), daemon=True).start()
    take_signals(mouth)
    try:
        yield STOP
    finally:
        signal.set_wakeup_fd(-1)
        os.close(mouth)
        STOP.clear()
        for name, handler in before.items():
            signal.signal(name, handler)


def _listen(ear: int) -> None:
    """Counts the grace from the signal itself: its handler waits until the main thread's present call returns."""
    while heard := os.read(ear, 1):
        if heard[0] in SIGNALS:
            STOP.arm()
    os.close(ear)


def take_signals(mouth: int | None = None) -> None:
    """Sets the handlers (again: Prefect puts its own in their place when a flow starts).

    mouth: where the number of a signal is written the moment that it arrives.
    """
    if threading.current_thread() is threading.main_thread():
        if mouth is not None:
            signal.set_wakeup_fd(mouth, warn_on_full_buffer=False)
        for name in SIGNALS:
            signal.signal(name, _on_signal)


def _on_signal(number: int, frame: FrameType | None) -> None:
    if STOP:
        end_now()
    STOP.set(signal.Signals(number).name)


def end_now() -> None:
    """Ends the process without any further step."""
    message = f"evenderm: ended by {STOP.signal_name or 'a signal'}; the same command goes on from here"
    print(message, file=sys.stderr, flush=True)
    os._exit(1)
