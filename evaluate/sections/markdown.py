"""report.md: the verdict in a sentence and the arms in a few lines, for a CI summary or a pull-request comment."""

from __future__ import annotations

from collections.abc import Iterable, Mapping, Sequence
from typing import Any

from evaluate.pages import wording
from evaluate.pages.wording import markdown
from evaluate.sections.tasks import Arm, Comparison, TaskResults, missing_tasks
from manifests.markdown import markdown_table

_OPENINGS = {
    "gain": "Training with generated pairs helped",
    "no difference": "No difference was shown",
    "harm": "Training with generated pairs did harm",
}
CAUTION = "For research, not for diagnosis. Generated images show no patient."
DRAWN_CAUTION = "This run's own pairs are drawn by a program: nothing here says anything about real skin."


def helped_lines(results: Mapping[str, Any], tasks: Sequence[TaskResults]) -> list[str]:
    """Whether generated pairs helped, a list item for each task."""
    lines = [f"- {wording.TASK_TITLES[task.task]}: {markdown(verdict_sentence(task))}" for task in tasks]
    missing = missing_tasks(results).items()
    return lines + [f"- {wording.TASK_TITLES[task]} was not measured{markdown(why)}." for task, why in missing]


def report_markdown(results: Mapping[str, Any], tasks: Sequence[TaskResults], answers: Iterable[str]) -> str:
    """The whole of report.md; answers: the paragraphs that open it."""
    lines = [f"## {markdown(verdict_line(tasks))}"]
    for answer in answers:
        lines += ["", answer]
    for task in tasks:
        lines += ["", _arms(task)]
    lines += ["", f"{_data_line(results)} {caution(results)} Details: `report.html`."]
    return "\n".join(lines) + "\n"


def verdict_line(tasks: Sequence[TaskResults]) -> str:
    """`Classification: no difference; harm on ph2. Segmentation: gain.`"""
    told = (
        (task.title, "; ".join([wording.VERDICT_TITLES[task.word], *task.verdicts_elsewhere.values()]))
        for task in tasks
    )
    return " ".join(f"{title}: {words}." for title, words in told)


def _arms(task: TaskResults) -> str:
    """One table row per arm: what it saw, what it reached, and against the control that decides."""
    titles = [task.heading(name) for name in task.compared]
    against = f"{task.metric_title(task.primary)} against the control that decides"
    headings = [task.title, "real", "generated", *titles, against, "verdict"]
    rows = (headings, *(_cells(task, arm) for arm in task.arms))
    escaped = [[markdown(cell) for cell in row] for row in rows]
    return markdown_table(escaped[0], escaped[1:], numeric=range(1, len(headings) - 1))


def _cells(task: TaskResults, arm: Arm) -> list[str]:
    counts = arm["train_counts"]
    seen = (wording.count(sum(counts[origin].values())) for origin in ("real", "synthetic"))
    cells = [arm["name"], *seen, *(_figure(task, arm, name) for name in task.compared)]
    deciding = task.deciding(arm)
    if deciding is None:
        return [*cells, "", ""]
    unit = task.unit(task.primary)
    least = least_shown(deciding, unit)
    verdict = wording.VERDICT_TITLES[deciding["verdict"]] + (f" ({least})" if least else "")
    return [*cells, f"{difference_with_interval(deciding, unit)}, {deciding['control']}", verdict]


def _figure(task: TaskResults, arm: Arm, name: str) -> str:
    metric = task.metric(arm, name)
    if metric is None or metric["mean"] is None:
        return wording.UNKNOWN
    text = wording.number(metric["mean"], task.unit(name))
    return f"{text} ({wording.interval(metric['interval'], task.unit(name))})" if metric["interval"] else text


def _data_line(results: Mapping[str, Any]) -> str:
    real = sum(sum(by_dx.values()) for by_dx in results["data"]["real"]["counts"].values())
    synthetic = results["data"]["synthetic"]
    made = f" and {wording.times(sum(synthetic['counts'].values()), 'accepted generated pair')}" if synthetic else ""
    return f"{wording.times(real, f'{own_pairs(results)} pair')}{made}."


def own_pairs(results: Mapping[str, Any]) -> str:
    """What the run's own pairs are: real, drawn, or both."""
    real = results["data"]["real"]
    drawn, total = real.get("drawn", 0), sum(sum(by_dx.values()) for by_dx in real["counts"].values())
    return "real" if not drawn else "drawn" if drawn == total else "real or drawn"


def caution(results: Mapping[str, Any]) -> str:
    """What nobody may overlook."""
    return CAUTION if own_pairs(results) == "real" else f"{CAUTION} {DRAWN_CAUTION}"


def verdict_sentence(results: TaskResults) -> str:
    """What a reader may believe about one task."""
    comparison = results.verdict["comparison"] if results.verdict else None
    if comparison is None:
        return "Nothing was compared, because no arm used generated pairs."
    if results.word is None or comparison["difference"] is None:
        return f"No verdict on {comparison['arm']} against {comparison['control']}: {comparison['reason']}."
    opening = _OPENINGS[results.word]
    return f"{opening}: {_reached(results, comparison)}. {_could_have_shown(results, comparison)}"


def difference_with_interval(comparison: Mapping[str, Any], unit: str) -> str:
    """`+1.5 (-0.2 to +3.1)`."""
    bounds = comparison["interval"]
    difference = wording.signed(comparison["difference"], unit)
    return difference + (f" ({wording.interval(bounds, unit, with_sign=True)})" if bounds is not None else "")


def least_shown(comparison: Mapping[str, Any], unit: str) -> str:
    """What stands beside every `no difference`, so that it is not read as `equal`; nothing beside another verdict."""
    least = comparison["smallest_detectable"]
    if comparison["verdict"] != "no difference":
        return ""
    if least is None:
        return "how small a difference would show is unknown"
    if unit == "share" and least >= 1:
        return "no difference would show on this test set"
    return f"{wording.number(least, unit)} {wording.points(unit)} would show"


def _reached(results: TaskResults, comparison: Comparison) -> str:
    name = comparison["metric"]
    unit = results.unit(name)
    arm, control = (_mean(results, comparison[side], name) for side in ("arm", "control"))
    bounds = wording.interval(comparison["interval"], unit, with_sign=True)
    difference = f"{wording.signed(comparison['difference'], unit)} {wording.points(unit)}"
    return (
        f"{comparison['arm']} reached {wording.number(arm, unit)} in {results.metric_title(name)} "
        f"and {_which(comparison)}, {comparison['control']}, {wording.number(control, unit)}, "
        f"a difference of {difference} ({results.confidence} interval {bounds}, "
        f"corrected p {wording.p_value(comparison['p_adjusted'])})"
    )


def _which(comparison: Comparison) -> str:
    """What the control is among all, and so why the verdict rests on it."""
    if comparison["verdict"] == "gain":
        return "of all controls the one that it was closest to"
    return "the strongest control" if comparison["strongest_control"] else "the control that it did not beat"


def _could_have_shown(results: TaskResults, comparison: Comparison) -> str:
    unit = results.unit(comparison["metric"])
    if comparison["smallest_detectable"] is None:
        return "How small a difference this test set can show could not be computed."
    if unit == "share" and comparison["smallest_detectable"] >= 1:
        return "This test set is too small to show any difference reliably."
    least = f"{wording.number(comparison['smallest_detectable'], unit)} {wording.points(unit)}"
    if results.word == "no difference":
        return f"A difference of {least} or more would most likely have shown; a smaller one may exist."
    return f"Differences of {least} or more show reliably on this test set."


def _mean(results: TaskResults, arm: str, metric: str) -> float | None:
    found = results.arm(arm)
    measured = results.metric(found, metric) if found else None
    return measured["mean"] if measured else None
