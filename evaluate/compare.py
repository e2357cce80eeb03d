"""Two results files of one dataset side by side: which metrics became worse than their interval allows."""

from __future__ import annotations

import math
from collections.abc import Iterator, Mapping
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any, Literal

from evaluate.pages import wording
from evaluate.results import Results, read_results
from evaluate.sections.markdown import least_shown
from manifests.errors import BadInput
from manifests.markdown import markdown_table

GONE = "not in the new results"

Change = Literal["regression", "improvement", "same", "not judged"]


@dataclass(frozen=True)
class Compared:
    """One metric of one arm, before and after.

    allowed: between what the mean may lie before it counts, empty where it cannot be judged; change: what
    became of it, better and worse in the metric's own direction; reason: why it was not judged by its bounds.
    """

    task: str
    arm: str
    metric: str
    title: str
    unit: str
    old: float | None
    new: float | None
    allowed: str
    change: Change
    reason: str = ""

    @property
    def sentence(self) -> str:
        """`classification hybrid, Macro-F1: 0.612 to 0.540 (allowed: 0.571 to 0.653)`."""
        values = f"{wording.number(self.old, self.unit)} to {wording.number(self.new, self.unit)}"
        return f"{self.task} {self.arm}, {self.title}: {values} ({self.reason or f'allowed: {self.allowed}'})"


@dataclass(frozen=True)
class Comparison:
    """What changed from one results file to another. notes: what was not compared, settings that differ;
    verdicts: how the verdict of each task stands."""

    regressions: tuple[Compared, ...]
    improvements: tuple[Compared, ...]
    unchanged: int
    notes: tuple[str, ...] = ()
    verdicts: tuple[str, ...] = field(default=())

    @property
    def markdown(self) -> str:
        """The comparison for a CI summary or a pull-request comment."""
        return _markdown(self)


def compare_results(old: Path, new: Path, tolerance: float | None = None, allow_missing: bool = False) -> Comparison:
    """Compare every metric of every arm that both files have.

    Without `tolerance` a metric is worse when its new mean lies beyond the old interval on the bad side;
    with it, when the mean is worse by more than `tolerance`, in the metric's own unit (.02 is 2 points). A
    metric that could be computed and no longer can is a regression, and so is an arm or a metric that the new
    file lacks, unless `allow_missing`, which only notes it. Raises BadInput for a file that is
    missing, damaged, of another schema version or holds NaN, for two files of different datasets, and for a
    tolerance that is no distance.
    """
    if tolerance is not None and not (math.isfinite(tolerance) and tolerance >= 0):
        raise BadInput(f"tolerance {tolerance} is not a distance; give a number of 0 or more, such as 0.02")
    before, after = read_results(Path(old)), read_results(Path(new))
    _same_data(before, after, Path(old), Path(new))
    compared = list(_compared(before, after, tolerance))
    if not compared:
        raise BadInput(f"{old} and {new} have no arm and metric in common; benchmark the same arms in both")
    vanished = list(_vanished(before, after))
    if not allow_missing:
        compared += vanished
    return Comparison(
        tuple(c for c in compared if c.change == "regression"),
        tuple(c for c in compared if c.change == "improvement"),
        sum(c.change == "same" for c in compared),
        tuple(_notes(before, after, compared, vanished if allow_missing else [])),
        tuple(_verdicts(before, after)),
    )


def _same_data(before: Results, after: Results, old: Path, new: Path) -> None:
    one, other = before["data"], after["data"]
    if one["classes"] != other["classes"]:
        raise BadInput(f"{old} and {new} have different classes; compare results of one dataset")
    if one["real"]["counts"] != other["real"]["counts"]:
        raise BadInput(f"{old} and {new} have different counts of real pairs; compare results of one dataset")
    if one["real"]["digest"] != other["real"]["digest"]:
        raise BadInput(
            f"{old} and {new} are of different real manifests ({one['real']['digest'][:12]} and "
            f"{other['real']['digest'][:12]}); prepare once and benchmark both on that manifest"
        )


def _compared(before: Results, after: Results, tolerance: float | None) -> Iterator[Compared]:
    new_arms = _arms(after)
    for arm in before["arms"]:
        other = new_arms.get((arm["task"], arm["name"]))
        if other is None:
            continue
        for name, metric in arm["metrics"].items():
            if name in other["metrics"]:
                info = _info(before, name)
                labels = (arm["task"], arm["name"], name, str(info["title"]), str(info["unit"]))
                yield _change(labels, metric, other["metrics"][name], bool(info["higher_is_better"]), tolerance)


def _arms(results: Results) -> dict[tuple[str, str], dict[str, Any]]:
    return {(arm["task"], arm["name"]): arm for arm in results["arms"]}


def _info(results: Results, metric: str) -> Mapping[str, Any]:
    return results["metrics"].get(metric) or {"title": metric, "unit": "share", "higher_is_better": True}


def _vanished(before: Results, after: Results) -> Iterator[Compared]:
    """The arms and metrics that the old results have and the new ones lack."""
    new_arms = _arms(after)
    for arm in before["arms"]:
        other, labels = new_arms.get((arm["task"], arm["name"])), (arm["task"], arm["name"])
        if other is None:
            yield Compared(*labels, "", "every metric", "share", None, None, "", "regression", GONE)
            continue
        for name, metric in arm["metrics"].items():
            if name not in other["metrics"] and metric["mean"] is not None:
                info = _info(before, name)
                titles = (name, str(info["title"]), str(info["unit"]))
                yield Compared(*labels, *titles, metric["mean"], None, "", "regression", GONE)


def _change(
    labels: tuple[str, str, str, str, str],
    old: Mapping[str, Any],
    new: Mapping[str, Any],
    higher_is_better: bool,
    tolerance: float | None,
) -> Compared:
    """What became of one metric."""
    values = (*labels, old["mean"], new["mean"])
    if old["mean"] is None and new["mean"] is None:
        return Compared(*values, "", "not judged", old["reason"] or "cannot be computed")
    if old["mean"] is None:
        return Compared(*values, "", "not judged", "could not be computed before")
    if new["mean"] is None:
        return Compared(*values, "", "regression", new["reason"] or "can no longer be computed")
    if tolerance is None and old["interval"] is None:
        return Compared(*values, "", "not judged", "has no interval; state a tolerance to judge it")
    if tolerance is None:
        low, high = old["interval"]
    else:
        # Below the last printed digit two equal means may differ by rounding.
        low, high = old["mean"] - tolerance - 1e-12, old["mean"] + tolerance + 1e-12
    allowed = wording.interval((low, high), labels[4])
    if low <= new["mean"] <= high:
        return Compared(*values, allowed, "same")
    worse = (new["mean"] < low) == higher_is_better
    return Compared(*values, allowed, "regression" if worse else "improvement")


def _notes(before: Results, after: Results, compared: list[Compared], vanished: list[Compared]) -> Iterator[str]:
    added = sorted(_arms(after).keys() - _arms(before).keys())
    lost = [f"{c.task} {c.arm}" + (f" {c.title}" if c.metric else "") for c in vanished]
    for names, where in ((lost, "old"), ([f"{task} {arm}" for task, arm in added], "new")):
        if names:
            yield f"Only in the {where} results, so not compared: {wording.listed(names)}."
    unjudged = [c for c in compared if c.change == "not judged"]
    if unjudged:
        reasons = wording.listed(sorted({c.reason for c in unjudged}))
        yield f"{wording.times(len(unjudged), 'metric')} not judged: {reasons}."
    if before["settings"] != after["settings"]:
        yield "The two benchmarks had different settings."


def _verdicts(before: Results, after: Results) -> Iterator[str]:
    earlier = {verdict["task"]: verdict["verdict"] for verdict in before["verdicts"]}
    for verdict in after["verdicts"]:
        task = verdict["task"]
        if task in earlier:
            was, now = wording.VERDICT_TITLES[earlier[task]], wording.VERDICT_TITLES[verdict["verdict"]]
            chosen = verdict["comparison"]
            least = least_shown(chosen, str(_info(after, chosen["metric"])["unit"])) if chosen else ""
            sentence = f"{wording.TASK_TITLES[task]}: {now}" + (f", {least}" if least else "")
            yield sentence + (f" (was {was})" if was != now else " (as before)")


def _markdown(comparison: Comparison) -> str:
    worse, better = len(comparison.regressions), len(comparison.improvements)
    heading = wording.times(worse, "regression") if worse else "No regression"
    unchanged = wording.times(comparison.unchanged, "metric")
    sentence = f"{wording.times(better, 'improvement')}, {unchanged} within bounds."
    lines = [f"## {heading}", "", sentence, ""]
    lines += [f"- {line}" for line in comparison.verdicts] + [""] * bool(comparison.verdicts)
    for title, rows in (("Regressions", comparison.regressions), ("Improvements", comparison.improvements)):
        if rows:
            headings = ("task", "arm", "metric", "old", "new", "allowed")
            table = markdown_table(headings, (_cells(row) for row in rows), numeric=(3, 4))
            lines += [f"### {title}", "", table, ""]
    lines += [f"- {wording.markdown(note)}" for note in comparison.notes]
    return "\n".join(lines).rstrip() + "\n"


def _cells(row: Compared) -> list[str]:
    old, new = wording.number(row.old, row.unit), wording.number(row.new, row.unit)
    cells = (row.task, row.arm, row.title, old, new, row.allowed or row.reason)
    return [wording.markdown(cell) for cell in cells]
