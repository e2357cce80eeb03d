"""What status says of a run: time that it took in all, and time that is left."""

from __future__ import annotations

import math
from dataclasses import replace
from pathlib import Path
from typing import Any

import pytest
from rich.console import Console

from evaluate.benchmark.pilot import PilotCell, Standing, pilot_updates
from flows.run.folder import Job, new_job, save_job
from flows.run.log import append_event
from flows.settings import load_settings
from flows.status import read_status, status_lines
from flows.steps import STEPS
from flows.steps.sequence import Planned
from flows.time_left import left_of, less_running, rates_of, seconds_left, time_spent, units_left
from flows.voice import Lines
from manifests.format.schema import SPLITS
from tests.flows.steps.test_found_masks import job_on

KILLED = [
    (0, "run", {}),
    (0, "step started", {"step": "synthesise"}),
    (0, "started", {"task": "synthesise mel 0"}),
    (60, "finished", {"task": "synthesise mel 0", "seconds": 60, "units": 30}),
    (61, "started", {"task": "synthesise mel 1"}),
    (1300, "progress", {"task": "synthesise mel 1", "done": 620, "total": 640}),
    (9000, "run", {}),  # it was killed, and went on hours later
    (9000, "step started", {"step": "synthesise"}),
    (9001, "step", {"step": "synthesise", "seconds": 1.4}),
]


def events(*told: tuple[float, str, dict[str, Any]]) -> list[dict[str, Any]]:
    return [{"time": time, "event": event, **fields} for time, event, fields in told]


def test_a_step_counts_the_time_of_the_runs_before_it_was_killed_and_not_the_pause() -> None:
    assert time_spent(events(*KILLED))["synthesise"] == pytest.approx(1301.4)


def test_a_class_counts_its_own_time() -> None:
    told = events(
        (0, "step started", {"step": "adapt"}),
        (0, "started", {"task": "adapt mel"}),
        (40, "interrupted", {"task": "adapt mel"}),
        (50, "step started", {"step": "adapt"}),
        (50, "started", {"task": "adapt mel"}),
        (70, "finished", {"task": "adapt mel", "seconds": 20, "units": 10}),
        (71, "step", {"step": "adapt", "seconds": 21}),
    )
    spent = time_spent(told)
    assert spent["adapt:mel"] == 60 and spent["adapt"] == pytest.approx(61)


def test_rates_are_by_kind_of_task_and_what_no_rate_tells_is_unknown() -> None:
    told = [
        (10, "finished", {"task": "benchmark classification real seed 0", "seconds": 10, "units": 20}),
        (20, "finished", {"task": "benchmark segmentation real seed 0", "seconds": 10, "units": 5}),
        (21, "finished", {"task": "report", "seconds": 1, "units": 0}),
    ]
    rates = rates_of(events(*told))
    assert rates == {"benchmark classification": 0.5, "benchmark segmentation": 2}
    units = {"benchmark": {"benchmark classification": 8, "benchmark segmentation": 3}, "gates": {"gates": math.nan}}
    assert seconds_left(units, rates) == {"benchmark": 10, "gates": None}


def test_tasks_side_by_side_share_the_time_that_passed() -> None:
    told = events(
        (0, "step started", {"step": "low-data"}),
        (0, "started", {"task": "low-data 10 % adapt mel"}),
        (1, "started", {"task": "low-data 10 % adapt nv"}),
        (9, "finished", {"task": "low-data 10 % adapt nv", "seconds": 8, "units": 4}),
        (12, "finished", {"task": "low-data 10 % adapt mel", "seconds": 12, "units": 8}),
    )
    assert time_spent(told)["low-data:10"] == 12
    assert rates_of(told) == {"low-data": 1}


def test_a_run_that_has_not_begun_knows_the_rates_of_a_run_beside_it(
    tmp_path: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    job = _job(tmp_path / "new")
    _job(tmp_path / "earlier")
    log = tmp_path / "earlier" / "log.jsonl"
    append_event(log, "run", preset="tiny")
    for time, task in enumerate(("classification", "segmentation")):
        append_event(log, "finished", task=f"benchmark {task} real seed 0", seconds=60, units=60, time=60 * time)
    status = read_status(job)
    settings = job.settings.benchmark
    cells = {task: len(settings.arms(task)) * settings.seeds for task in settings.tasks}
    controls = {task: sum(arm.is_control for arm in settings.arms(task)) for task in cells}
    pilot = {task: settings.training(task).updates * (0.25 * controls[task] + 0.5) for task in cells}
    assert status.left.steps["benchmark"] == sum(settings.training(t).updates * cells[t] + pilot[t] for t in cells)
    line = next(line for line in status_lines(job, status) if line.startswith("time left"))
    assert "at this machine's rates (benchmark" in line
    assert line.endswith("; prepare, adapt, gates, synthesise: not known yet")
    Lines(job, STEPS, Console(width=80))("step", {"step": "prepare", "seconds": 3, "found": {}})
    assert capsys.readouterr().out == "prepare          3.0 s  over 2 min left\n"


def test_a_benchmark_with_a_budget_takes_that_until_it_is_timed(tmp_path: Path) -> None:
    job = _job(tmp_path / "run", "benchmark.budget=3")
    left = read_status(job).left.among(["benchmark"])
    assert left.steps == {"benchmark": 180} and left.words(65) == "about 2 min left"


def test_what_runs_counts_down_and_tells_the_rate_of_all_that_run_together() -> None:
    units = {"synthesise": {"synthesise": 100.0}, "prepare": {"prepare": math.nan}, "folds": {"folds": math.nan}}
    running = {
        f"synthesise mel {shard}": {"event": "progress", "done": 10, "total": 20, "rate": 0.5} for shard in range(2)
    }
    rates: dict[str, float] = {}
    less_running(units, rates, running)
    less_running(units, rates, {"prepare": {"event": "progress", "done": 10, "total": 60, "rate": 5}})
    less_running(units, rates, {"folds 1 of 3 adapt mel": {"event": "progress", "done": 1, "total": 2, "rate": 1}})
    assert seconds_left(units, rates) == {"synthesise": 80, "prepare": 10, "folds": None}


def test_the_pilot_costs_its_rungs_but_the_last_one() -> None:
    settings = load_settings("tiny", None, ["benchmark.classifier.updates=80", "benchmark.pilot=2"]).benchmark
    left = [PilotCell("real", "classification", 0, 40)]
    assert pilot_updates(settings, "classification", 6) == 6 * 20 + 2 * 40
    climbing = Standing("classification", (*left, *left), {20: {}}, None)
    assert pilot_updates(settings, "classification", 6, climbing) == 80
    last = Standing("classification", (PilotCell("real", "classification", 0, 80),), {}, None)
    assert pilot_updates(settings, "classification", 6, last) == 0
    assert pilot_updates(settings, "classification", 6, Standing("classification", (), {}, 40)) == 0


def test_a_machine_without_rates_is_told_those_of_another_and_that_they_are_guesses(tmp_path: Path) -> None:
    job = replace(_job(tmp_path / "run"), preset="embedded")
    left = left_of(job, {"synthesise": {"synthesise": 1000.0}}, {})
    assert left.words() == "roughly 5 min left"
    assert left_of(job, {"synthesise": {"synthesise": 1000.0}}, {"synthesise": 1.0}).words() == "about 17 min left"


def _job(out: Path, *overrides: str) -> Job:
    data = out.parent / "data"
    data.mkdir(exist_ok=True)
    (data / "picture.jpg").write_bytes(b"x")
    job = new_job(data, out, "tiny", load_settings("tiny", None, overrides))
    save_job(job)
    return job


def test_adapters_whose_steps_follow_from_a_budget_are_known_once_their_pairs_are_counted(tmp_path: Path) -> None:
    job = replace(_job(tmp_path / "run"), settings=load_settings("embedded"))
    append_event(job.folder.log, "finished", task="adapt mel", seconds=30, units=60)
    assert read_status(job).left.steps["adapt"] is None
    counted = job_on(tmp_path / "counted", ("mel",), dict.fromkeys(SPLITS, [None] * 9))
    units = units_left(replace(counted, settings=job.settings), [Planned("adapt:mel", "not finished yet")], {})
    assert units == {"adapt": {"adapt": 60}}, "twenty steps times the root of nine pairs"
