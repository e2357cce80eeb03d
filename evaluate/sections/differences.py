"""The verdicts and the forest plot: what each arm changed against a control, and how sure that is."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass
from functools import partial

from markupsafe import Markup

from evaluate.pages import wording
from evaluate.pages.svg import Scale
from evaluate.pages.tables import Cell, Table, number_cell
from evaluate.pages.tracks import difference_axis, difference_scale, difference_track
from evaluate.sections.markdown import difference_with_interval, least_shown, verdict_sentence
from evaluate.sections.tasks import Comparison, TaskResults, series_of


@dataclass(frozen=True)
class VerdictCard:
    """One task's answer: the word, one sentence, the figures behind it and a drawing of them."""

    task: str
    word: str
    kind: str
    sentence: str
    facts: tuple[tuple[str, str], ...]
    track: Markup | None
    axis: Markup | None


@dataclass(frozen=True)
class ForestRow:
    """One comparison in a forest plot. least: beside `no difference`, the smallest that would have shown."""

    arm: str
    control: str
    value: str
    verdict: str
    kind: str
    track: Markup
    least: str


@dataclass(frozen=True)
class Forest:
    """All comparisons of a task by one metric on one scale, those that decide first."""

    title: str
    groups: tuple[tuple[str, tuple[ForestRow, ...]], ...]
    axis: Markup


def verdict_card(results: TaskResults) -> VerdictCard:
    """The card that opens the report for one task."""
    title, kind = wording.VERDICT_TITLES[results.word], wording.VERDICT_KINDS[results.word]
    names = (results.title, title, kind, verdict_sentence(results))
    comparison = results.verdict["comparison"] if results.verdict else None
    if comparison is None or comparison["difference"] is None:
        return VerdictCard(*names, (), None, None)
    scale = _scale([comparison], results)
    track, axis = _track(scale, comparison, results), _axis(scale, comparison["metric"], results)
    return VerdictCard(*names, _facts(comparison, results), track, axis)


def _facts(comparison: Comparison, results: TaskResults) -> tuple[tuple[str, str], ...]:
    unit = results.unit(comparison["metric"])
    counted, bounds = wording.points(unit), wording.interval(comparison["interval"], unit, with_sign=True)
    return (
        ("Difference", f"{wording.signed(comparison['difference'], unit)} {counted}"),
        (f"{results.confidence} interval", bounds),
        ("p, corrected", wording.p_value(comparison["p_adjusted"])),
        ("Smallest detectable", _detectable(comparison["smallest_detectable"], unit)),
    )


def _detectable(value: float | None, unit: str) -> str:
    # A share cannot differ by more than everything.
    if value is not None and unit == "share" and value >= 1:
        return "none"
    return f"{wording.number(value, unit)} {wording.points(unit)}"


def forest(results: TaskResults, metric: str, arm: str | None = None) -> Forest | None:
    """The forest plot of a metric, of all arms or of one; None where nothing was compared by it."""
    comparisons = [c for c in results.judged(metric) if arm in (None, c["arm"])]
    if not comparisons:
        return None
    scale = _scale(comparisons, results)
    groups = []
    first = "Against the control that decides" if metric == results.primary else "Against the strongest control"
    for decides, heading in ((True, first), (False, "Against the other controls")):
        chosen = [c for c in comparisons if results.decides(c) is decides]
        if chosen:
            groups.append((heading, tuple(_forest_row(scale, comparison, results) for comparison in chosen)))
    counted = wording.points(results.unit(metric))
    title = f"{results.title}: difference in {results.metric_title(metric)}, {counted}"
    return Forest(title, tuple(groups), _axis(scale, metric, results))


def comparisons_table(results: TaskResults) -> Table:
    """Every comparison of a task with its figures."""
    ordered = sorted(results.comparisons, key=lambda c: results.compared.index(c["metric"]))
    columns = ("arm", "control", "metric", "difference", "p", "p, corrected", "smallest detectable", "verdict")
    rows = tuple(_comparison_cells(comparison, results) for comparison in ordered)
    return Table(f"{results.title}: every comparison", columns, rows)


def _comparison_cells(comparison: Comparison, results: TaskResults) -> tuple[Cell, ...]:
    unit, verdict = results.unit(comparison["metric"]), comparison["verdict"]
    least = comparison["smallest_detectable"]
    bounds = wording.interval(comparison["interval"], unit, with_sign=True)
    kind = f"verdict {wording.VERDICT_KINDS[verdict]}"
    return (
        Cell(comparison["arm"], series=series_of(comparison["arm"])),
        Cell(comparison["control"] + (" (strongest)" if comparison["strongest_control"] else "")),
        Cell(results.heading(comparison["metric"])),
        number_cell(comparison["difference"], partial(wording.signed, unit=unit), bounds),
        number_cell(comparison["p"], wording.p_value),
        number_cell(comparison["p_adjusted"], wording.p_value),
        number_cell(least, partial(wording.number, unit=unit)),
        Cell(wording.VERDICT_TITLES[verdict], note=comparison["reason"] or "", kind=kind),
    )


def _axis(scale: Scale, metric: str, results: TaskResults) -> Markup:
    unit = results.unit(metric)
    return difference_axis(
        scale, unit, f"Scale of the difference in {results.metric_title(metric)}, {wording.points(unit)}"
    )


def _scale(comparisons: Sequence[Comparison], results: TaskResults) -> Scale:
    bounds = [bound for c in comparisons for bound in c["interval"] or (c["difference"] or 0.0,)]
    seen = [c["smallest_detectable"] for c in comparisons if c["smallest_detectable"] is not None]
    # The whole band, unless it would squeeze everything else into the middle.
    reach = min(max(seen, default=0.0), 2 * max((abs(bound) for bound in bounds), default=0.0))
    bounds += [-reach, reach]
    return difference_scale(bounds, results.higher_is_better(comparisons[0]["metric"]))


def _track(scale: Scale, comparison: Comparison, results: TaskResults) -> Markup:
    unit = results.unit(comparison["metric"])
    label = (
        f"{comparison['arm']} minus {comparison['control']}, {results.metric_title(comparison['metric'])}: "
        f"{wording.signed(comparison['difference'], unit)}, {results.confidence} interval "
        f"{wording.interval(comparison['interval'], unit, with_sign=True)}, "
        f"{wording.VERDICT_TITLES[comparison['verdict']]}"
    )
    return difference_track(
        scale,
        comparison["difference"],
        comparison["interval"],
        wording.VERDICT_KINDS[comparison["verdict"]],
        comparison["smallest_detectable"],
        label,
        series_of(comparison["arm"]),
    )


def _forest_row(scale: Scale, comparison: Comparison, results: TaskResults) -> ForestRow:
    unit, verdict = results.unit(comparison["metric"]), comparison["verdict"]
    return ForestRow(
        comparison["arm"],
        comparison["control"],
        difference_with_interval(comparison, unit),
        wording.VERDICT_TITLES[verdict],
        wording.VERDICT_KINDS[verdict],
        _track(scale, comparison, results),
        least_shown(comparison, unit),
    )
