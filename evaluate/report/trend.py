"""The trend over earlier runs, from history.jsonl: the deciding metric of each arm as a sparkline."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import Any

from markupsafe import Markup

from evaluate.history import History, mean_of, read_history
from evaluate.report import wording
from evaluate.report.svg import Drawing, Scale, spread
from evaluate.report.tasks import Arm, TaskResults, series_of

SHOWN = 60
"""Runs in a sparkline at most; older ones are left out."""


@dataclass(frozen=True)
class TrendRow:
    """One arm over the runs."""

    task: str
    arm: str
    series: int
    metric: str
    first: str
    last: str
    change: str
    sparkline: Markup


@dataclass(frozen=True)
class Trend:
    """What the history says of this dataset."""

    sentence: str
    rows: tuple[TrendRow, ...]


def trend(path: Path, real_digest: str, tasks: Sequence[TaskResults]) -> Trend | None:
    """The trend in a history file; None where there is none."""
    if not path.is_file():
        return None
    history = read_history(path, real_digest)
    entries = history.entries[-SHOWN:]
    rows = [_row(results, arm, entries) for results in tasks for arm in results.arms]
    return Trend(_sentence(history, entries), tuple(row for row in rows if row is not None))


def _sentence(history: History, entries: Sequence[Mapping[str, Any]]) -> str:
    if not entries:
        parts = ["The history holds no run on this data yet."]
    elif len(entries) == 1:
        parts = [f"The history holds one run on this data, of {_day(entries[0])}."]
    else:
        days = list(dict.fromkeys((_day(entries[0]), _day(entries[-1]))))
        parts = [f"{len(entries)} runs on this data, {'all of' if len(days) == 1 else 'from'} {' to '.join(days)}."]
    if history.others:
        parts.append(f"{wording.times(history.others, 'run')} on other data left out.")
    if history.broken:
        parts.append(f"{wording.times(history.broken, 'line')} could not be read.")
    return " ".join(parts)


def _row(results: TaskResults, arm: Arm, entries: Sequence[Mapping[str, Any]]) -> TrendRow | None:
    values = [mean_of(entry, results.task, arm["name"], results.primary) for entry in entries]
    known = [value for value in values if value is not None]
    if not known:
        return None
    unit, title = results.unit(results.primary), results.heading(results.primary)
    label = f"{arm['name']}, {title} over {wording.times(len(known), 'run')}: {wording.number(known[0], unit)}"
    if len(known) > 1:
        label += f" to {wording.number(known[-1], unit)}"
    return TrendRow(
        results.title,
        arm["name"],
        series_of(arm["name"]),
        title,
        wording.number(known[0], unit),
        wording.number(known[-1], unit),
        wording.signed(known[-1] - known[0], unit),
        _sparkline(values, series_of(arm["name"]), label),
    )


def _sparkline(values: Sequence[float | None], series: int, label: str) -> Markup:
    places = [(place, value) for place, value in enumerate(values) if value is not None]
    drawing = Drawing(30, label, "spark")
    across = Scale(0, max(1, len(values) - 1), 4, 94)
    # A wobble in the third decimal should look like one.
    up = Scale(*spread([value for _, value in places], 0.0, 0.02), 25, 5)
    points = [(across(place), up(value)) for place, value in places]
    drawing.path(points, f"line stroke s{series}")
    drawing.mark(*points[-1], series)
    return drawing.render()


def _day(entry: Mapping[str, Any]) -> str:
    return str(entry["time"])[:10]
