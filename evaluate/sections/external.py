"""Other hospitals on the page: what the same models reached there, beside what they reached at home."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from typing import Any

from evaluate.pages import wording
from evaluate.pages.tables import Cell, Table, figure_cell
from evaluate.sections.classes import BarChart, BarGroup, arm_bar
from evaluate.sections.differences import comparisons_table, forest, verdict_card
from evaluate.sections.effects import effect_curves, effects_table
from evaluate.sections.markdown import verdict_sentence
from evaluate.sections.tasks import TaskResults, series_of, task_results

Results = Mapping[str, Any]
HOME = "in domain"


def external_tasks(results: Results, external: Mapping[str, Any]) -> list[TaskResults]:
    """The tasks that an external set tests, each arm with its figures there."""
    there = {(arm["task"], arm["name"]): arm["metrics"] for arm in external["arms"]}
    arms = [arm | {"metrics": there[key]} for arm in results["arms"] if (key := (arm["task"], arm["name"])) in there]
    return task_results({**results, **external, "arms": arms, "pilot": [], "external": []})


def external_sections(results: Results, tasks: Sequence[TaskResults]) -> list[dict[str, Any]]:
    """What the page says of each external set, as its template reads it; tasks: those of the run's own test pairs."""
    home = {task.task: task for task in tasks}
    return [
        {
            "name": external["name"],
            "notes": _notes(external),
            "tasks": [
                _task_view(home[there.task], there, external["name"]) for there in external_tasks(results, external)
            ],
        }
        for external in results.get("external", ())
    ]


def external_lines(results: Results) -> list[tuple[str, TaskResults]]:
    """Name and results of each external set and task, for the first screen and report.md."""
    return [
        (external["name"], task)
        for external in results.get("external", ())
        for task in external_tasks(results, external)
    ]


def elsewhere(results: Results, task: str) -> tuple[str, ...]:
    """`On NAME: no difference, +0.4 (-1.2 to +2.0)` for each external set that tests a task."""
    said = []
    for name, there in external_lines(results):
        if there.task == task:
            comparison = there.verdict["comparison"] if there.verdict else None
            unit = there.unit(there.primary)
            effect = ""
            if comparison and comparison["difference"] is not None:
                bounds = wording.interval(comparison["interval"], unit, with_sign=True)
                effect = f", {wording.signed(comparison['difference'], unit)} {wording.points(unit)} ({bounds})"
            said.append(f"On {name}: {wording.VERDICT_TITLES[there.word]}{effect}")
    return tuple(said)


def external_markdown(results: Results) -> list[str]:
    """A list item of report.md for each external set and task."""
    return [
        f"- {there.title} on {wording.markdown(name)}: {wording.markdown(verdict_sentence(there))}"
        for name, there in external_lines(results)
    ]


def _notes(external: Mapping[str, Any]) -> list[str]:
    counts = ", ".join(f"{dx} {wording.count(count)}" for dx, count in external["counts"].items() if count)
    groups = wording.times(external["groups"], "independent group")
    pairs = wording.times(sum(external["counts"].values()), "pair")
    return [f"{pairs} in {groups}, none of which any model was trained or chosen by: {counts}.", *external["notes"]]


def _task_view(home: TaskResults, there: TaskResults, name: str) -> dict[str, Any]:
    return {
        "title": there.title,
        "confidence": there.confidence,
        "card": verdict_card(there),
        "arms": _arms_table(home, there, name),
        "bars": _bars(home, there, name),
        "forest": forest(there, there.primary),
        "comparisons": comparisons_table(there),
        "effects": effect_curves(there),
        "effects_table": effects_table(there),
    }


def _arms_table(home: TaskResults, there: TaskResults, name: str) -> Table:
    """Every arm: each compared metric in domain and on the external set, and what the difference there amounts to."""
    columns = [heading for metric in there.compared for heading in (f"{there.heading(metric)} {HOME}", f"on {name}")]
    rows = []
    for arm in there.arms:
        own = home.arm(arm["name"])
        cells = [Cell(arm["name"], series=series_of(arm["name"]))]
        for metric in there.compared:
            figures = (home.metric(own, metric) if own else None, there.metric(arm, metric))
            cells += [figure_cell(figure, there.unit(metric)) for figure in figures]
        deciding = there.deciding(arm)
        if deciding is None:
            cells.append(Cell(""))
        else:
            word = deciding["verdict"]
            cells.append(Cell(wording.VERDICT_TITLES[word], kind=f"verdict {wording.VERDICT_KINDS[word]}"))
        rows.append(tuple(cells))
    caption = f"{there.title}: the same models {HOME} and on {name}, mean over seeds and {there.confidence} interval"
    return Table(caption, ("arm", *columns, f"verdict on {name}"), tuple(rows))


def _bars(home: TaskResults, there: TaskResults, name: str) -> BarChart:
    """The deciding metric of every arm that saw all real pairs, in domain and on the external set, on one scale."""
    metric, groups = there.primary, []
    for title, results in ((HOME.capitalize(), home), (f"On {name}", there)):
        unit, arms = results.unit(metric), results.fully_trained()
        bars = tuple(arm_bar(arm, results.metric(arm, metric), title, unit) for arm in arms)
        groups.append(BarGroup(title, "", bars))
    return BarChart(f"{there.title}: {there.heading(metric)}", tuple(groups))
