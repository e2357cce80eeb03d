"""Calls side by side in worker processes: their outcomes in order, and no worker outlives its run."""

from __future__ import annotations

import concurrent.futures
import os
import signal
import time
from collections.abc import Sequence
from concurrent.futures import Future
from pathlib import Path
from types import SimpleNamespace
from typing import Any

import psutil
import pytest

from flows.engine import machine, workers
from flows.engine.calls import Call, Result
from flows.engine.machine import GIB, usable_cores, worker_count
from flows.engine.stopping import GRACE_SECONDS, STOP
from flows.engine.tally import Tally
from flows.engine.watch import Watch
from flows.engine.workers import POLL_SECONDS, Workers, side_by_side
from flows.run.folder import Job, RunFolder
from flows.run.log import LogTail, append_event
from flows.settings import load_settings
from manifests.errors import BadInput
from manifests.progress import StopRequested
from manifests.workers import WorkerKilled
from tests.waiting import until


def perform(out: str, call: Call) -> Result:
    """What a call's title asks for, as a step's work would."""
    if call.title == "bad":
        until(Path(out, "begun").exists, "the other call")
        raise BadInput("data: no pictures")
    if call.title == "broken":
        raise RuntimeError("diverged")
    if call.title == "killed":
        os.kill(os.getpid(), signal.SIGKILL)
    if call.title == "long":
        Path(out, "begun").touch()
        until(lambda: STOP, "a stop")
        Path(out, "checkpoint").touch()
        raise StopRequested("long: stopped")
    append_event(Path(out, "log.jsonl"), "warning", message=f"{call.title} is slow")
    time.sleep(0.3 if call.title == "0" else 0.0)
    return Result(call, {"pid": os.getpid(), "threads": os.environ.get("OMP_NUM_THREADS")}, Tally(units=1))


def performed(out: Path, titles: Sequence[str], count: int = 2) -> list[Result]:
    job: Any = SimpleNamespace(folder=RunFolder(out))
    with Workers(perform, count) as own:
        try:
            return side_by_side(own, job, [Call("adapt", title, {}) for title in titles])
        except BaseException:
            own.stop()  # as Prefect's engine does, before the end of the run
            raise


def test_outcomes_come_in_the_order_of_the_calls_and_one_that_fails_alone_stays_alone(tmp_path: Path) -> None:
    results = performed(tmp_path, ["0", "1", "broken", "3"])
    assert [result.call.title for result in results] == ["0", "1", "broken", "3"]
    assert [type(result.error) for result in results] == [type(None), type(None), RuntimeError, type(None)]
    assert os.getpid() not in {result.figures["pid"] for result in results if not result.error}
    assert not _workers()


def test_one_call_or_one_worker_stays_in_this_process(tmp_path: Path) -> None:
    for titles, count in ((["0"], 2), (["0", "1"], 1)):
        assert {result.figures["pid"] for result in performed(tmp_path, titles, count)} == {os.getpid()}


def test_what_ends_a_run_lets_the_calls_in_work_end_in_a_checkpoint_within_one_grace(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    graces: list[float] = []

    def wait(futures: Sequence[Future[Result]], seconds: float) -> Any:
        graces.extend([seconds] if seconds != POLL_SECONDS else [])
        return concurrent.futures.wait(futures, seconds)

    monkeypatch.setattr(workers, "wait", wait)
    with pytest.raises(BadInput, match="no pictures"):
        performed(tmp_path, ["bad", "long", "3"])
    assert (tmp_path / "checkpoint").exists() and not _workers()
    assert len(graces) == 2 and graces[1] < graces[0] <= GRACE_SECONDS


def test_a_killed_worker_is_one_sentence(tmp_path: Path) -> None:
    with pytest.raises(WorkerKilled, match=r"a worker process was killed.*engine\.workers=1"):
        performed(tmp_path, ["killed", "1"])
    assert not _workers()


def test_the_terminal_shows_what_workers_log(tmp_path: Path) -> None:
    log, told = tmp_path / "log.jsonl", list[str]()
    append_event(log, "warning", message="of an earlier run")
    heard = list[str]()
    tail, watch = LogTail(log), Watch(tmp_path / "none", voice=lambda event, fields: heard.append(event))
    watch.say = told.append  # type: ignore[method-assign]
    watch.clock = lambda: 1e9
    append_event(log, "progress", task="adapt mel", unit="steps", done=3, total=8, rate=2.0, memory=1, loss=0.25)
    append_event(log, "warning", message="a\u2028b.jpg is slow")
    log.open("a").write('{"time": 1, "event": "cut short')
    for event in tail.new_events():
        watch.follow(event)
    assert told == ["  adapt mel: 3 of 8, 2 steps/s, loss 0.25", "warning: a\u2028b.jpg is slow"]
    assert heard == ["progress", "warning"]


@pytest.mark.parametrize(
    ("overrides", "cores", "memory", "gpu", "count"),
    [
        ((), 4, 64, False, 4),
        (("engine.threads=2",), 4, 64, False, 2),
        ((), 4, 7, False, 2),
        ((), 4, 1, False, 1),
        ((), 4, 64, True, 1),
        (("base.path=sd",), 4, 40, False, 2),
        (("engine.workers=3",), 1, 1, True, 3),
    ],
)
def test_a_run_has_a_worker_for_each_core_as_far_as_memory_goes(
    overrides: Sequence[str], cores: int, memory: int, gpu: bool, count: int, monkeypatch: pytest.MonkeyPatch
) -> None:
    settings = load_settings("embedded", None, overrides)
    assert settings.engine.threads == 2 if "engine.threads=2" in overrides else 1
    monkeypatch.setattr(machine, "usable_cores", lambda: cores)
    monkeypatch.setattr(machine, "usable_memory", lambda: memory * GIB)
    monkeypatch.setattr(machine, "has_gpu", lambda: gpu)
    monkeypatch.setattr(psutil, "virtual_memory", lambda: SimpleNamespace(total=99 * GIB, available=99 * GIB))
    assert worker_count(Job(RunFolder(Path()), Path(), "embedded", settings)) == count


@pytest.mark.parametrize("files", [{"cpu.max": "100000 100000"}, {"cpu/cpu.cfs_quota_us": "150000"}])
def test_cores_are_those_of_the_affinity_and_of_the_containers_quota(
    files: dict[str, str], tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(machine, "CGROUP", str(tmp_path))
    assert usable_cores() == len(os.sched_getaffinity(0))
    for name, content in {**files, "cpu/cpu.cfs_period_us": "100000"}.items():
        (tmp_path / name).parent.mkdir(exist_ok=True)
        (tmp_path / name).write_text(content + "\n")
    assert usable_cores() == 1


def _workers() -> list[psutil.Process]:
    return [child for child in psutil.Process().children() if "popen_loky" in " ".join(child.cmdline())]
