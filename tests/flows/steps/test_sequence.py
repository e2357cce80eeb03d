"""The order of a run's steps: faults of the storage between two batches of work."""

from __future__ import annotations

from collections.abc import Callable
from pathlib import Path
from types import SimpleNamespace
from typing import Any

import pytest
from rich.console import Console

from flows.engine.calls import Call, Result
from flows.engine.tally import Tally
from flows.engine.watch import Watch
from flows.orchestration import engines
from flows.run.folder import Job, open_job
from flows.run.records import Step
from flows.steps import sequence
from manifests.errors import EvendermError, StorageFailed

SETTINGS = ["engine.retry_delay=0.01", "engine.retries=2"]


class Unsteady:
    """A step of two rounds, before the second of which the storage fails `faults` times."""

    def __init__(self, faults: int) -> None:
        self.faults = faults
        self.rounds = [[Call("adapt", "first", {})], [Call("adapt", "second", {})]]

    def steps(self, job: Job) -> list[Step]:
        return [Step("unsteady", 1, {}, {})]

    def next_calls(self, job: Job, failed: object) -> list[Call]:
        if len(self.rounds) == 1 and self.faults:
            self.faults -= 1
            raise StorageFailed("candidates: 503 Slow Down")
        return self.rounds.pop(0) if self.rounds else []


def unsteady(faults: int) -> Any:
    return SimpleNamespace(name="unsteady", by_class=False, module=Unsteady(faults))


def titles_run(job: Job, faults: int) -> list[str]:
    done: list[str] = []

    def engine(job: Job, calls: list[Call]) -> list[Result]:
        done.extend(call.title for call in calls)
        return [Result(call, {}, Tally()) for call in calls]

    sequence.run_step(unsteady(faults), job, Watch(None), engine, sequence.Outcome())  # type: ignore[arg-type]
    return done


def test_a_storage_fault_that_passes_is_waited_out_and_nothing_is_done_twice(
    unfinished: Callable[[str], Path],
) -> None:
    job = open_job(unfinished("adapt"), SETTINGS)
    assert titles_run(job, 1) == ["first", "second"]


def test_a_storage_fault_that_stays_ends_the_step(unfinished: Callable[[str], Path]) -> None:
    job = open_job(unfinished("adapt"), SETTINGS)
    with pytest.raises(StorageFailed, match="503"):
        titles_run(job, 1000)


def test_workers_that_cannot_take_a_task_are_one_sentence(
    unfinished: Callable[[str], Path], monkeypatch: pytest.MonkeyPatch
) -> None:
    def broken(*told: object) -> None:
        raise RuntimeError("Nanny failed to start.")

    monkeypatch.setattr(engines, "prefect_task", lambda job, call: SimpleNamespace(submit=broken))
    job = open_job(unfinished("adapt"), ["engine.name=dask"])
    with pytest.raises(
        EvendermError, match=r"engine.name=dask: no worker .* \(RuntimeError: Nanny failed to start\.\)"
    ):
        engines.spread_engine(job, [Call("adapt", "adapt mel", {"name": "mel"})])


def test_a_class_that_gave_up_is_told_with_the_gate_in_its_way(
    unfinished: Callable[[str], Path], capsys: pytest.CaptureFixture[str]
) -> None:
    line = "class mel: 3 of 10 pairs after 40 candidates; copy rejected most (30)"
    job = open_job(unfinished("adapt"), SETTINGS)
    figures = {"accepted": {"mel": 3}, "candidates": {"mel": 40}, "given_up": [line]}

    def engine(job: Job, calls: list[Call]) -> list[Result]:
        return [Result(call, figures if call.title == "second" else {}, Tally()) for call in calls]

    watch = Watch(None, Console(width=200))
    sequence.run_step(unsteady(0), job, watch, engine, sequence.Outcome())  # type: ignore[arg-type]
    assert capsys.readouterr().out.count(f"warning: {line}") == 1


@pytest.mark.parametrize("workers", [1, 2])
def test_the_judge_is_made_beside_adapters_where_workers_are_idle_and_told_as_a_step_of_its_own(
    unfinished: Callable[[str], Path], capsys: pytest.CaptureFixture[str], workers: int
) -> None:
    job, rounds = open_job(unfinished("adapt"), [*SETTINGS, f"engine.workers={workers}"]), list[list[str]]()

    def engine(job: Job, calls: list[Call]) -> list[Result]:
        rounds.append([call.kind for call in calls])
        return [Result(call, {"pairs": 3, "given_up": [f"of {call.kind}"]}, Tally(5.0)) for call in calls]

    sequence.run_steps(job, Watch(None, Console(width=200)), engine, ("adapt", "gates"))  # type: ignore[arg-type]
    adapters = len(rounds[0]) - (workers == 2)
    assert rounds == ([["gates", *["adapt"] * adapters]] if workers == 2 else [["adapt"] * adapters, ["gates"]])
    told = [line for line in capsys.readouterr().out.splitlines() if line.startswith("warning: of ")]
    assert told == ["warning: of adapt", "warning: of gates"]
