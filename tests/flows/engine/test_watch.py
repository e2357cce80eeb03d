"""What is logged, shown and warned of while work goes on."""

from __future__ import annotations

import io
from pathlib import Path

import pytest
from rich.console import Console

from flows.engine.stopping import STOP
from flows.engine.watch import TimeLimitReached, Watch, listening
from flows.run.log import append_event, read_events
from manifests.progress import StopRequested


class Clock:
    """A clock that stands still unless a test moves it."""

    now = 1000.0

    def __call__(self) -> float:
        return self.now


def test_a_task_logs_its_rate_memory_and_figures(tmp_path: Path) -> None:
    clock = Clock()
    watch = Watch(tmp_path / "log.jsonl", clock=clock)
    with watch.task("adapt mel", "steps") as progress:
        for step in range(1, 21):
            clock.now += 0.5
            progress(step, 20, loss=1 / step)
    events = list(read_events(tmp_path / "log.jsonl"))
    assert [event["event"] for event in events] == ["started", "progress", "progress", "finished"]
    assert events[2]["done"] == 20 and events[2]["rate"] == 2 and events[2]["loss"] == 0.05
    assert events[3]["units"] == 20 and events[3]["seconds"] == 10 and events[3]["memory"] > 1e6


def test_what_an_earlier_run_had_done_does_not_count(tmp_path: Path) -> None:
    clock = Clock()
    with Watch(tmp_path / "log.jsonl", clock=clock).task("adapt mel") as progress:
        for step in range(151, 161):
            clock.now += 1
            progress(step, 300)
    assert progress.tally.units == 10 and progress.rate == 1


def test_a_task_of_parts_that_count_anew_adds_them_up_and_warns_of_none(tmp_path: Path) -> None:
    clock = Clock()
    with Watch(tmp_path / "log.jsonl", clock=clock).task("quality") as progress:
        for seconds in (1, 5):
            for step in range(1, 101):
                clock.now += seconds
                progress(step, 100)
    events = list(read_events(tmp_path / "log.jsonl"))
    assert not [event for event in events if event["event"] == "warning"]
    assert progress.tally.units == 200 and all(event["rate"] > 0 for event in events if event["event"] == "progress")


def test_a_part_that_reports_once_and_one_that_counts_anew_are_logged(tmp_path: Path) -> None:
    clock = Clock()
    with Watch(tmp_path / "log.jsonl", clock=clock).task("quality") as progress:
        for step, total in ((10, 10), (1, 2), (2, 2)):
            clock.now += 6
            progress(step, total)
    assert progress.tally.units == 12


def test_a_rate_that_falls_and_costs_no_minutes_is_not_warned_of(tmp_path: Path) -> None:
    clock = Clock()
    with Watch(tmp_path / "log.jsonl", clock=clock).task("adapt mel") as progress:
        for step in range(200):
            clock.now += 3 if 100 <= step < 150 else 1
            progress(step, 200)
    assert not [e for e in read_events(tmp_path / "log.jsonl") if e["event"] == "warning"]


def test_a_slow_step_warns_once_when_it_has_cost_minutes(tmp_path: Path) -> None:
    clock = Clock()
    screen = io.StringIO()
    watch = Watch(tmp_path / "log.jsonl", Console(file=screen), clock)
    for dx in ("mel", "nv"):
        with watch.task(f"adapt {dx}") as progress:
            for step in range(300):
                clock.now += 1 if step < 100 else 3
                progress(step, 300)
    warnings = [e["message"] for e in read_events(tmp_path / "log.jsonl") if e["event"] == "warning"]
    assert len(warnings) == 1 and "adapt mel" in warnings[0] and "has cost 2 minutes" in warnings[0]
    assert screen.getvalue().count("half its usual") == 1


def test_a_request_to_stop_reaches_the_work_and_is_logged(tmp_path: Path) -> None:
    watch = Watch(tmp_path / "log.jsonl")
    STOP.set("SIGTERM")
    try:
        with pytest.raises(StopRequested, match="SIGTERM"), watch.task("adapt mel") as progress:
            progress(1, 2)
    finally:
        STOP.clear()
    assert [e["event"] for e in read_events(tmp_path / "log.jsonl")] == ["started", "interrupted"]


def test_a_task_past_its_limit_is_told_to_checkpoint(tmp_path: Path) -> None:
    clock = Clock()
    watch = Watch(tmp_path / "log.jsonl", clock=clock)
    with pytest.raises(TimeLimitReached, match="limit of 5 s"), watch.task("adapt mel", limit=5) as progress:
        progress(1, 9)
        clock.now += 6
        progress(2, 9)


def test_listeners_hear_of_the_work_done_in_their_context(tmp_path: Path) -> None:
    heard: list[str] = []
    watch = Watch(tmp_path / "log.jsonl")
    with listening(lambda event, fields: heard.append(event)):
        with listening(lambda event, fields: heard.append(f"inner {event}")), watch.task("prepare"):
            watch.warn("slow")
        watch.event("step")
    watch.event("later")
    assert heard == ["inner started", "inner warning", "inner finished", "step"], "the page tells a warning once"


def test_a_log_line_cut_short_by_a_kill_costs_only_itself(tmp_path: Path) -> None:
    log = tmp_path / "log.jsonl"
    append_event(log, "first")
    with log.open("a") as stream:
        stream.write('{"time": 1, "event": "cu')
    append_event(log, "second")
    assert [event["event"] for event in read_events(log)] == ["first", "second"]
