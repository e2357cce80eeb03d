"""The faults of a campaign: each runs the command, does it harm at a random moment and says what came of it."""

from __future__ import annotations

import contextlib
import errno
import os
import random
import signal
import time
from collections.abc import Callable, Iterator, Mapping
from dataclasses import dataclass
from pathlib import Path
from subprocess import TimeoutExpired

import psutil

from tests.faults.broken_storage import MARK, STORAGE_FAULTS
from tests.forked import ForkedCommand
from tests.waiting import POLL_SECONDS, until, work_of

STOP_SECONDS = 10.0
# A run that lost its server or a worker, or its disk, must end within this, well or badly.
END_SECONDS = 240.0
LASTING = 1_000_000
# Before the first no process has begun its work; the start takes about the second.
FIRST_SECONDS = 0.2
START_SECONDS = 1.0


@dataclass(frozen=True)
class Victim:
    """A run that is put through faults: its command, how much it works undisturbed, and how far it should come
    between two faults, both in processor seconds, so that a busy machine does not move the moments."""

    data: Path
    out: Path
    # What the latest command printed; beside the room, which may be full.
    printed: Path
    settings: tuple[str, ...]
    engine: str
    work: float
    stride: float
    moments: random.Random

    def arguments(self) -> list[str]:
        """The command, the same every time."""
        words = ["run", "--data", str(self.data), "--out", str(self.out), "--preset", "tiny"]
        for setting in (*self.settings, f"engine.name={self.engine}"):
            words += ["--set", setting]
        return words

    @contextlib.contextmanager
    def started(self, module: str = "flows.command_line", *first: str) -> Iterator[ForkedCommand]:
        """The running command; it and what it started are gone afterwards."""
        # A server that is shared with others is not for killing.
        environment = {name: value for name, value in os.environ.items() if name != "PREFECT_API_URL"}
        process = ForkedCommand(module, [*first, *self.arguments()], environment, self.printed)
        try:
            yield process
        finally:
            offspring = _offspring(process.pid)
            if process.poll() is None:
                process.kill()
            process.wait()
            for child in offspring:
                with contextlib.suppress(psutil.Error):
                    child.kill()

    def waited(self, process: ForkedCommand) -> bool:
        """Waits until a random share of the work is done; whether the process still runs then."""
        begun = work_of(process.pid)
        moment = begun + self.moments.uniform(FIRST_SECONDS, 2 * (START_SECONDS + self.stride))
        while process.poll() is None and work_of(process.pid) < moment:
            time.sleep(POLL_SECONDS)
        return process.poll() is None

    def output(self) -> str:
        """What the latest command printed."""
        return self.printed.read_text(encoding="utf-8", errors="replace")


@dataclass(frozen=True)
class Strike:
    """What came of a fault: whether it struck before the run was over, how the run ended, what was wrong with that."""

    struck: bool
    code: int | None = None
    complaint: str | None = None


def kill_run(victim: Victim) -> Strike:
    """SIGKILL of the run."""
    with victim.started() as process:
        struck = victim.waited(process)
        process.kill()
        return Strike(struck, process.wait())


def terminate_run(victim: Victim) -> Strike:
    """SIGTERM, which must end the run within ten seconds of work and in one line."""
    with victim.started() as process:
        struck = victim.waited(process)
        before, ended = work_of(process.pid), process.work_of_ended()
        process.terminate()
        strike = _ended(victim, process, struck)
        took = process.work_of_ended() - ended - before
    if took > STOP_SECONDS:
        return Strike(struck, strike.code, f"worked for {took:.1f} s after SIGTERM")
    # Before the command line has its handlers, the signal ends the process as the kernel does.
    return Strike(struck, strike.code) if strike.code == -signal.SIGTERM else strike


def kill_server(victim: Victim) -> Strike:
    """SIGKILL of the Prefect server of the run, which may end well or badly, but not wrongly."""
    return _kill_child(victim, "flows.orchestration.server")


def kill_worker(victim: Victim) -> Strike:
    """SIGKILL of one of the run's two Dask workers; the run may end well or badly, but not wrongly."""
    return _kill_child(victim, "spawn_main")


def fill_disk(victim: Victim) -> Strike:
    """The disk of the run folder is full until the run is over."""
    ballast = victim.out.parent / "ballast"
    try:
        with victim.started() as process:
            struck = victim.waited(process)
            if struck:
                _fill(ballast)
            return _ended(victim, process, struck)
    finally:
        ballast.unlink(missing_ok=True)


def break_storage(victim: Victim) -> Strike:
    """Storage answers 503 or cuts an upload, once or for good; the run must go on for a while, or end by itself."""
    times = victim.moments.choice((1, 2, LASTING))
    after = victim.moments.randrange(12)
    with victim.started(
        "tests.faults.broken_storage", victim.moments.choice(STORAGE_FAULTS), str(after), str(times)
    ) as process:
        if times == LASTING:
            strike = _ended(victim, process, True)
            return Strike(MARK in victim.output(), strike.code, strike.complaint)
        until(lambda: process.poll() is not None or MARK in victim.output(), "a storage fault or the end of the run")
        goes_on = victim.waited(process)
        code = 0 if goes_on else process.returncode
    struck = MARK in victim.output()
    return Strike(struck, code, "a storage fault that passes ended the run" if struck and code else None)


@dataclass(frozen=True)
class Fault:
    """A fault that a run is put through, and the engine that it takes."""

    title: str
    strike: Callable[[Victim], Strike]
    engine: str = "plain"


FAULTS: Mapping[str, Fault] = {
    "kill": Fault("SIGKILL of the process", kill_run),
    "term": Fault("SIGTERM", terminate_run),
    "disk": Fault("disk full", fill_disk),
    "storage": Fault("storage answers 503 or cuts a write", break_storage),
    "server": Fault("SIGKILL of the Prefect server", kill_server, "local"),
    "worker": Fault("SIGKILL of a Dask worker", kill_worker, "dask"),
}


def _kill_child(victim: Victim, words: str) -> Strike:
    """Kills one process that the run started and whose command line holds `words`."""
    with victim.started() as process:
        running = victim.waited(process)
        children: list[psutil.Process] = []
        while running and not children:
            children = [child for child in _offspring(process.pid) if words in _command(child)]
            time.sleep(POLL_SECONDS)
            running = process.poll() is None
        if children:
            with contextlib.suppress(psutil.NoSuchProcess):
                victim.moments.choice(children).kill()
        return _ended(victim, process, bool(children))


def _ended(victim: Victim, process: ForkedCommand, struck: bool) -> Strike:
    """How the run ends by itself: a traceback, a strange exit code or no end at all is a complaint."""
    try:
        code = process.wait(timeout=END_SECONDS + 4 * victim.work)
    except TimeoutExpired:
        return Strike(struck, None, "did not end")
    if "Traceback" in victim.output():
        return Strike(struck, code, f"ended in a traceback: {victim.output().strip().splitlines()[-1]}")
    return Strike(struck, code, None if code in (0, 1) else f"exit code {code}")


def _offspring(pid: int) -> list[psutil.Process]:
    try:
        return psutil.Process(pid).children(recursive=True)
    except psutil.NoSuchProcess:
        return []


def _command(process: psutil.Process) -> str:
    try:
        return " ".join(process.cmdline())
    except psutil.Error:
        return ""


def _fill(ballast: Path) -> None:
    """Writes a file until its disk takes no further byte."""
    descriptor = os.open(ballast, os.O_WRONLY | os.O_CREAT | os.O_APPEND, 0o600)
    try:
        for size in (2**20, 2**12):
            while True:
                try:
                    os.write(descriptor, b"\0" * size)
                except OSError as error:
                    if error.errno != errno.ENOSPC:
                        raise
                    break
    finally:
        os.close(descriptor)
