"""From finished cells to results.json: which arms there are, how they did, and what may be said of them."""

from __future__ import annotations

from collections import Counter, defaultdict
from collections.abc import Mapping
from dataclasses import asdict
from pathlib import Path
from typing import Any

import numpy as np

from evaluate.benchmark.cells import (
    Cell,
    Restricted,
    cell_digest,
    has_masks,
    judged_pairs,
    plan_cells,
    read_cell,
    read_predictions,
    skipped_arms,
    source_of,
)
from evaluate.benchmark.comparisons import JudgedArm, compare_arms, headlines
from evaluate.benchmark.evidence import check_evidence, evidence_notes, notes
from evaluate.benchmark.summary import JudgedSet, arm_entry, measure, rare_classes, small_subgroups
from evaluate.metrics.classification import metric_info
from evaluate.metrics.statistics import group_weights
from evaluate.results import SCHEMA_VERSION
from evaluate.settings.benchmark import BenchmarkSettings, Task, parse_arm
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
    fidelity: Mapping[str, Any] | None = None,
    copies: Mapping[str, Any] | None = None,
    gates: Mapping[str, Any] | None = None,
) -> dict[str, Any]:
    """The content of results.json from the finished cells in `work`, which `write_results` checks.

    arrays: where decoded pairs are kept, a folder in `work` where none is named.
    EvendermError if a cell of the plan is not finished; BadInput if the split is not obeyed.
    """
    restricted, arrays = restricted or {}, arrays or work / "arrays"
    check_evidence(real, synthetic, settings.tasks)
    cells = plan_cells(settings, real.counts(), synthetic is not None, restricted, has_masks(real))
    entries: list[dict[str, Any]] = []
    downstream: Counter[str] = Counter()
    judged_arms: list[JudgedArm] = []
    small: dict[str, None] = {}
    for task in settings.tasks:
        by_arm: dict[str, list[Cell]] = defaultdict(list)
        for cell in cells:
            if cell.task == task:
                by_arm[cell.arm].append(cell)
        sets = {
            split: judged_set(task, real, split, settings, arrays or work / "arrays")
            for split in ("validation", "test")
        }
        small |= dict.fromkeys(small_subgroups(sets["test"], settings))
        for arm, of_arm in by_arm.items():
            entry, judged_arm, seconds = _judge_arm(arm, of_arm, sets, work, real, synthetic, settings, restricted)
            downstream.update(seconds)
            entries.append(entry)
            judged_arms.append(judged_arm)
    comparisons = compare_arms(judged_arms, settings)
    data = _data(real, synthetic, settings, restricted)
    data["notes"] += [*small, *evidence_notes(settings, {(arm.task, arm.name) for arm in judged_arms})]
    return {
        "schema_version": SCHEMA_VERSION,
        "environment": dict(environment),
        "settings": settings.model_dump(mode="json"),
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


def judged_set(task: Task, real: Manifest, split: str, settings: BenchmarkSettings, cache: Path) -> JudgedSet:
    """The pairs that `task` is judged on in `split`, with the weights of their groups."""
    pairs = judged_pairs(task, real, split, settings, cache)
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


def _judge_arm(
    arm: str,
    cells: list[Cell],
    sets: Mapping[str, JudgedSet],
    work: Path,
    real: Manifest,
    synthetic: Manifest | None,
    settings: BenchmarkSettings,
    restricted: Restricted,
) -> tuple[dict[str, Any], JudgedArm, Mapping[str, float]]:
    """The arm's entry, what comparisons need of it, and the seconds its trainings took by activity."""
    task, source = cells[0].task, source_of(parse_arm(arm), synthetic, restricted)
    runs, predictions, validation = [], [], []
    for cell in cells:
        path = work / f"{cell.name}.json"
        run = read_cell(path, cell_digest(cell, real, source, settings))
        if run is None:
            raise EvendermError(f"{path} is not finished; run the benchmark to its end before collecting it")
        runs.append(run)
        predictions.append(read_predictions(path, run, "test"))
        figures = sets["validation"].figures(read_predictions(path, run, "validation"))
        validation.append(figures.values.get(settings.compared(task)[0]))
    measured = measure(sets["test"], predictions)
    entry = arm_entry(arm, sets["test"], measured, runs, predictions, validation, settings)
    seconds: Counter[str] = Counter()
    for run in runs:
        seconds.update(run["seconds"])
    return entry, JudgedArm(arm, task, measured, entry["validation"]["mean"]), seconds


def _data(
    real: Manifest, synthetic: Manifest | None, settings: BenchmarkSettings, restricted: Restricted
) -> dict[str, Any]:
    counts = real.counts()
    groups = real.table(["group_id"], split="test")["group_id"].to_pylist()
    made = None
    if synthetic is not None:
        made = {"digest": synthetic.digest, "counts": synthetic.counts().get("train", {})}
    return {
        "real": {"digest": real.digest, "counts": counts, "drawn": real.drawn},
        "synthetic": made,
        "classes": list(real.classes),
        "rare_classes": list(rare_classes(real.classes, counts["train"])),
        "test_groups": len(set(groups)),
        "notes": notes(real, synthetic),
        "skipped_arms": [asdict(s) for s in skipped_arms(settings, synthetic is not None, restricted, has_masks(real))],
    }


def _metric_table(arms: list[dict[str, Any]]) -> dict[str, dict[str, Any]]:
    """Title, direction and unit of every metric that an arm has."""
    names = dict.fromkeys(name for arm in arms for name in arm["metrics"])
    infos = {name: metric_info(name) for name in names}
    return {
        name: {"title": info.title, "higher_is_better": info.higher_is_better, "unit": info.unit}
        for name, info in infos.items()
    }
