"""Curves: the deciding metric by number of own pairs and by ratio of generated ones, and training."""

from __future__ import annotations

import math
from collections.abc import Callable, Mapping, Sequence
from dataclasses import dataclass

from markupsafe import Markup

from evaluate.metrics.safety import THRESHOLDS
from evaluate.pages import wording
from evaluate.pages.svg import Drawing, Scale, spread, ticks
from evaluate.sections.tasks import SERIES, Arm, TaskResults, base_of, series_of

HEIGHT, FLAT = 240.0, 132.0
TOP, BELOW = 14.0, 34.0
LEFT, RIGHT = 13.0, 97.0
OWN_PAIRS = "own training pairs of all classes"
Spacing = Callable[[float], float]


@dataclass(frozen=True)
class Point:
    """One value with its interval, if it has one."""

    x: float
    y: float
    interval: tuple[float, float] | None = None


@dataclass(frozen=True)
class Line:
    """A named series of points, by ascending x."""

    name: str
    series: int
    points: tuple[Point, ...]


@dataclass(frozen=True)
class Figure:
    """A chart with its heading, its legend and what its axis means."""

    title: str
    chart: Markup
    axis: str
    legend: tuple[tuple[str, int], ...]


def learning_curve(results: TaskResults) -> Figure | None:
    """The deciding metric by number of own training pairs; None without low-data arms."""
    if all(arm["fraction"] == 1 for arm in results.arms):
        return None
    low = {base_of(arm["name"]) for arm in results.arms if arm["fraction"] < 1}
    arms = [arm for arm in results.arms if base_of(arm["name"]) in low and arm["ratio"] == 1]
    lines = _lines(results, arms, lambda arm: sum(arm["train_counts"]["real"].values()))
    title = f"{results.title}: {results.heading(results.primary)} by number of own pairs"
    lines = [line for line in lines if line.points[0].x]
    return figure(title, lines, OWN_PAIRS, "", results.unit(results.primary), spaced=math.log10)


def ratio_curve(results: TaskResults) -> Figure | None:
    """The deciding metric by generated pairs per missing one; None where only one ratio was tried."""
    arms = [arm for arm in results.arms if arm["fraction"] == 1]
    tried: dict[str, set[float]] = {}
    for arm in arms:
        if arm["role"] == "generated":
            tried.setdefault(base_of(arm["name"]), set()).add(arm["ratio"])
    swept = {base for base, ratios in tried.items() if len(ratios) > 1}
    if not swept:
        return None
    lines = _lines(results, [arm for arm in arms if base_of(arm["name"]) in swept], lambda arm: arm["ratio"])
    lines += _control_lines(results, sorted({ratio for base in swept for ratio in tried[base]}))
    title = f"{results.title}: {results.heading(results.primary)} by amount of generated pairs"
    axis = "draws of a generated pair for each draw of a real one"
    return figure(title, lines, axis, "", results.unit(results.primary))


def pilot_curve(results: TaskResults) -> Figure | None:
    """Validation score of the controls that the pilot trained, by updates; None where it trained none."""
    points: dict[str, list[Point]] = {}
    for rung in results.pilot["rungs"] if results.pilot else ():
        for arm, score in rung["scores"].items():
            points.setdefault(arm, []).append(Point(rung["updates"], score))
    lines = [Line(arm, series_of(arm), tuple(found)) for arm, found in points.items()]
    title = f"{results.title}: validation score of the pilot{' in the first fold' if results.folds else ''}"
    return figure(title, lines, "optimiser updates, each point a training of its own", "", "share")


def decision_curve(results: TaskResults, test_counts: Mapping[str, int]) -> Figure | None:
    """Net benefit of each arm by the probability from which a lesion is called melanoma, beside calling all; None
    where it was not measured."""
    named = [name for name in results.metrics if name.partition(":")[0] in THRESHOLDS]
    arms = [arm for arm in results.fully_trained() if any(name in arm["metrics"] for name in named)]
    if not arms or not sum(test_counts.values()):
        return None
    dx = named[0].partition(":")[2]
    share = test_counts.get(dx, 0) / sum(test_counts.values())
    lines = []
    for arm in arms:
        found = ((100 * at, arm["metrics"].get(f"{name}:{dx}")) for name, at in THRESHOLDS.items())
        points = tuple(Point(at, metric["mean"]) for at, metric in found if metric and metric["mean"] is not None)
        if points:
            lines.append(Line(arm["name"], series_of(arm["name"]), points))
    every = tuple(Point(100 * at, share - (1 - share) * at / (1 - at)) for at in THRESHOLDS.values() if at <= share)
    if len(every) > 1:
        lines.append(Line(f"calling every lesion {dx}", max(SERIES.values()) + 1, every))
    title = f"{results.title}: net benefit of calling {dx}, higher is better and 0 is calling none"
    return figure(title, lines, "probability from which a lesion is called so", "%", "share")


def training_curve(results: TaskResults) -> Figure | None:
    """Validation score over updates, mean over seeds, of the arms that saw all real pairs."""
    lines = []
    for arm in results.fully_trained():
        scores: dict[int, list[float]] = {}
        for run in arm["runs"]:
            for step in run["curve"]:
                if step["validation"] is not None:
                    scores.setdefault(step["update"], []).append(step["validation"])
        points = tuple(Point(update, sum(s) / len(s)) for update, s in sorted(scores.items()))
        if len(points) > 1:
            lines.append(Line(arm["name"], series_of(arm["name"]), points))
    title = f"{results.title}: validation score while training"
    return figure(title, lines, "optimiser updates", "", "share")


def _control_lines(results: TaskResults, places: Sequence[float]) -> list[Line]:
    """The control that decides, which knows no ratio, as a level line."""
    verdict = results.verdict["comparison"] if results.verdict else None
    control = results.arm(verdict["control"]) if verdict else None
    metric = results.metric(control, results.primary) if control else None
    if control is None or metric is None or metric["mean"] is None:
        return []
    points = tuple(Point(place, metric["mean"]) for place in (places[0], places[-1]))
    return [Line(control["name"], series_of(control["name"]), points)]


def _lines(results: TaskResults, arms: Sequence[Arm], place: Callable[[Arm], float]) -> list[Line]:
    points: dict[str, list[Point]] = {}
    for arm in arms:
        metric = results.metric(arm, results.primary)
        if metric is not None and metric["mean"] is not None:
            bounds = metric["interval"] and (metric["interval"][0], metric["interval"][1])
            points.setdefault(base_of(arm["name"]), []).append(Point(place(arm), metric["mean"], bounds))
    return [Line(base, series_of(base), tuple(sorted(ps, key=lambda p: p.x))) for base, ps in points.items()]


def figure(
    title: str,
    lines: Sequence[Line],
    axis: str,
    suffix: str,
    unit: str,
    spaced: Spacing = float,
    level: float | None = None,
    height: float = HEIGHT,
) -> Figure | None:
    """Lines with their intervals, labels on the grid, None of no line; spaced: how far along the axis a place is;
    level: a value that has a line of its own."""
    if not lines:
        return None
    values = [v for line in lines for p in line.points for v in (p.y, *(p.interval or ()))]
    values += [] if level is None else [level]
    places = sorted({p.x for line in lines for p in line.points})
    across = Scale(*(spread([spaced(place) for place in places], 0.0, 1e-6)), LEFT + 3, RIGHT)
    bottom = height - BELOW
    up = Scale(*spread(values, 0.08, 0.02), bottom, TOP)
    drawing = Drawing(height, alt_text(title, lines, unit))
    for tick in ticks(up.low, up.high, 5 if height == HEIGHT else 3):
        drawing.line(0, up(tick), 100, up(tick), "grid")
        drawing.text(0, up(tick) - 4, wording.number(tick, unit))
    if level is not None:
        drawing.line(0, up(level), 100, up(level), "zero")
    for place in places if len(places) <= 7 else ticks(places[0], places[-1], 5):
        drawing.text(across(spaced(place)), bottom + 24, f"{place:,g}{suffix}", anchor="middle")
    for place, line in enumerate(lines):
        # Side by side, so that intervals at the same place do not hide each other.
        aside = 1.4 * (place - (len(lines) - 1) / 2) if len(line.points) <= 7 else 0.0
        moved = Scale(across.low, across.high, across.start + aside, across.end + aside)
        _draw_line(drawing, line, [moved(spaced(point.x)) for point in line.points], up)
    return Figure(title, drawing.render(), axis, tuple((line.name, line.series) for line in lines))


def _draw_line(drawing: Drawing, line: Line, across: Sequence[float], up: Scale) -> None:
    for x, point in zip(across, line.points, strict=True):
        if point.interval:
            drawing.line(x, up(point.interval[0]), x, up(point.interval[1]), f"interval stroke s{line.series}")
    drawing.path([(x, up(p.y)) for x, p in zip(across, line.points, strict=True)], f"line stroke s{line.series}")
    for x, point in zip(across, line.points, strict=True):
        drawing.mark(x, up(point.y), line.series)


def alt_text(title: str, lines: Sequence[Line], unit: str) -> str:
    """What the chart shows, in words: where each line starts and ends."""
    ends = [
        f"{line.name} from {wording.number(line.points[0].y, unit)} at {line.points[0].x:g} "
        f"to {wording.number(line.points[-1].y, unit)} at {line.points[-1].x:g}"
        for line in lines
    ]
    return f"{title}. {'; '.join(ends)}."
