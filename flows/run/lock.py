"""One run at a time in a run folder: a lock that names its holder and does not outlive it."""

from __future__ import annotations

import fcntl
import json
import os
import socket
import threading
import time
from collections.abc import Callable, Iterator
from contextlib import contextmanager
from pathlib import Path
from typing import Any

from manifests.errors import EvendermError

# Locks that this process holds: a flow may start inside the command that already took its folder.
_HELD: set[Path] = set()

BEAT_SECONDS = 10.0
# A holder on another machine that has not touched the lock for this long is taken for dead.
SILENCE_SECONDS = 60.0


class RunBusy(EvendermError):
    """Another run holds the run folder."""


@contextmanager
def run_lock(path: Path, on_stale: Callable[[str], None] = lambda message: None) -> Iterator[None]:
    """Holds the lock file at `path` for the duration.

    The kernel drops the lock of a process that dies, so a lock file left behind on this machine is known
    to be stale; one from another machine is stale once its holder stopped touching it. `on_stale` hears of
    a lock that was taken over. Raises RunBusy, with pid and host of the holder, if the lock is held.
    """
    if path in _HELD:
        yield
        return
    path.parent.mkdir(parents=True, exist_ok=True)
    with path.open("a+", encoding="utf-8") as stream:
        try:
            fcntl.flock(stream, fcntl.LOCK_EX | fcntl.LOCK_NB)
        except OSError:
            raise _busy(path, read_holder(path)) from None
        holder = read_holder(path)
        if holder is not None:
            if holder.get("host") != socket.gethostname() and _silence(path) < SILENCE_SECONDS:
                raise _busy(path, holder)
            on_stale(f"the run of pid {holder.get('pid')} on {holder.get('host')} is gone; going on from there")
        _write_holder(path)
        done = threading.Event()
        beat = threading.Thread(target=_beat, args=(path, done), daemon=True)
        beat.start()
        _HELD.add(path)
        try:
            yield
        finally:
            _HELD.discard(path)
            done.set()
            beat.join()
            # The file stays: removing it would let a third process lock a new file beside a waiting second.
            os.truncate(path, 0)


def read_holder(path: Path) -> dict[str, Any] | None:
    """Who holds or held the lock: pid, host and start time; None if nobody is named."""
    try:
        holder = json.loads(path.read_text(encoding="utf-8"))
    except (OSError, ValueError):
        return None
    return holder if isinstance(holder, dict) else None


def live_holder(path: Path) -> dict[str, Any] | None:
    """The holder of the lock if it is still at work, as seen from this machine."""
    holder = read_holder(path)
    if holder is None:
        return None
    if holder.get("host") != socket.gethostname():
        return holder if _silence(path) < SILENCE_SECONDS else None
    with path.open("a+", encoding="utf-8") as stream:
        try:
            fcntl.flock(stream, fcntl.LOCK_SH | fcntl.LOCK_NB)
        except OSError:
            return holder
    return None


def _busy(path: Path, holder: dict[str, Any] | None) -> RunBusy:
    who = f"pid {holder.get('pid')} on {holder.get('host')}" if holder else "another process"
    return RunBusy(f"{path.parent.parent}: in use by the run of {who}; wait for it or stop it")


def _write_holder(path: Path) -> None:
    holder = {"pid": os.getpid(), "host": socket.gethostname(), "started_at": round(time.time(), 1)}
    # In place, because the lock belongs to this file and not to its name.
    path.write_text(json.dumps(holder), encoding="utf-8")


def _silence(path: Path) -> float:
    return time.time() - path.stat().st_mtime


def _beat(path: Path, done: threading.Event) -> None:
    while not done.wait(BEAT_SECONDS):
        os.utime(path)
