"""How a run folder stands: what is done, what runs, what is left and how long that may take."""

from __future__ import annotations

import statistics
import time
from collections.abc import Iterable, Mapping
from dataclasses import dataclass, field
from typing import Any

from flows.engine.terminal import duration
from flows.engine.watch import ENDS, KNOWN
from flows.run.folder import Job
from flows.run.lock import live_holder
from flows.run.log import read_events
from flows.run.records import read_record
from flows.steps.sequence import Planned, plan
from flows.time_left import machine_rates, seconds_left, time_spent, units_left


@dataclass
class Activity:
    """What the log tells of the run that wrote last.

    running: last progress event of each task that has not ended, by title; calls: how many of a step's calls
    are done and how many there are; took: seconds of finished calls by kind.
    """

    running: dict[str, Mapping[str, Any]] = field(default_factory=dict)
    calls: dict[str, tuple[int, int]] = field(default_factory=dict)
    took: dict[str, list[float]] = field(default_factory=dict)
    warnings: list[str] = field(default_factory=list)
    last_time: float = 0.0


@dataclass(frozen=True)
class Status:
    """How a run stands: holder is who runs it now, if anybody; left is in seconds by step, None where unknown;
    spent: seconds in all, by step and by class."""

    holder: Mapping[str, Any] | None
    steps: list[Planned]
    activity: Activity
    left: Mapping[str, float | None]
    spent: Mapping[str, float]


def read_status(job: Job) -> Status:
    """Reads a run folder, finished or not, without changing it."""
    events = list(read_events(job.folder.log))
    activity = activity_of(events)
    holder = live_holder(job.folder.lock)
    if holder is None:
        activity.running.clear()
    steps = _with_gates(job, plan(job))
    left = seconds_left(units_left(job, steps, activity.calls), machine_rates(job, events))
    now = next((title.partition(" ")[0] for title in activity.running), None)
    if now in left and (rest := _seconds_left(activity)) is not None:
        left[now] = rest  # what runs now tells it itself
    return Status(holder, steps, activity, left, time_spent(events))


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
            if name == "finished":
                activity.took.setdefault(task.partition(" ")[0], []).append(float(event["seconds"]))
        elif name == "calls":
            activity.calls[str(event["step"])] = (int(event["done"]), int(event["total"]))
        elif name == "warning":
            activity.warnings.append(str(event["message"]))
        activity.last_time = float(event["time"])
    return activity


def status_lines(job: Job, status: Status) -> list[str]:
    """The status as lines for a terminal."""
    from flows.execution import plan_line

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
    if status.left:
        lines.append(_left_line(status.left))
    if job.folder.report.exists():
        lines.append(f"report: {job.folder.report}")
    return lines


def _left_line(left: Mapping[str, float | None]) -> str:
    """How long the rest may take, by step, and of which steps nothing is known."""
    known = {step: seconds for step, seconds in left.items() if seconds is not None}
    unknown = [step for step in left if step not in known]
    parts = ", ".join(f"{step} {duration(seconds)}" for step, seconds in known.items())
    total = f"about {duration(sum(known.values()))} at this machine's rates ({parts})" if known else ""
    rest = f"{', '.join(unknown)}: not known yet" if unknown else ""
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


def _seconds_left(activity: Activity) -> float | None:
    """Rest of the running calls plus the usual time of those that wait; None if there is nothing to go by."""
    if not activity.running:
        return None
    rests: list[float] = []
    for event in activity.running.values():
        if event["event"] == "progress" and event.get("rate"):
            rests.append((event["total"] - event["done"]) / event["rate"])
    kind = next(iter(activity.running)).partition(" ")[0]
    done, total = activity.calls.get(kind, (0, 1))
    waiting = total - done - len(activity.running)
    usual = statistics.median(activity.took[kind]) if kind in activity.took else None
    if usual is None and waiting > 0:
        usual = rests[0] if rests else None
    if (waiting > 0 and usual is None) or (not rests and usual is None):
        return None
    return max(rests, default=usual or 0.0) + max(0, waiting) * (usual or 0.0) / len(activity.running)
