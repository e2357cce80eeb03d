"""Arm against control: the strongest control by validation, differences with intervals, and what may be
said."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from typing import Any

from evaluate.benchmark.summary import TOO_FEW_GROUPS, Measured
from evaluate.metrics.classification import MetricInfo, metric_info
from evaluate.metrics.statistics import Replicates, compare, holm, verdict
from evaluate.settings.arms import Task, parse_arm
from evaluate.settings.benchmark import BenchmarkSettings

ONE_SEED = "one seed says nothing of the spread between training runs; use three or more"


@dataclass(frozen=True)
class JudgedArm:
    """An arm ready to be compared. validation: mean of the deciding metric on the validation pairs."""

    name: str
    task: Task
    measured: Measured
    validation: float | None


def strongest_control(arms: Sequence[JudgedArm], part: float, metric: str) -> JudgedArm | None:
    """The control of this part that is best on validation; the choice never sees the test pairs."""
    controls = [a for a in arms if parse_arm(a.name).is_control and parse_arm(a.name).part == part]
    if not controls:
        return None
    sign = 1 if metric_info(metric).higher_is_better else -1
    return max(controls, key=lambda a: float("-inf") if a.validation is None else sign * a.validation)


def compare_arms(arms: Sequence[JudgedArm], settings: BenchmarkSettings) -> list[dict[str, Any]]:
    """Every comparison, as results.json has it.

    Each arm with generated pairs meets every control of its task and part in the deciding metric, and the
    strongest of them in every compared one. The primary comparison of an arm is the one that its verdict rests on, see
    `deciding`. Holm's correction runs over the primary ones together, and over all others together; the smallest
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
            # Better than the strongest and not than another: no verdict but `no difference` is possible.
            undecided = primary and not entry["strongest_control"] and _doubt(entry) > 1
            entry["p_adjusted"] = 1.0 if undecided else adjusted
            entry["smallest_detectable"] = _detectable(entry, arms, len(family), settings)
            if entry["reason"] is None:
                better = metric_info(entry["metric"]).higher_is_better
                entry["verdict"] = verdict(entry["difference"], entry["p_adjusted"], settings.confidence, better)
    return found


def deciding(entries: Sequence[dict[str, Any]]) -> dict[str, Any]:
    """The comparison that the verdict on an arm rests on, of those with each control in the deciding metric.

    A gain is a gain over every control, so that the control which is beaten least decides, and the largest p counts:
    an intersection-union test, which needs no correction among the controls (Berger, "Multiparameter Hypothesis
    Testing and Acceptance Sampling", 1982). Where the strongest control is not beaten, it decides, and harm is to be
    worse than that one. Either way a false verdict is no likelier than in a single test against the strongest.
    """
    strongest = next(entry for entry in entries if entry["strongest_control"])
    if strongest["p"] is None or _doubt(strongest) > 1:
        return strongest
    return max(entries, key=_doubt)


def _doubt(entry: Mapping[str, Any]) -> float:
    """Twice the one-sided p that the arm is better than the control: above 1 where it is not even by the figures."""
    if entry["p"] is None:
        return 2.0
    better = (entry["difference"] > 0) == metric_info(entry["metric"]).higher_is_better
    return float(entry["p"] if better else 2 - entry["p"])


def _comparisons_of(arm: JudgedArm, of_task: Sequence[JudgedArm], settings: BenchmarkSettings) -> list[dict[str, Any]]:
    metrics, part = settings.compared(arm.task), parse_arm(arm.name).part
    strongest = strongest_control(of_task, part, metrics[0])
    if strongest is None:
        return []
    entries = [_entry(arm, strongest, metric, True, settings) for metric in metrics]
    others = [
        other
        for other in of_task
        if parse_arm(other.name).is_control and parse_arm(other.name).part == part and other.name != strongest.name
    ]
    entries += [_entry(arm, other, metrics[0], False, settings) for other in others]
    deciding([entry for entry in entries if entry["metric"] == metrics[0]])["primary"] = True
    return entries


def _entry(
    arm: JudgedArm,
    control: JudgedArm,
    metric: str,
    strongest: bool,
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
        "primary": False,
        "reason": None,
    }
    pair = _replicates(arm, control, metric)
    if pair is None:
        return entry | {"reason": _missing(arm, control, metric)}
    result = compare(*pair, settings.confidence, settings.power, metric_info(metric).bounds[1])
    by_fold = pair[0].minus(pair[1]).fold_means()
    entry |= {
        **({} if by_fold is None else {"per_fold": by_fold}),
        "difference": result.difference,
        "interval": list(result.interval) if result.interval else None,
        "p": result.p,
    }
    if result.interval is None:
        return entry | {"reason": TOO_FEW_GROUPS}
    return entry if settings.seeds > 1 else entry | {"reason": ONE_SEED}


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
    validation, against all controls in the deciding metric; the comparison is the one that it rests on."""
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
    full = [a for a in known if parse_arm(a.name).part == 1] or known
    return primary[max(full, key=lambda a: sign * (a.validation or 0.0)).name] if full else None


def sentence(task: Task, comparison: Mapping[str, Any] | None, confidence: float) -> str:
    """The verdict in words, with the interval and, for no difference, what the test set could have shown."""
    if comparison is None:
        return f"{task}: nothing was compared, because no arm used generated pairs."
    names = f"{comparison['arm']} against {comparison['control']}"
    if comparison["verdict"] == "gain":
        names += ", the control that it was closest to"
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
