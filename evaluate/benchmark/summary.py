"""What the cells of an arm amount to: every metric over its seeds with an interval, and what a report
draws."""

from __future__ import annotations

from collections import Counter
from collections.abc import Iterator, Mapping, Sequence
from dataclasses import dataclass, replace
from typing import Any

import numpy as np

from evaluate.benchmark.arms import describe
from evaluate.metrics.classification import (
    CALIBRATION_BINS,
    Figures,
    FoldFigures,
    calibration_bins,
    classification_figures,
    classification_names,
    classification_replicates,
    metric_groups,
    metric_info,
    seeds_together,
)
from evaluate.metrics.masks import SEGMENTATION_METRICS, segmentation_figures, segmentation_replicates
from evaluate.metrics.safety import SENSITIVITIES
from evaluate.metrics.statistics import Replicates, estimate
from evaluate.settings.arms import Task, parse_arm
from evaluate.settings.benchmark import BenchmarkSettings

SUBGROUP_METRICS: dict[Task, tuple[str, ...]] = {
    "classification": ("accuracy", "balanced_accuracy", "macro_f1", "auroc", "ece"),
    "segmentation": ("dice", "jaccard", "thresholded_jaccard"),
}
TOO_FEW_GROUPS = "it rests on fewer than two independent test groups, so no interval can be told"
RUN_KEYS = ("seed", "fold", "updates", "selected_update", "curve")


@dataclass(frozen=True)
class JudgedSet:
    """The pairs that a task is judged on. labels: (N,); weights: (B, N), of the bootstrap; attributes: a
    value or None for each pair, by name; folds: (N,), which fold of a cross-validation tested each pair, None where
    there is one split."""

    task: Task
    classes: tuple[str, ...]
    rare: tuple[str, ...]
    labels: np.ndarray
    group_ids: list[str]
    weights: np.ndarray
    attributes: dict[str, list[str | None]]
    folds: np.ndarray | None = None

    def names(self) -> list[str]:
        """The metrics of the task."""
        if self.task == "segmentation":
            return list(SEGMENTATION_METRICS)
        return classification_names(self.classes, self.rare)

    def part(self, rows: np.ndarray) -> JudgedSet:
        """The pairs at `rows`."""
        return replace(
            self,
            labels=self.labels[rows],
            group_ids=[self.group_ids[int(row)] for row in rows],
            weights=self.weights[:, rows],
            attributes={},
            folds=None if self.folds is None else self.folds[rows],
        )

    def figures(self, predictions: np.ndarray) -> Figures:
        """Point values of one run's predictions, as `cells.predict` made them.

        In a cross-validation what ranks predictions is the mean over folds, since the scores of two models share no
        scale, and all else is of the pooled pairs (Forman and Scholz, "Apples-to-Apples in Cross-Validation Studies",
        2010).
        """
        if self.task == "segmentation":
            return segmentation_figures(predictions)
        found = classification_figures(predictions, self.labels, self.classes, self.rare)
        parts = [part.figures(predictions[rows]).values for rows, part in self._by_fold()]
        return replace(found, values={**found.values, **_mean_ranks(parts)})

    def replicates(self, predictions: np.ndarray) -> dict[str, np.ndarray]:
        """The same metrics, each (B,), under the weights."""
        if self.task == "segmentation":
            return segmentation_replicates(predictions, self.weights)
        found = classification_replicates(predictions, self.labels, self.weights, self.classes, self.rare)
        return found | _mean_ranks([part.replicates(predictions[rows]) for rows, part in self._by_fold()])

    def fold_figures(self, predictions: np.ndarray) -> FoldFigures:
        """The metrics of each fold alone, and of all others together."""
        parts = list(self._by_fold())
        others = [np.setdiff1d(np.arange(len(self.labels)), rows) for rows, _ in parts]
        return FoldFigures(
            [part.figures(predictions[rows]) for rows, part in parts],
            [self.part(rows).figures(predictions[rows]) for rows in others],
        )

    def _by_fold(self) -> Iterator[tuple[np.ndarray, JudgedSet]]:
        """The rows and pairs of each fold; none where there are not two."""
        names = sorted(set(self.folds.tolist())) if self.folds is not None else []
        for name in names if len(names) > 1 else ():
            rows = np.flatnonzero(self.folds == name)
            yield rows, self.part(rows)

    def groups(self, name: str) -> float:
        """Independent groups that the metric rests on."""
        if self.task == "segmentation":
            return float(len(set(self.group_ids)))
        return metric_groups(name, self.labels, self.group_ids, self.classes)


def _mean_ranks(folds: Sequence[Mapping[str, Any]]) -> dict[str, Any]:
    """The mean over folds of each metric that only ranks predictions and that every fold has."""
    shared = [name for name in folds[0] if all(name in fold for fold in folds)] if folds else []
    return {name: np.mean([fold[name] for fold in folds], axis=0) for name in shared if metric_info(name).ranks}


@dataclass(frozen=True)
class Measured:
    """An arm's metrics: point values per seed, and replicates of those that can be computed."""

    figures: list[Figures]
    replicates: dict[str, Replicates]


def measure(judged: JudgedSet, predictions: Sequence[np.ndarray]) -> Measured:
    """Every metric of the task over the seeds' predictions."""
    figures = [judged.figures(one) for one in predictions]
    values = [judged.replicates(one) for one in predictions]
    folds = [judged.fold_figures(one) for one in predictions] if judged.folds is not None else []
    together = {name: seeds_together(figures, values, name, judged.groups(name), folds) for name in judged.names()}
    return Measured(figures, {name: found for name, found in together.items() if found is not None})


def metric_entry(name: str, measured: Measured, confidence: float) -> dict[str, Any]:
    """A metric as results.json has it: null with a reason where it cannot be computed."""
    per_seed = [figure.values.get(name) for figure in measured.figures]
    replicates = measured.replicates.get(name)
    if replicates is None:
        reasons = [figure.reasons[name] for figure in measured.figures if name in figure.reasons]
        reason = reasons[0] if reasons else "a seed lacks it"
        return {"mean": None, "interval": None, "per_seed": per_seed, "reason": reason}
    found = estimate(replicates, confidence, metric_info(name).bounds)
    by_fold = replicates.fold_means()
    return {
        **({} if by_fold is None else {"per_fold": by_fold}),
        "mean": found.mean,
        "interval": list(found.interval) if found.interval else None,
        "per_seed": per_seed,
        "reason": None if found.interval else TOO_FEW_GROUPS,
    }


def subgroups(
    judged: JudgedSet, predictions: Sequence[np.ndarray], settings: BenchmarkSettings
) -> list[dict[str, Any]]:
    """Metrics for each value of each attribute that enough test pairs have."""
    rows_out: list[dict[str, Any]] = []
    for attribute, values in judged.attributes.items():
        for value in sorted({v for v in values if v is not None}):
            rows = np.flatnonzero([v == value for v in values])
            if len(rows) < settings.subgroup_pairs:
                continue
            part = replace(judged.part(rows), folds=None)  # a fold may have too few of them for a figure of its own
            measured = measure(part, [one[rows] for one in predictions])
            metrics = {
                name: metric_entry(name, measured, settings.confidence)
                for name in judged.names()
                if name in SUBGROUP_METRICS[judged.task] or name.partition(":")[0] in SENSITIVITIES
            }
            rows_out.append({"attribute": attribute, "value": value, "pairs": len(rows), "metrics": metrics})
    return rows_out


def small_subgroups(judged: JudgedSet, settings: BenchmarkSettings) -> list[str]:
    """A sentence for each attribute with values that too few test pairs have for figures of their own."""
    said = []
    for attribute, values in judged.attributes.items():
        counts = Counter(value for value in values if value is not None)
        few = [f"{value} ({n})" for value, n in sorted(counts.items()) if n < settings.subgroup_pairs]
        if few:
            said.append(
                f"subgroups by {attribute} with fewer than {settings.subgroup_pairs} test pairs have no figures of "
                f"their own: {', '.join(few)}"
            )
    return said


def arm_entry(
    name: str,
    judged: JudgedSet,
    measured: Measured,
    runs: Sequence[dict[str, Any]],
    predictions: Sequence[np.ndarray],
    validation: Sequence[float | None],
    settings: BenchmarkSettings,
) -> dict[str, Any]:
    """An arm as results.json has it. runs: the content of its cells, each with its fold where there are some, and the
    updates that its budget allowed; validation: its first compared metric on
    the validation pairs, by seed."""
    arm, training = parse_arm(name), settings.training(judged.task)
    known = [value for value in validation if value is not None]
    by_class = judged.task == "classification"
    return {
        "name": name,
        "task": judged.task,
        "role": "control" if arm.is_control else "generated",
        "description": describe(arm, judged.task),
        "ratio": arm.ratio,
        "fraction": min(1.0, arm.part),
        "train_counts": mean_counts([run["train_counts"] for run in runs]),
        "draws": mean_counts([run["draws"] for run in runs]),
        "updates": max(run["budget"] for run in runs),
        "seeds": list(dict.fromkeys(run["seed"] for run in runs)),
        "model": model_name(judged.task, settings),
        "parameters": runs[0]["parameters"],
        "encoder_weights": training.weights,
        "validation": {
            "metric": settings.compared(judged.task)[0],
            "mean": float(np.mean(known)) if len(known) == len(validation) else None,
            "per_seed": list(validation),
        },
        "metrics": {metric: metric_entry(metric, measured, settings.confidence) for metric in judged.names()},
        "runs": [{key: run[key] for key in RUN_KEYS if key in run} for run in runs],
        "confusion": mean_confusion(judged, predictions) if by_class else None,
        "calibration": pooled_calibration(judged, predictions) if by_class else None,
        "subgroups": subgroups(judged, predictions, settings),
    }


def mean_counts(counts: Sequence[Mapping[str, Mapping[str, int]]]) -> dict[str, dict[str, int]]:
    """By origin and class, the mean over runs, of which those of a fold may lack what another has unlabelled."""
    return {
        origin: {
            dx: round(float(np.mean([one[origin].get(dx, 0) for one in counts])))
            for dx in dict.fromkeys(dx for one in counts for dx in one[origin])
        }
        for origin in counts[0]
    }


def model_name(task: Task, settings: BenchmarkSettings) -> str:
    """The downstream model as a reader would name it."""
    if task == "classification":
        return settings.classifier.model
    return f"{settings.segmenter.architecture} on {settings.segmenter.encoder}"


def mean_confusion(judged: JudgedSet, predictions: Sequence[np.ndarray]) -> list[list[float]]:
    """Pairs by true (rows) and predicted class, the mean over seeds."""
    from sklearn.metrics import confusion_matrix

    classes = range(len(judged.classes))
    matrices = [confusion_matrix(judged.labels, p.argmax(axis=1), labels=classes) for p in predictions]
    return [[float(cell) for cell in row] for row in np.mean(matrices, axis=0)]


def pooled_calibration(judged: JudgedSet, predictions: Sequence[np.ndarray]) -> list[dict[str, float | None]]:
    """The reliability diagram over all seeds' predictions; `pairs` is the mean over seeds."""
    bins = calibration_bins(np.concatenate(predictions), np.tile(judged.labels, len(predictions)))
    assert len(bins) == CALIBRATION_BINS
    return [{**row, "pairs": (row["pairs"] or 0.0) / len(predictions)} for row in bins]


def rare_classes(classes: Sequence[str], train_counts: dict[str, int]) -> tuple[str, ...]:
    """The classes with less than half as many real training pairs as the largest one."""
    largest = max((train_counts.get(dx, 0) for dx in classes), default=0)
    return tuple(dx for dx in classes if 0 < train_counts.get(dx, 0) < largest / 2)
