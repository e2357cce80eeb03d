"""One task's part of the page, from the table of arms to the reliability diagrams."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass

from evaluate.report.arms import all_metrics_table, arms_table, seeds_table
from evaluate.report.classes import (
    BarChart,
    Confusion,
    Reliability,
    class_bars,
    confusions,
    reliabilities,
    subgroup_bars,
)
from evaluate.report.curves import Figure, learning_curve, ratio_curve, training_curve
from evaluate.report.differences import Forest, VerdictCard, comparisons_table, forest, verdict_card
from evaluate.report.tables import Table
from evaluate.report.tasks import TaskResults


@dataclass(frozen=True)
class TaskSection:
    """Everything that the page says of one task."""

    name: str
    title: str
    confidence: str
    card: VerdictCard
    arms: Table
    forests: tuple[Forest, ...]
    comparisons: Table
    metrics: Table
    seeds: Table
    curves: tuple[Figure, ...]
    training: Figure | None
    class_bars: tuple[BarChart, ...]
    subgroup_bars: tuple[BarChart, ...]
    confusions: tuple[Confusion, ...]
    reliabilities: tuple[Reliability, ...]


def task_section(results: TaskResults, classes: Sequence[str]) -> TaskSection:
    """The section of one task."""
    return TaskSection(
        results.task,
        results.title,
        results.confidence,
        verdict_card(results),
        arms_table(results),
        tuple(f for f in (forest(results, metric) for metric in results.compared) if f),
        comparisons_table(results),
        all_metrics_table(results),
        seeds_table(results),
        tuple(figure for figure in (learning_curve(results), ratio_curve(results)) if figure),
        training_curve(results),
        tuple(class_bars(results, classes)),
        tuple(subgroup_bars(results)),
        tuple(confusions(results, classes)),
        tuple(reliabilities(results)),
    )
