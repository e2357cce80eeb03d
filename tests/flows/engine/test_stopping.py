"""A request to stop ends the process in time, whatever the process is busy with."""

from __future__ import annotations

import signal
import subprocess
import sys
from pathlib import Path

import pytest

BUSY = """
import hashlib, sys
from flows.engine import stopping
stopping.GRACE_SECONDS = 0.3
with stopping.stop_on_signals():
    print("busy", flush=True)
    hashlib.pbkdf2_hmac("sha256", b"a", b"b", 2**31 - 1)  # in which no handler of a signal can run
"""
SLOW_END = """
import atexit, sys, time
from flows import command_line
from flows.engine.stopping import STOP
def stopped(arguments):
    from flows.engine.stopping import stop_on_signals
    with stop_on_signals():
        print("busy", flush=True)
        while not STOP:
            time.sleep(0.01)
    return 1
command_line.exit_code = stopped
atexit.register(time.sleep, 600)
command_line.main([])
"""


@pytest.mark.parametrize("program", [BUSY, SLOW_END], ids=["in a long call", "with slow libraries at its end"])
def test_a_process_that_is_told_to_end_does(program: str) -> None:
    root = Path(__file__).parents[3]
    process = subprocess.Popen([sys.executable, "-c", program], cwd=root, stdout=subprocess.PIPE, text=True)
    try:
        assert process.stdout is not None and process.stdout.readline() == "busy\n"
        process.send_signal(signal.SIGTERM)
        assert process.wait(timeout=60) == 1  # for ever, before
    finally:
        process.kill()
        process.communicate()
