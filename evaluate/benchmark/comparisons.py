"""Arm against control: the strongest control by validation, differences with intervals, and what may be
said."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from typing import Any

from evaluate.benchmark.summary import TOO_FEW_GROUPS, Measured
from evaluate.metrics.classification import MetricInfo, metric_info
from evaluate.metrics.statistics import Replicates, compare, holm, verdict
from evaluate.settings.benchmark import BenchmarkSettings, Task, parse_arm

ONE_SEED = "one seed says nothing of the spread between training runs; use three or more"


@dataclass(frozen=True)
class JudgedArm:
    """An arm ready to be compared. validation: mean of the deciding metric on the validation pairs."""

    name: str
    task: Task
    measured: Measured
    validation: float | None


def strongest_control(arms: Sequence[JudgedArm], fraction: float, metric: str) -> JudgedArm | None:
    """The control of this fraction that is best on validation; the choice never sees the test pairs."""
    controls = [a for a in arms if parse_arm(a.name).is_control and parse_arm(a.name).fraction == fraction]
    if not controls:
        return None
    sign = 1 if metric_info(metric).higher_is_better else -1
    return max(controls, key=lambda a: float("-inf") if a.validation is None else sign * a.validation)


def compare_arms(arms: Sequence[JudgedArm], settings: BenchmarkSettings) -> list[dict[str, Any]]:
    """Every comparison, as results.json has it.

    Each arm with generated pairs meets the strongest control of its task and fraction in every compared
    metric; those in the deciding metric are the primary ones. It meets the other controls in the deciding
    metric. Holm's correction runs over the primary ones together, and over all others together; the smallest
    detectable difference is told at the corrected level.
    """
    found: list[dict[str, Any]] = []
    for task in settings.tasks:
        of_task = [arm for arm in arms if arm.task == task]
        for arm in of_task:
            if not parse_arm(arm.name).is_control:
                found += _comparisons_of(arm, of_task, settings)
    for primary in (True, False):
        family = [c for c in found if c["primary"] is primary and c["p"] is not None]
        for entry, adjusted in zip(family, holm([c["p"] for c in family]), strict=True):
            entry["p_adjusted"] = adjusted
            entry["smallest_detectable"] = _detectable(entry, arms, len(family), settings)
            if entry["reason"] is None:
                better = metric_info(entry["metric"]).higher_is_better
                entry["verdict"] = verdict(entry["difference"], adjusted, settings.confidence, better)
    return found


def _comparisons_of(arm: JudgedArm, of_task: Sequence[JudgedArm], settings: BenchmarkSettings) -> list[dict[str, Any]]:
    metrics, fraction = settings.compared(arm.task), parse_arm(arm.name).fraction
    strongest = strongest_control(of_task, fraction, metrics[0])
    if strongest is None:
        return []
    entries = [_entry(arm, strongest, metric, True, metric == metrics[0], settings) for metric in metrics]
    others = [
        other
        for other in of_task
        if parse_arm(other.name).is_control
        and parse_arm(other.name).fraction == fraction
        and other.name != strongest.name
    ]
    return entries + [_entry(arm, other, metrics[0], False, False, settings) for other in others]


def _entry(
    arm: JudgedArm,
    control: JudgedArm,
    metric: str,
    strongest: bool,
    primary: bool,
    settings: BenchmarkSettings,
) -> dict[str, Any]:
    entry: dict[str, Any] = {
        "task": arm.task,
        "arm": arm.name,
        "control": control.name,
        "metric": metric,
        "difference": None,
        "interval": None,
        "p": None,
        "p_adjusted": None,
        "verdict": None,
        "smallest_detectable": None,
        "strongest_control": strongest,
        "primary": primary,
        "reason": None,
    }
    pair = _replicates(arm, control, metric)
    if pair is None:
        return entry | {"reason": _missing(arm, control, metric)}
    result = compare(*pair, settings.confidence, settings.power, metric_info(metric).bounds[1])
    entry |= {
        "difference": result.difference,
        "interval": list(result.interval) if result.interval else None,
        "p": result.p,
    }
    if result.interval is None:
        return entry | {"reason": TOO_FEW_GROUPS}
    return entry if len(pair[0].points) > 1 else entry | {"reason": ONE_SEED}


def _detectable(
    entry: Mapping[str, Any], arms: Sequence[JudgedArm], tests: int, settings: BenchmarkSettings
) -> float | None:
    """The difference that would have shown among `tests` that are corrected for together."""
    by_name = {(arm.task, arm.name): arm for arm in arms}
    arm, control = (by_name[entry["task"], entry[side]] for side in ("arm", "control"))
    pair = _replicates(arm, control, entry["metric"])
    assert pair is not None, "a comparison with a p has both"
    return compare(*pair, settings.confidence, settings.power, tests=tests).smallest_detectable


def _replicates(arm: JudgedArm, control: JudgedArm, metric: str) -> tuple[Replicates, Replicates] | None:
    first, second = arm.measured.replicates.get(metric), control.measured.replicates.get(metric)
    return (first, second) if first is not None and second is not None else None


def _missing(arm: JudgedArm, control: JudgedArm, metric: str) -> str:
    for judged in (arm, control):
        for figure in judged.measured.figures:
            if metric in figure.reasons:
                return figure.reasons[metric]
    return f"{metric} was not measured for both arms"


def headlines(
    arms: Sequence[JudgedArm], comparisons: Sequence[Mapping[str, Any]], settings: BenchmarkSettings
) -> list[dict[str, Any]]:
    """The verdict of each task: on `hybrid`, or where it was not trained on the generated arm that is best on
    validation, against the strongest control in the deciding metric."""
    said = []
    for task in settings.tasks:
        primary = {c["arm"]: c for c in comparisons if c["task"] == task and c["primary"]}
        metric = settings.compared(task)[0]
        chosen = primary.get("hybrid") or _best_on_validation(arms, primary, task, metric)
        said.append(
            {
                "task": task,
                "verdict": chosen["verdict"] if chosen else None,
                "sentence": sentence(task, chosen, settings.confidence),
                "comparison": dict(chosen) if chosen else None,
            }
        )
    return said


def _best_on_validation(
    arms: Sequence[JudgedArm], primary: Mapping[str, Mapping[str, Any]], task: Task, metric: str
) -> Mapping[str, Any] | None:
    sign = 1 if metric_info(metric).higher_is_better else -1
    known = [a for a in arms if a.task == task and a.name in primary and a.validation is not None]
    full = [a for a in known if parse_arm(a.name).fraction == 1] or known
    return primary[max(full, key=lambda a: sign * (a.validation or 0.0)).name] if full else None


def sentence(task: Task, comparison: Mapping[str, Any] | None, confidence: float) -> str:
    """The verdict in words, with the interval and, for no difference, what the test set could have shown."""
    if comparison is None:
        return f"{task}: nothing was compared, because no arm used generated pairs."
    names = f"{comparison['arm']} against {comparison['control']}"
    if comparison["verdict"] is None:
        return f"{task}: no verdict on {names}: {comparison['reason']}."
    info = metric_info(comparison["metric"])
    scale, unit = (100, "points") if info.unit == "share" else (1, info.unit)
    low, high = (scale * edge for edge in comparison["interval"])
    text = (
        f"{task}: {comparison['verdict']}: {names}, {info.title} changed by "
        f"{scale * comparison['difference']:+.1f} {unit} ({100 * confidence:g}% interval {low:+.1f} to "
        f"{high:+.1f}, adjusted p {_shown_p(comparison['p_adjusted'])})"
    )
    if comparison["verdict"] == "no difference":
        text += f"; {_could_show(comparison['smallest_detectable'], metric_info(comparison['metric']))}"
    return text + "."


def _could_show(smallest: float, info: MetricInfo) -> str:
    """What the test set could have told, which keeps `no difference` from being read as `equal`."""
    if info.unit != "share":
        return f"this test set could have shown {smallest:.1f} {info.unit}"
    if smallest >= 1:
        return "this test set is too small to show any difference"
    return f"this test set could have shown {100 * smallest:.1f} points"


def _shown_p(p: float) -> str:
    return "below .001" if p < 0.001 else f"{p:.3f}".lstrip("0")
