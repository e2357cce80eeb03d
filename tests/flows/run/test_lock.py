"""One run at a time in a run folder."""

from __future__ import annotations

import json
import os
import signal
import socket
import subprocess
import sys
import time
from pathlib import Path

import pytest

from flows.run.lock import SILENCE_SECONDS, RunBusy, live_holder, read_holder, run_lock

HOLD = """
import signal, sys
from pathlib import Path
from flows.run.lock import run_lock
with run_lock(Path(sys.argv[1])):
    print("held", flush=True)
    signal.pause()
"""


@pytest.fixture
def lock(tmp_path: Path) -> Path:
    """Where the lock of a run folder would lie."""
    return tmp_path / "run" / ".steps" / "run.lock"


def _start_holder(lock: Path) -> subprocess.Popen[str]:
    process = subprocess.Popen([sys.executable, "-c", HOLD, str(lock)], stdout=subprocess.PIPE, text=True)
    assert process.stdout is not None
    assert process.stdout.readline() == "held\n"
    return process


def test_a_second_run_is_refused_with_pid_and_host_of_the_first(lock: Path) -> None:
    process = _start_holder(lock)
    try:
        with pytest.raises(RunBusy) as raised, run_lock(lock):
            pass
        assert f"pid {process.pid} on {socket.gethostname()}" in str(raised.value)
        assert (live_holder(lock) or {})["pid"] == process.pid
    finally:
        process.kill()
        process.wait()


def test_the_lock_of_a_killed_run_is_stale(lock: Path) -> None:
    process = _start_holder(lock)
    os.kill(process.pid, signal.SIGKILL)
    process.wait()
    heard: list[str] = []
    assert live_holder(lock) is None
    with run_lock(lock, heard.append):
        assert (read_holder(lock) or {})["pid"] == os.getpid()
    assert f"pid {process.pid}" in heard[0]


def test_a_lock_that_was_given_back_names_nobody(lock: Path) -> None:
    with run_lock(lock):
        pass
    heard: list[str] = []
    with run_lock(lock, heard.append):
        assert heard == []


def test_a_holder_on_another_machine_counts_until_it_falls_silent(lock: Path) -> None:
    lock.parent.mkdir(parents=True)
    lock.write_text(json.dumps({"pid": 7, "host": "elsewhere", "started_at": time.time()}))
    with pytest.raises(RunBusy, match="pid 7 on elsewhere"), run_lock(lock):
        pass
    long_ago = time.time() - 2 * SILENCE_SECONDS
    os.utime(lock, (long_ago, long_ago))
    heard: list[str] = []
    with run_lock(lock, heard.append):
        assert "elsewhere" in heard[0]


def test_a_flow_inside_the_command_that_holds_the_lock_may_go_on(lock: Path) -> None:
    with run_lock(lock), run_lock(lock):
        assert (read_holder(lock) or {})["pid"] == os.getpid()
