"""What the means hide: figures by class and by subgroup, confusion matrices and calibration."""

from __future__ import annotations

import itertools
from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from typing import Any

from markupsafe import Markup

from evaluate.metrics.safety import SENSITIVITIES
from evaluate.pages import wording
from evaluate.pages.reliability import reliability_chart
from evaluate.pages.svg import Scale
from evaluate.pages.tracks import bar_track
from evaluate.sections.tasks import Arm, TaskResults, series_of

PER_CLASS = ("recall", "f1", "average_precision", *SENSITIVITIES)


@dataclass(frozen=True)
class Bar:
    """One bar: an arm, its value as text and its drawing."""

    label: str
    series: int
    value: str
    note: str
    track: Markup


@dataclass(frozen=True)
class BarGroup:
    """The bars of one class or subgroup."""

    title: str
    note: str
    bars: tuple[Bar, ...]


@dataclass(frozen=True)
class BarChart:
    """Groups of bars on one scale."""

    title: str
    groups: tuple[BarGroup, ...]


@dataclass(frozen=True)
class Confusion:
    """One arm's confusion matrix. rows: by true class its name and, for each predicted class, the count as
    text, the share of the row, and whether the prediction is right."""

    arm: str
    series: int
    classes: tuple[str, ...]
    rows: tuple[tuple[str, tuple[tuple[str, float, bool], ...]], ...]


@dataclass(frozen=True)
class Reliability:
    """One arm's reliability diagram and its calibration error."""

    arm: str
    series: int
    error: str
    chart: Markup


def class_bars(results: TaskResults, classes: Sequence[str]) -> list[BarChart]:
    """A chart per metric that exists by class, such as recall."""
    charts = []
    arms = results.fully_trained()
    for kind in PER_CLASS:
        groups = []
        for dx in classes:
            name = f"{kind}:{dx}"
            if any(name in arm["metrics"] for arm in arms):
                bars = [
                    arm_bar(arm, arm["metrics"].get(name), results.metric_title(name), results.unit(name))
                    for arm in arms
                ]
                groups.append(BarGroup(dx, _reason(arms, name), tuple(bars)))
        if groups:
            title = results.metric_title(f"{kind}:{groups[0].title}").removesuffix(f" of {groups[0].title}")
            charts.append(BarChart(f"{title} by class (%)", tuple(groups)))
    return charts


def subgroup_bars(results: TaskResults) -> list[BarChart]:
    """A chart per attribute (sex, age group, site, skin tone) of the deciding metric and of sensitivities."""
    arms = results.fully_trained()
    measured = dict.fromkeys(name for arm in arms for group in arm["subgroups"] for name in group["metrics"])
    shown = [results.primary, *(name for name in measured if name.partition(":")[0] in SENSITIVITIES)]
    places: dict[str, dict[str, int]] = {}
    for arm in arms:
        for subgroup in arm["subgroups"]:
            places.setdefault(subgroup["attribute"], {})[subgroup["value"]] = subgroup["pairs"]
    charts = []
    for name, (attribute, values) in itertools.product(shown, places.items()):
        groups = []
        for value, pairs in values.items():
            bars = [_subgroup_bar(arm, attribute, value, results, name) for arm in arms]
            groups.append(BarGroup(value, wording.times(pairs, "test pair"), tuple(bars)))
        title = f"{results.title}: {results.heading(name)} by {wording.title(attribute).lower()}"
        charts.append(BarChart(title, tuple(groups)))
    return charts


def _subgroup_bar(arm: Arm, attribute: str, value: str, results: TaskResults, name: str) -> Bar:
    metric = None
    for subgroup in arm["subgroups"]:
        if (subgroup["attribute"], subgroup["value"]) == (attribute, value):
            metric = subgroup["metrics"].get(name)
    return arm_bar(arm, metric, f"{results.metric_title(name)}, {value}", results.unit(name))


def arm_bar(arm: Arm, metric: Mapping[str, Any] | None, title: str, unit: str) -> Bar:
    """The bar of a metric of an arm; title: what is said of it to those who cannot see it."""
    value = metric["mean"] if metric else None
    interval = metric["interval"] if metric else None
    top = 1.0 if unit == "share" else max(value or 0.0, *(interval or (1.0,)))
    shown, bounds = wording.number(value, unit), wording.interval(interval, unit) if interval else ""
    label = f"{arm['name']}, {title}: {shown}" + (f", interval {bounds}" if bounds else "")
    track = bar_track(Scale(0, top, 0, 100), value, interval, series_of(arm["name"]), label)
    return Bar(arm["name"], series_of(arm["name"]), shown, bounds, track)


def _reason(arms: Sequence[Arm], name: str) -> str:
    metrics = [arm["metrics"].get(name) for arm in arms]
    return next((m["reason"] for m in metrics if m and m["mean"] is None and m["reason"]), "")


def confusions(results: TaskResults, classes: Sequence[str]) -> list[Confusion]:
    """The confusion matrices of the arms that have one."""
    return [_confusion(arm, classes) for arm in results.fully_trained() if arm["confusion"]]


def _confusion(arm: Arm, classes: Sequence[str]) -> Confusion:
    rows = []
    for truth, (dx, counts) in enumerate(zip(classes, arm["confusion"], strict=True)):
        total = sum(counts) or 1.0
        cells = tuple((wording.count(round(n, 1)), n / total, truth == place) for place, n in enumerate(counts))
        rows.append((dx, cells))
    return Confusion(arm["name"], series_of(arm["name"]), tuple(classes), tuple(rows))


def reliabilities(results: TaskResults) -> list[Reliability]:
    """The reliability diagrams of the arms that have one."""
    found = []
    for arm in results.fully_trained():
        if arm["calibration"]:
            metric = arm["metrics"].get("ece")
            error = wording.number(metric["mean"]) if metric else wording.UNKNOWN
            series = series_of(arm["name"])
            chart = reliability_chart(arm["name"], arm["calibration"], series, error)
            found.append(Reliability(arm["name"], series, error, chart))
    return found
