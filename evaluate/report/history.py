"""A history of benchmark results, one line of JSON per run, and the trend that the report draws from it."""

from __future__ import annotations

import hashlib
import json
import os
from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from datetime import UTC, datetime
from pathlib import Path
from typing import Any

from markupsafe import Markup

from evaluate.pages import wording
from evaluate.pages.svg import Drawing, Scale, spread
from evaluate.results import Results, read_results
from evaluate.sections.tasks import Arm, TaskResults, series_of
from manifests.errors import BadInput, StorageFailed

MOST_RUNS = 60
"""Runs in a sparkline at most; older ones are left out."""
FORMAT_VERSION = 1


@dataclass(frozen=True)
class History:
    """Entries of one dataset in the order of their appending; others: lines of other datasets; broken: lines
    that could not be read."""

    entries: tuple[Mapping[str, Any], ...]
    others: int
    broken: int


def append_history(results: Path, history: Path) -> None:
    """Append the figures of `results` to `history`, a file of JSON lines that is made if it is not there.

    Results that the history holds already, to the byte, are not appended again: a run may be killed and repeated.
    Raises BadInput where `results` is no results file or `history` is a folder, StorageFailed where the line
    cannot be written. Several processes may append at once.
    """
    entry = history_entry(read_results(Path(results)), datetime.now(UTC))
    entry["results_sha256"] = hashlib.sha256(Path(results).read_bytes()).hexdigest()
    line = json.dumps(entry, ensure_ascii=False, allow_nan=False) + "\n"
    history = Path(history)
    if history.is_dir():
        raise BadInput(f"{history} is a folder; name a file, such as history.jsonl")
    try:
        history.parent.mkdir(parents=True, exist_ok=True)
        if _holds(history, entry):
            return
        descriptor = os.open(history, os.O_RDWR | os.O_APPEND | os.O_CREAT, 0o644)
        try:
            # A line cut short by a kill must not swallow this one.
            start = "" if _ends_a_line(descriptor) else "\n"
            os.write(descriptor, (start + line).encode())
        finally:
            os.close(descriptor)
    except OSError as error:
        raise StorageFailed(f"{history}: could not append to it ({error.strerror}); check the disk") from error


def _holds(history: Path, entry: Mapping[str, Any]) -> bool:
    if not history.exists():
        return False
    entries = read_history(history, entry["real_digest"]).entries
    return any(earlier.get("results_sha256") == entry["results_sha256"] for earlier in entries)


def history_entry(results: Results, moment: datetime) -> dict[str, Any]:
    """What one line holds: when, of which data, the verdicts, and each arm's metrics with their intervals."""
    data = results["data"]
    return {
        "history_version": FORMAT_VERSION,
        "time": moment.astimezone(UTC).isoformat(timespec="seconds"),
        "schema_version": results["schema_version"],
        "real_digest": data["real"]["digest"],
        "synthetic_digest": data["synthetic"]["digest"] if data["synthetic"] else None,
        "verdicts": {verdict["task"]: verdict["verdict"] for verdict in results["verdicts"]},
        "arms": [
            {
                "task": arm["task"],
                "name": arm["name"],
                "metrics": {
                    name: {"mean": metric["mean"], "interval": metric["interval"]}
                    for name, metric in arm["metrics"].items()
                    if metric["mean"] is not None
                },
            }
            for arm in results["arms"]
        ],
    }


def read_history(history: Path, real_digest: str) -> History:
    """The entries of one dataset; lines that are broken or of another version are counted, not shown."""
    entries, others, broken = [], 0, 0
    with Path(history).open(encoding="utf-8", errors="replace") as stream:
        for line in stream:
            if not line.strip():
                continue
            entry = _entry(line)
            if entry is None:
                broken += 1
            elif entry["real_digest"] != real_digest:
                others += 1
            else:
                entries.append(entry)
    return History(tuple(entries), others, broken)


def mean_of(entry: Mapping[str, Any], task: str, arm: str, metric: str) -> float | None:
    """One figure of an entry, None where it has none."""
    for row in entry["arms"]:
        if (row["task"], row["name"]) == (task, arm):
            found = row["metrics"].get(metric)
            return None if found is None else float(found["mean"])
    return None


def _entry(line: str) -> Mapping[str, Any] | None:
    """A line as an entry, None if it is not one of this version."""
    try:
        entry = json.loads(line)
        if entry["history_version"] != FORMAT_VERSION:
            return None
        for arm in entry["arms"]:
            _ = arm["task"], arm["name"], [float(metric["mean"]) for metric in arm["metrics"].values()]
        datetime.fromisoformat(entry["time"])
        return entry if isinstance(entry["real_digest"], str) else None
    except (ValueError, KeyError, TypeError, AttributeError):
        return None


def _ends_a_line(descriptor: int) -> bool:
    size = os.fstat(descriptor).st_size
    return size == 0 or os.pread(descriptor, 1, size - 1) == b"\n"


def trend(path: Path, real_digest: str, tasks: Sequence[TaskResults]) -> dict[str, Any] | None:
    """What a history file says of this dataset, as the template reads it: a sentence, and a row for each arm with its
    figures over the runs; None where there is no file."""
    if not path.is_file():
        return None
    history = read_history(path, real_digest)
    entries = history.entries[-MOST_RUNS:]
    rows = [_row(results, arm, entries) for results in tasks for arm in results.arms]
    return {"sentence": _sentence(history, entries), "rows": [row for row in rows if row is not None]}


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


def _row(results: TaskResults, arm: Arm, entries: Sequence[Mapping[str, Any]]) -> dict[str, Any] | None:
    values = [mean_of(entry, results.task, arm["name"], results.primary) for entry in entries]
    known = [value for value in values if value is not None]
    if not known:
        return None
    unit, title, series = results.unit(results.primary), results.heading(results.primary), series_of(arm["name"])
    first, last = wording.number(known[0], unit), wording.number(known[-1], unit)
    label = f"{arm['name']}, {title} over {wording.times(len(known), 'run')}: {first}"
    return {
        "task": results.title,
        "arm": arm["name"],
        "series": series,
        "metric": title,
        "first": first,
        "last": last,
        "change": wording.signed(known[-1] - known[0], unit),
        "sparkline": _sparkline(values, series, label + (f" to {last}" if len(known) > 1 else "")),
    }


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
