"""The verdict of a task in plain words: the difference, its interval and what could have been seen."""

from __future__ import annotations

from collections.abc import Mapping
from typing import Any

from evaluate.report import wording
from evaluate.report.tasks import Comparison, TaskResults

_OPENINGS = {
    "gain": "Training with generated pairs helped",
    "no difference": "No difference was shown",
    "harm": "Training with generated pairs did harm",
}


def verdict_sentence(results: TaskResults) -> str:
    """What a reader may believe about one task."""
    comparison = results.verdict["comparison"] if results.verdict else None
    if comparison is None:
        return "Nothing was compared, because no arm used generated pairs."
    if results.word is None or comparison["difference"] is None:
        return f"No verdict on {comparison['arm']} against {comparison['control']}: {comparison['reason']}."
    opening = _OPENINGS[results.word]
    return f"{opening}: {_reached(results, comparison)}. {_could_have_shown(results, comparison)}"


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
        f"and the strongest control, {comparison['control']}, {wording.number(control, unit)}, "
        f"a difference of {difference} ({results.confidence} interval {bounds}, "
        f"corrected p {wording.p_value(comparison['p_adjusted'])})"
    )


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
