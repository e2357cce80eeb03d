"""Arms on the page: the tables of what each was trained on and reached, and the section of a task around them."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from functools import partial
from typing import Any

from evaluate.metrics.safety import MELANOMA, SENSITIVITIES
from evaluate.pages import wording
from evaluate.pages.tables import Cell, Table, counts_table, figure_cell, number_cell
from evaluate.sections.classes import class_bars, confusions, reliabilities, subgroup_bars
from evaluate.sections.curves import decision_curve, learning_curve, pilot_curve, ratio_curve, training_curve
from evaluate.sections.differences import comparisons_table, forest, verdict_card
from evaluate.sections.effects import effect_curves, effects_table
from evaluate.sections.tasks import Arm, TaskResults, series_of

_SAFETY_FIRST = (*(f"{name}:{dx}" for dx in MELANOMA for name in SENSITIVITIES), "ece")
"""What stands beside the compared metrics, so that a gain that costs melanomas is seen."""


def arms_table(results: TaskResults) -> Table:
    """The main table: every arm with the metrics that arms are compared by, and what it misses of melanomas."""
    shown = (*results.compared, *_SAFETY_FIRST) if results.task == "classification" else results.compared
    shown = tuple(name for name in shown if name in results.metrics)
    reached = (results.heading(name) for name in shown)
    columns = ("arm", *reached, "real pairs", "generated pairs", "updates", "seeds")
    rows = tuple(
        (
            _name_cell(arm),
            *(figure_cell(results.metric(arm, name), results.unit(name)) for name in shown),
            *_training_cells(arm),
        )
        for arm in results.arms
    )
    tested = "test pairs of all folds" if results.folds else "test split"
    caption = f"{results.title}: arms, mean over seeds and {results.confidence} interval on the {tested}"
    return Table(caption, columns, rows, _budget_notes(results))


def all_metrics_table(results: TaskResults) -> Table:
    """Every metric of every arm, one row per metric."""
    names = list(dict.fromkeys(name for arm in results.arms for name in arm["metrics"]))
    rows = []
    for name in names:
        better = "" if results.higher_is_better(name) else "lower is better"
        heading = Cell(results.heading(name), note=better)
        figures = (figure_cell(results.metric(arm, name), results.unit(name)) for arm in results.arms)
        rows.append((heading, *figures))
    columns = ("metric", *(arm["name"] for arm in results.arms))
    return Table(f"{results.title}: every metric", columns, tuple(rows))


def seeds_table(results: TaskResults) -> Table:
    """The deciding metric of every training run, and what validation said of it."""
    seeds = list(dict.fromkeys(seed for arm in results.arms for seed in arm["seeds"]))
    unit = results.unit(results.primary)
    rows = []
    for arm in results.arms:
        metric = results.metric(arm, results.primary)
        by_seed = dict(zip(arm["seeds"], metric["per_seed"] if metric else [], strict=False))
        figures = (*(by_seed.get(seed) for seed in seeds), arm["validation"]["mean"])
        rows.append((_name_cell(arm), *(number_cell(figure, partial(wording.number, unit=unit)) for figure in figures)))
    columns = ("arm", *(f"seed {seed}" for seed in seeds), "validation mean")
    return Table(f"{results.title}: {results.heading(results.primary)}, by seed", columns, tuple(rows))


def folds_table(results: TaskResults) -> Table | None:
    """The deciding metric in each fold, and what generated pairs changed there; None without a cross-validation."""
    unit, folds = results.unit(results.primary), results.folds
    if not folds:
        return None
    number, signed = partial(wording.number, unit=unit), partial(wording.signed, unit=unit)
    rows = []
    for arm in results.arms:
        found = (results.metric(arm, results.primary) or {}).get("per_fold", [None] * len(folds))
        rows.append((_name_cell(arm), *(number_cell(figure, number) for figure in found)))
    for comparison in results.judged(results.primary):
        found = comparison.get("per_fold", [None] * len(folds))
        name = Cell(f"{comparison['arm']} − {comparison['control']}", series=series_of(comparison["arm"]))
        rows.append((name, *(number_cell(figure, signed) for figure in found)))
    columns = ("arm, or arm − control", *(f"fold {fold}" for fold in folds))
    caption = f"{results.title}: {results.heading(results.primary)}, by fold, mean over seeds"
    return Table(caption, columns, tuple(rows))


def train_counts_table(results: TaskResults, classes: Sequence[str]) -> Table:
    """How many pairs of each class an arm could draw from."""
    counts = {}
    for arm in results.arms:
        for origin, title in (("real", "real"), ("synthetic", "generated")):
            if arm["train_counts"][origin]:
                counts[f"{arm['name']}, {title}"] = arm["train_counts"][origin]
    return counts_table(f"{results.title}: training pairs by class", counts, classes)


def _name_cell(arm: Arm) -> Cell:
    return Cell(arm["name"], note=arm["description"], series=series_of(arm["name"]))


def _training_cells(arm: Arm) -> tuple[Cell, ...]:
    counts = arm["train_counts"]
    return (
        number_cell(sum(counts["real"].values())),
        number_cell(sum(counts["synthetic"].values())),
        _updates_cell(arm),
        number_cell(len(arm["seeds"])),
    )


def _updates_made(arm: Arm) -> list[int]:
    """Of every run; a budget is not always spent where patience ends a training."""
    return [run["updates"] for run in arm["runs"]] or [arm["updates"]]


def _updates_cell(arm: Arm) -> Cell:
    made = _updates_made(arm)
    return Cell(_range(sorted(set(made))), sum(made) / len(made), numeric=True)


def _range(numbers: Sequence[int]) -> str:
    ends = dict.fromkeys((numbers[0], numbers[-1]))
    return " to ".join(wording.count(number) for number in ends)


def _budget_notes(results: TaskResults) -> tuple[str, ...]:
    """Whether the budgets are equal, and with which model; a reader should not have to take it on trust."""
    notes = []
    updates = sorted({arm["updates"] for arm in results.arms})
    made = sorted({number for arm in results.arms for number in _updates_made(arm)})
    if results.folds and len(made) > 1:
        notes.append(f"In each fold every arm had the same budget, by a pilot of its own: {_range(made)} updates.")
        made = updates
    elif len(updates) == 1:
        notes.append(f"Every arm had the same budget: {wording.times(updates[0], 'update')}.")
    else:
        notes.append(f"Budgets differ between arms: {wording.listed([wording.count(u) for u in updates])} updates.")
    if results.pilot:
        tried = wording.listed([wording.count(rung["updates"]) for rung in results.pilot["rungs"]])
        notes.append(
            f"A pilot of controls chose it on validation, among trainings of {tried} updates: the fewest that came "
            f"within {wording.number(results.pilot['plateau'])} points of the best."
        )
    if made != updates:
        notes.append(f"Training ended earlier where validation no longer rose: {_range(made)} updates were made.")
    models = dict.fromkeys(
        f"{arm['model']} ({wording.count(arm['parameters'])} parameters, encoder weights: "
        f"{arm['encoder_weights'] or 'none'})"
        for arm in results.arms
    )
    notes.append(f"Model: {wording.listed(list(models))}.")
    return tuple(notes)


def task_section(results: TaskResults, data: Mapping[str, Any]) -> dict[str, Any]:
    """Everything that the page says of one task, as its template reads it; data: of results.json."""
    classes = data["classes"]
    tested = [split["counts"].get("test", {}) for split in data.get("folds") or [data["real"]]]
    test = {dx: sum(counts.get(dx, 0) for counts in tested) for dx in classes}
    curves = (learning_curve(results), ratio_curve(results), pilot_curve(results), decision_curve(results, test))
    return {
        "name": results.task,
        "title": results.title,
        "confidence": results.confidence,
        "card": verdict_card(results),
        "arms": arms_table(results),
        "forests": [found for metric in results.compared if (found := forest(results, metric))],
        "comparisons": comparisons_table(results),
        "metrics": all_metrics_table(results),
        "seeds": seeds_table(results),
        "effects": effect_curves(results),
        "effects_table": effects_table(results),
        "folds": folds_table(results),
        "curves": [figure for figure in curves if figure],
        "training": training_curve(results),
        "class_bars": class_bars(results, classes),
        "subgroup_bars": subgroup_bars(results),
        "confusions": confusions(results, classes),
        "reliabilities": reliabilities(results),
    }
