"""From finished cells to results.json: which arms there are, how they did, and what may be said of them."""

from __future__ import annotations

from collections import Counter
from collections.abc import Mapping, Sequence
from dataclasses import asdict
from pathlib import Path
from typing import Any

import numpy as np

from evaluate.benchmark.cells import (
    Cell,
    Restricted,
    cell_digest,
    has_masks,
    plan_cells,
    read_cell,
    read_predictions,
    skipped_arms,
    source_of,
)
from evaluate.benchmark.comparisons import JudgedArm, compare_arms, headlines
from evaluate.benchmark.evidence import check_evidence, evidence_notes, notes
from evaluate.benchmark.folds import Round, described_folds, fold_notes, joined_sets
from evaluate.benchmark.pools import judged_pairs
from evaluate.benchmark.summary import JudgedSet, arm_entry, measure, rare_classes, small_subgroups
from evaluate.metrics.classification import metric_info
from evaluate.metrics.statistics import group_weights
from evaluate.results import SCHEMA_VERSION
from evaluate.settings.arms import Task, parse_arm
from evaluate.settings.benchmark import BenchmarkSettings
from manifests.errors import EvendermError
from manifests.format.reading import Manifest
from manifests.format.schema import ATTRIBUTES

BOOTSTRAP_SEED = 20171
"""One stream of weights for every arm, seed and metric: what makes comparisons paired."""


def collect_results(
    work: Path,
    real: Manifest,
    synthetic: Manifest | None,
    settings: BenchmarkSettings,
    environment: Mapping[str, Any],
    timings: Mapping[str, Any],
    *,
    arrays: Path | None = None,
    restricted: Restricted | None = None,
    folds: Sequence[Round] = (),
    fidelity: Mapping[str, Any] | None = None,
    copies: Mapping[str, Any] | None = None,
    gates: Mapping[str, Any] | None = None,
) -> dict[str, Any]:
    """The content of results.json from the finished cells in `work`, which `write_results` checks.

    arrays: where decoded pairs are kept, a folder in `work` where none is named; folds: those of a cross-validation,
    whose cells lie in `work` folders of their own.
    EvendermError if a cell of the plan is not finished; BadInput if the split is not obeyed.
    """
    rounds = folds or [Round(work, real, synthetic, settings, arrays or work / "arrays", restricted or {})]
    for one in rounds:
        check_evidence(one.real, one.synthetic, settings.tasks)
    entries: list[dict[str, Any]] = []
    downstream: Counter[str] = Counter()
    judged_arms: list[JudgedArm] = []
    small: dict[str, None] = {}
    for task in settings.tasks:
        validation = [judged_set(task, one, "validation") for one in rounds]
        test = joined_sets([judged_set(task, one, "test") for one in rounds], rounds, BOOTSTRAP_SEED)
        small |= dict.fromkeys(small_subgroups(test, settings))
        for arm in _trained_arms(task, rounds):
            entry, judged_arm, seconds = _judge_arm(arm, rounds, validation, test)
            downstream.update(seconds)
            entries.append(entry)
            judged_arms.append(judged_arm)
    comparisons = compare_arms(judged_arms, settings)
    data = _data(real, synthetic, rounds)
    data["notes"] += [
        *fold_notes(rounds, real),
        *small,
        *evidence_notes(settings, {(arm.task, arm.name) for arm in judged_arms}),
    ]
    return {
        "schema_version": SCHEMA_VERSION,
        "environment": dict(environment),
        # Where other hospitals' data lie is nobody's business.
        "settings": settings.model_dump(mode="json", exclude={"external"}),
        "data": data,
        "metrics": _metric_table(entries),
        "verdicts": headlines(judged_arms, comparisons, settings),
        "arms": entries,
        "comparisons": comparisons,
        "fidelity": fidelity and dict(fidelity),
        "copies": copies and dict(copies),
        "gates": gates and dict(gates),
        "timings": {**timings, "downstream": {name: round(took, 3) for name, took in downstream.items()}},
    }


def judged_set(task: Task, of: Round, split: str) -> JudgedSet:
    """The pairs that `task` is judged on in `split`, with the weights of their groups."""
    real, settings = of.real, of.settings
    pairs = judged_pairs(task, real, split, settings, of.arrays)
    table = real.table(["pair_id", *ATTRIBUTES], split=split).to_pydict()
    row_of = {pair_id: row for row, pair_id in enumerate(table["pair_id"])}
    rows = [row_of[pair_id] for pair_id in pairs.pair_ids]
    attributes = {name: [table[name][row] for row in rows] for name in ATTRIBUTES}
    return JudgedSet(
        task=task,
        classes=real.classes,
        rare=rare_classes(real.classes, real.counts()["train"]),
        labels=np.asarray(pairs.labels),
        group_ids=pairs.group_ids,
        weights=group_weights(pairs.group_ids, settings.replicates, BOOTSTRAP_SEED),
        attributes={name: values for name, values in attributes.items() if any(values)},
    )


def _cells(of: Round) -> list[Cell]:
    counts = of.real.counts()
    return plan_cells(of.settings, counts, of.synthetic is not None, of.restricted, has_masks(of.real))


def _trained_arms(task: Task, rounds: Sequence[Round]) -> list[str]:
    """The arms of `task` that every round has."""
    found = [dict.fromkeys(cell.arm for cell in _cells(one) if cell.task == task) for one in rounds]
    return [arm for arm in found[0] if all(arm in names for names in found)]


def _judge_arm(
    arm: str, rounds: Sequence[Round], validation: Sequence[JudgedSet], test: JudgedSet
) -> tuple[dict[str, Any], JudgedArm, Mapping[str, float]]:
    """The arm's entry, what comparisons need of it, and the seconds its trainings took by activity.

    Its predictions of the test pairs of all rounds stand together, seed by seed; on validation it is their mean.
    """
    task, settings = test.task, rounds[0].settings
    runs: list[dict[str, Any]] = []
    seconds: Counter[str] = Counter()
    predictions, scores = [], []
    for seed in range(settings.first_seed, settings.first_seed + settings.seeds):
        parts, held = [], []
        for one, of_round in zip(rounds, validation, strict=True):
            path, run = _read(Cell(arm, task, seed), one)
            runs.append(run)
            seconds.update(run["seconds"])
            parts.append(read_predictions(path, run, "test"))
            figures = of_round.figures(read_predictions(path, run, "validation"))
            held.append(figures.values.get(settings.compared(task)[0]))
        predictions.append(np.concatenate(parts))
        known = [score for score in held if score is not None]
        scores.append(float(np.mean(known)) if len(known) == len(held) else None)
    measured = measure(test, predictions)
    entry = arm_entry(arm, test, measured, runs, predictions, scores, settings)
    if (part := parse_arm(arm).part) > 1:
        entry["fraction"] = part * len(rounds) / sum(sum(one.real.counts()["train"].values()) for one in rounds)
    return entry, JudgedArm(arm, task, measured, entry["validation"]["mean"]), seconds


def _read(cell: Cell, of: Round) -> tuple[Path, dict[str, Any]]:
    """Where a finished cell of a round lies, and its content with the round's budget and fold."""
    source = source_of(parse_arm(cell.arm), of.synthetic, of.restricted)
    path = of.work / f"{cell.name}.json"
    run = read_cell(path, cell_digest(cell, of.real, source, of.settings))
    if run is None:
        raise EvendermError(f"{path} is not finished; run the benchmark to its end before collecting it")
    run["budget"] = of.settings.training(cell.task).updates
    return path, run if of.fold is None else {**run, "fold": of.fold}


def _data(real: Manifest, synthetic: Manifest | None, rounds: Sequence[Round]) -> dict[str, Any]:
    counts = real.counts()
    groups = {group for one in rounds for group in one.real.table(["group_id"], split="test")["group_id"].to_pylist()}
    made = None
    if synthetic is not None:
        made = {"digest": synthetic.digest, "counts": synthetic.counts().get("train", {})}
    skipped = {
        (arm.task, arm.arm): arm
        for one in rounds
        for arm in skipped_arms(one.settings, one.synthetic is not None, one.restricted, has_masks(one.real))
    }
    return {
        "real": {"digest": real.digest, "counts": counts, "drawn": real.drawn},
        "synthetic": made,
        "classes": list(real.classes),
        "rare_classes": list(rare_classes(real.classes, counts["train"])),
        "test_groups": len(groups),
        "notes": notes(real, synthetic),
        "skipped_arms": [asdict(arm) for arm in skipped.values()],
        **({"folds": described_folds(rounds)} if rounds[0].fold is not None else {}),
    }


def _metric_table(arms: list[dict[str, Any]]) -> dict[str, dict[str, Any]]:
    """Title, direction and unit of every metric that an arm has."""
    names = dict.fromkeys(name for arm in arms for name in arm["metrics"])
    infos = {name: metric_info(name) for name in names}
    return {
        name: {"title": info.title, "higher_is_better": info.higher_is_better, "unit": info.unit}
        for name, info in infos.items()
    }
