"""Rows checked in processes of their own give what threads give, and end with whoever started them."""

from __future__ import annotations

import os
import signal
import subprocess
import sys
import time
from pathlib import Path

import psutil
import pytest

from manifests import workers
from manifests.phantom.draw import write_phantom
from manifests.prepare import pipeline
from manifests.prepare.prepare import prepare
from manifests.progress import StopRequested
from manifests.settings import PrepareSettings
from manifests.workers import WorkerKilled, side_by_side
from tests.waiting import until


@pytest.fixture
def isic(tmp_path: Path) -> Path:
    """18 pairs of 64 px in the ISIC 2017 layout."""
    write_phantom(tmp_path / "isic", 18, 0, size=64)
    return tmp_path / "isic"


@pytest.fixture
def in_processes(monkeypatch: pytest.MonkeyPatch) -> None:
    """Every row by itself, so that most are still to come after the first."""
    monkeypatch.setattr(pipeline, "TOGETHER", 1)
    monkeypatch.setattr(workers, "PROCESSES_FROM", 1)


def _command(process: psutil.Process) -> list[str]:
    try:
        return process.cmdline()
    except (psutil.ZombieProcess, psutil.NoSuchProcess):
        return []


def worker_processes() -> list[psutil.Process]:
    return [child for child in psutil.Process().children() if "popen_loky" in " ".join(_command(child))]


def test_processes_and_threads_give_the_same_manifest(
    isic: Path, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    prepare(isic, tmp_path / "threads", PrepareSettings(size=48, workers=2))
    monkeypatch.setattr(workers, "PROCESSES_FROM", 1)
    prepare(isic, tmp_path / "processes", PrepareSettings(size=48, workers=2))
    threads, processes = (
        {p.relative_to(tmp_path / name): p.read_bytes() for p in (tmp_path / name).rglob("*") if p.is_file()}
        for name in ("threads", "processes")
    )
    assert threads == processes


@pytest.mark.usefixtures("in_processes")
def test_a_killed_worker_is_one_sentence_and_nothing_is_written(isic: Path, tmp_path: Path) -> None:
    def kill_one(*_: int, **__: object) -> None:
        for process in worker_processes()[:1]:
            process.kill()

    with pytest.raises(WorkerKilled, match=r"was killed.*prepare\.workers=1"):
        prepare(isic, tmp_path / "out", PrepareSettings(size=48, workers=2), kill_one)
    assert not (tmp_path / "out/manifest.json").exists()


@pytest.mark.usefixtures("in_processes")
def test_a_stop_ends_the_workers_at_once(isic: Path, tmp_path: Path) -> None:
    def stop(*_: int, **__: object) -> None:
        raise StopRequested

    with pytest.raises(StopRequested):
        prepare(isic, tmp_path / "out", PrepareSettings(size=48, workers=2), stop)
    assert not worker_processes()


ABANDONED = """
import os, signal
from manifests.workers import worker_pool
with worker_pool(2, 10**6) as pool:
    print(*{pool.submit(os.getpid).result() for _ in range(20)}, flush=True)
    signal.pause()
"""


def test_workers_do_not_outlive_a_parent_that_was_killed() -> None:
    """The script comes by standard input: processes must start without importing it again."""
    parent = subprocess.Popen(
        [sys.executable, "-"],
        stdin=subprocess.PIPE,
        stdout=subprocess.PIPE,
        env=os.environ | {"PYTHONPATH": str(Path(__file__).parents[2])},
        text=True,
    )
    assert parent.stdin is not None and parent.stdout is not None
    parent.stdin.write(ABANDONED)
    parent.stdin.close()
    workers = [int(pid) for pid in parent.stdout.readline().split()]
    assert workers and all(psutil.pid_exists(pid) for pid in workers)
    parent.send_signal(signal.SIGKILL)
    parent.wait()
    until(lambda: not any(psutil.pid_exists(pid) for pid in workers), "the end of the workers")


def test_outcomes_come_in_order_and_few_are_begun() -> None:
    begun: list[int] = []

    def work(number: int) -> int:
        begun.append(number)
        time.sleep(0.002 * (number % 3))
        return number

    with workers.worker_pool(2, 10) as pool:
        outcomes = side_by_side(pool, work, range(1000), workers=2)
        assert [next(outcomes) for _ in range(20)] == list(range(20))
        outcomes.close()  # type: ignore[attr-defined]
    assert len(begun) <= 20 + workers.AHEAD * 2
