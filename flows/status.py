"""How a run folder stands: what is done, what runs, what is left and how long that may take."""

from __future__ import annotations

import time
from collections.abc import Iterable, Mapping
from dataclasses import dataclass, field
from typing import Any

from flows.engine.terminal import about, duration
from flows.engine.watch import ENDS, KNOWN
from flows.run.folder import Job
from flows.run.lock import live_holder
from flows.run.log import read_events
from flows.run.records import read_record
from flows.steps.sequence import Planned, plan
from flows.time_left import Left, left_of, less_running, machine_rates, time_spent, units_left


@dataclass
class Activity:
    """What the log tells of the run that wrote last.

    running: last progress event of each task that has not ended, by title; calls: how many of a step's calls
    are done and how many there are.
    """

    running: dict[str, Mapping[str, Any]] = field(default_factory=dict)
    calls: dict[str, tuple[int, int]] = field(default_factory=dict)
    warnings: list[str] = field(default_factory=list)
    last_time: float = 0.0


@dataclass(frozen=True)
class Status:
    """How a run stands: holder is who runs it now, if anybody; spent: seconds in all, by step and by class."""

    holder: Mapping[str, Any] | None
    steps: list[Planned]
    activity: Activity
    left: Left
    spent: Mapping[str, float]


def read_status(job: Job) -> Status:
    """Reads a run folder, finished or not, without changing it."""
    events = list(read_events(job.folder.log))
    activity = activity_of(events)
    holder = live_holder(job.folder.lock)
    if holder is None:
        activity.running.clear()
    steps = _with_gates(job, plan(job))
    units, rates = units_left(job, steps, activity.calls), machine_rates(job, events)
    less_running(units, rates, activity.running)
    return Status(holder, steps, activity, left_of(job, units, rates), time_spent(events))


def _with_gates(job: Job, steps: list[Planned]) -> list[Planned]:
    """The steps with the gates among them, which a run no longer asks for once its pairs are judged."""
    names = [step.name for step in steps]
    if "gates" in names or not job.settings.synthesis.gates or read_record(job.folder, "gates") is None:
        return steps
    place = names.index("synthesise") if "synthesise" in names else len(steps)
    return [*steps[:place], Planned("gates", None), *steps[place:]]


def activity_of(events: Iterable[Mapping[str, Any]]) -> Activity:
    """What the events since the last start of a run come to."""
    activity = Activity()
    for event in events:
        name, task = event["event"], str(event.get("task", ""))
        if name == "run":
            activity = Activity()
        elif name in ("started", "progress"):
            activity.running[task] = event
        elif name in ENDS:
            activity.running.pop(task, None)
        elif name == "calls":
            activity.calls[str(event["step"])] = (int(event["done"]), int(event["total"]))
        elif name == "warning":
            activity.warnings.append(str(event["message"]))
        activity.last_time = float(event["time"])
    return activity


def status_lines(job: Job, status: Status) -> list[str]:
    """The status as lines for a terminal."""
    lines = [f"{job.name} in {job.folder.path}"]
    if status.holder is not None:
        since = time.strftime("%Y-%m-%d %H:%M", time.localtime(float(status.holder["started_at"])))
        lines.append(f"running since {since}: pid {status.holder['pid']} on {status.holder['host']}")
    else:
        done = all(step.reason is None for step in status.steps)
        lines.append("finished" if done else "not running; the command that started it goes on from here")
    lines += [plan_line(job, step, status.spent.get(step.name)) for step in status.steps]
    for title, event in status.activity.running.items():
        lines.append(f"  now: {title}{_progress(event)}")
    lines += [f"  warning: {message}" for message in status.activity.warnings[-3:]]
    if status.left.steps:
        lines.append(_left_line(status.left))
    if job.folder.report.exists():
        lines.append(f"report: {job.folder.report}")
    return lines


def plan_line(job: Job, step: Planned, spent: float | None = None) -> str:
    """One line on how a step stands; spent: seconds that it took in all, or else those of its last call."""
    if step.reason is not None:
        so_far = f" ({duration(spent)} so far)" if spent else ""
        return f"  {step.name:<14} to do: {step.reason}{so_far}"
    record = read_record(job.folder, step.name)
    when = time.strftime("%Y-%m-%d %H:%M", time.localtime(record.finished_at)) if record else ""
    seconds = spent if spent is not None else record.seconds if record else None
    took = f" in {duration(seconds)}" if seconds is not None else ""
    return f"  {step.name:<14} finished {when}{took}"


def _left_line(left: Left) -> str:
    """How long the rest may take, by step, and of which steps nothing is known."""
    parts = ", ".join(f"{step} {about(seconds)}" for step, seconds in left.steps.items() if seconds is not None)
    speed = "guessed from another machine" if left.guessed else "at this machine's rates"
    total = f"about {about(left.seconds)}, {speed} ({parts})" if parts else ""
    rest = f"{', '.join(left.unknown)}: not known yet" if left.unknown else ""
    return "time left: " + "; ".join(part for part in (total, rest) if part)


def _progress(event: Mapping[str, Any]) -> str:
    if event["event"] != "progress":
        return ", just started"
    figures = [f"{name} {value:.3g}" for name, value in event.items() if name not in KNOWN and _is_number(value)]
    rate = f", {event['rate']:.3g}/s" if event.get("rate") else ""
    memory = f", {event['memory'] / 2**30:.2f} GiB" if event.get("memory") else ""
    return f" {event['done']} of {event['total']}{rate}{memory}" + "".join(f", {part}" for part in figures)


def _is_number(value: object) -> bool:
    return isinstance(value, int | float) and not isinstance(value, bool)
