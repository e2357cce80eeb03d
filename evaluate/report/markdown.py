"""report.md: the verdict and the arms in a few lines, for a CI summary or a pull-request comment."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from typing import Any

from evaluate.report import wording
from evaluate.report.sentences import least_shown, verdict_sentence
from evaluate.report.tasks import Arm, TaskResults, missing_tasks
from evaluate.report.wording import markdown

CAUTION = "For research, not for diagnosis. Generated images show no patient."


def report_markdown(results: Mapping[str, Any], tasks: Sequence[TaskResults]) -> str:
    """The whole of report.md."""
    lines = [f"## {verdict_line(tasks)}", ""]
    lines += [f"- {markdown(verdict_sentence(task))}" for task in tasks]
    lines += [f"- {wording.TASK_TITLES[task]} was not measured." for task in missing_tasks(results)]
    for task in tasks:
        lines += ["", *_arms(task)]
    lines += ["", f"{_data_line(results)} {CAUTION} Details: `report.html`."]
    return "\n".join(lines) + "\n"


def verdict_line(tasks: Sequence[TaskResults]) -> str:
    """`Classification: no difference. Segmentation: gain.`"""
    return " ".join(f"{task.title}: {wording.VERDICT_TITLES[task.word]}." for task in tasks)


def _arms(task: TaskResults) -> list[str]:
    """One table row per arm: what it saw, what it reached, and against the strongest control."""
    titles = [task.heading(name) for name in task.compared]
    against = f"{task.metric_title(task.primary)} against the strongest control"
    heading = [task.title, "real", "generated", *titles, against, "verdict"]
    lines = [
        _row(heading),
        _row(["---", "---:", "---:", *["---:"] * len(titles), "---:", "---"], escape=False),
    ]
    return lines + [_row(_cells(task, arm)) for arm in task.arms]


def _cells(task: TaskResults, arm: Arm) -> list[str]:
    counts = arm["train_counts"]
    cells = [
        arm["name"],
        wording.count(sum(counts["real"].values())),
        wording.count(sum(counts["synthetic"].values())),
    ]
    cells += [_figure(task, arm, name) for name in task.compared]
    chosen = [c for c in task.judged(task.primary) if c["arm"] == arm["name"] and c["strongest_control"]]
    if not chosen:
        return [*cells, "", ""]
    unit = task.unit(task.primary)
    difference = wording.signed(chosen[0]["difference"], unit)
    if chosen[0]["interval"] is not None:
        difference += f" ({wording.interval(chosen[0]['interval'], unit, with_sign=True)})"
    least = least_shown(chosen[0], unit)
    return [*cells, difference, wording.VERDICT_TITLES[chosen[0]["verdict"]] + (f" ({least})" if least else "")]


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
    return f"{wording.times(real, 'real pair')}{made}."


def _row(cells: Sequence[str], escape: bool = True) -> str:
    return "| " + " | ".join(markdown(cell) if escape else cell for cell in cells) + " |"
