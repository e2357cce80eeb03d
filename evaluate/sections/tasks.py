"""What the results say about one task, in the order in which the report tells it."""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass, field
from typing import Any

from evaluate.pages import wording
from evaluate.settings.arms import CONTROLS, GENERATED, TASKS, parse_arm

Arm = dict[str, Any]
Comparison = dict[str, Any]

# What came later is last, so that the others keep their looks from report to report.
SERIES = {name: number for number, name in enumerate(sorted((*CONTROLS, *GENERATED), key=("real+copy-paste").__eq__))}
_FIRST_METRIC = {"classification": "macro_f1", "segmentation": "dice"}


@dataclass(frozen=True)
class TaskResults:
    """One task of results.json. primary: the metric that decides; compared: all that arms are compared
    by; confidence: that of the intervals; pilot: how the updates were chosen, if they were; verdicts_elsewhere: harm
    and gain on external sets, as the function of that name tells them."""

    task: str
    arms: tuple[Arm, ...]
    comparisons: tuple[Comparison, ...]
    verdict: Mapping[str, Any] | None
    metrics: Mapping[str, Mapping[str, Any]]
    primary: str
    compared: tuple[str, ...]
    confidence: str = "95%"
    pilot: Mapping[str, Any] | None = None
    verdicts_elsewhere: Mapping[str, str] = field(default_factory=dict)

    @property
    def title(self) -> str:
        return wording.TASK_TITLES[self.task]

    def metric_title(self, name: str) -> str:
        """What a metric is called."""
        return str(self.metrics[name]["title"]) if name in self.metrics else wording.title(name)

    def heading(self, name: str) -> str:
        """What a metric is called, with its unit."""
        return f"{self.metric_title(name)} ({wording.unit_mark(self.unit(name))})"

    def unit(self, name: str) -> str:
        """The unit that a metric is told in."""
        return str(self.metrics[name]["unit"]) if name in self.metrics else "share"

    def higher_is_better(self, name: str) -> bool:
        """Which way a metric is better."""
        return bool(self.metrics[name]["higher_is_better"]) if name in self.metrics else True

    def metric(self, arm: Arm, name: str) -> Mapping[str, Any] | None:
        """The metric of an arm, None where it was not measured."""
        return arm["metrics"].get(name)

    def judged(self, metric: str) -> list[Comparison]:
        """Comparisons by `metric`, those that decide first."""
        chosen = [c for c in self.comparisons if c["metric"] == metric]
        return sorted(chosen, key=lambda c: not self.decides(c))

    def decides(self, comparison: Comparison) -> bool:
        """Whether the verdict on an arm rests on it; by other metrics, whether it is against the strongest control."""
        return bool(comparison["primary" if comparison["metric"] == self.primary else "strongest_control"])

    def deciding(self, arm: Arm) -> Comparison | None:
        """The comparison that the verdict on an arm rests on; None where it is judged against nothing."""
        found = self.judged(self.primary)
        return next((c for c in found if c["arm"] == arm["name"] and self.decides(c)), None)

    @property
    def folds(self) -> list[int]:
        """The folds of a cross-validation, in order; empty where there is one split."""
        return sorted({run["fold"] for arm in self.arms for run in arm["runs"] if "fold" in run})

    @property
    def word(self) -> str | None:
        """The verdict, None where nothing was judged."""
        return self.verdict["verdict"] if self.verdict else None

    def arm(self, name: str) -> Arm | None:
        """The arm of that name."""
        return next((arm for arm in self.arms if arm["name"] == name), None)

    def fully_trained(self) -> list[Arm]:
        """The arms that saw all real pairs; low-data arms belong on curves, not beside them."""
        return [arm for arm in self.arms if arm["fraction"] == 1] or list(self.arms)


def task_results(results: Mapping[str, Any]) -> list[TaskResults]:
    """The tasks that were measured, classification first."""
    return [_task(results, task) for task in TASKS if any(arm["task"] == task for arm in results["arms"])]


def missing_tasks(results: Mapping[str, Any]) -> dict[str, str]:
    """Tasks that no arm was trained for, each with what the notes say of it, such as `: no masks are given`."""
    notes = (note.partition(" is not benchmarked") for note in results["data"]["notes"])
    reasons = {task: reason for task, said, reason in notes if said}
    measured = {arm["task"] for arm in results["arms"]}
    return {task: reasons.get(task, "") for task in TASKS if task not in measured}


def verdicts_elsewhere(results: Mapping[str, Any], task: str) -> dict[str, str]:
    """Harm and gain on external sets in one task, by the word: `harm on ph2 and clinic`; empty where neither was
    found."""
    found: dict[str, list[str]] = {"harm": [], "gain": []}
    for external in results.get("external") or ():
        for verdict in external["verdicts"]:
            if verdict["task"] == task and verdict["verdict"] in found:
                found[verdict["verdict"]].append(external["name"])
    return {word: f"{word} on {wording.listed(names)}" for word, names in found.items() if names}


def series_of(name: str) -> int:
    """Which colour and symbol an arm has, the same in every plot."""
    return SERIES[parse_arm(name).base]


def base_of(name: str) -> str:
    """The arm's regime without ratio and fraction."""
    return parse_arm(name).base


def _task(results: Mapping[str, Any], task: str) -> TaskResults:
    arms = tuple(arm for arm in results["arms"] if arm["task"] == task)
    comparisons = tuple(c for c in results["comparisons"] if c["task"] == task)
    verdict = next((v for v in results["verdicts"] if v["task"] == task), None)
    primary = _primary(task, arms, comparisons, verdict)
    compared = tuple(dict.fromkeys([primary, *(c["metric"] for c in comparisons)]))
    confidence = wording.percent(_confidence(results["settings"]))
    pilot = next((found for found in results.get("pilot") or () if found["task"] == task), None)
    return TaskResults(
        task,
        arms,
        comparisons,
        verdict,
        results["metrics"],
        primary,
        compared,
        confidence,
        pilot,
        verdicts_elsewhere(results, task),
    )


def _confidence(settings: Mapping[str, Any]) -> float:
    benchmark = settings.get("benchmark", settings)
    return float(benchmark.get("confidence", 0.95))


def _primary(
    task: str, arms: tuple[Arm, ...], comparisons: tuple[Comparison, ...], verdict: Mapping[str, Any] | None
) -> str:
    if verdict and verdict["comparison"]:
        return str(verdict["comparison"]["metric"])
    decisive = [c["metric"] for c in comparisons if c["primary"]]
    usual = _FIRST_METRIC[task]
    return str(decisive[0] if decisive else usual if usual in arms[0]["metrics"] else next(iter(arms[0]["metrics"])))
