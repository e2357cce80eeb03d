"""Metrics of classification: their values by scikit-learn and torchmetrics, and the same under B re-
weightings.

The weighted forms exist for the bootstrap, which needs thousands of values at once; tests hold them equal to
the library's. A metric that cannot be computed is absent from the values and has a reason instead.
"""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass, field, replace

import numpy as np

from evaluate.metrics.safety import SENSITIVITIES, THRESHOLDS, ranked, safety_figures, safety_names, weighted_safety
from evaluate.metrics.statistics import Replicates, averaged_groups

CALIBRATION_BINS = 15
_CHUNK = 4_000_000
"""Weights handled at once, so that a large test set does not fill the memory."""


@dataclass(frozen=True)
class Figures:
    """Values of the metrics by name, and the reasons for those that have none."""

    values: dict[str, float] = field(default_factory=dict)
    reasons: dict[str, str] = field(default_factory=dict)


@dataclass(frozen=True)
class FoldFigures:
    """The metrics of one seed in a cross-validation: of each fold alone, and of all folds without it."""

    alone: list[Figures]
    without: list[Figures]


@dataclass(frozen=True)
class MetricInfo:
    """What a metric is called, in what unit, and which way is better; ranks: it only orders predictions, so that those
    of two models are no matter for one figure."""

    title: str
    higher_is_better: bool = True
    unit: str = "share"
    may_be_negative: bool = False
    ranks: bool = False

    @property
    def bounds(self) -> tuple[float, float | None]:
        """Smallest and largest value it can take: minus infinity and None for no bound."""
        if self.may_be_negative:
            return float("-inf"), 1.0
        return (0.0, 1.0) if self.unit == "share" else (0.0, None)


METRICS = {
    "accuracy": MetricInfo("Accuracy"),
    "balanced_accuracy": MetricInfo("Balanced accuracy"),
    "macro_f1": MetricInfo("Macro-F1"),
    "auroc": MetricInfo("AUROC, mean over classes", ranks=True),
    "ece": MetricInfo("Expected calibration error", higher_is_better=False),
    "recall": MetricInfo("Recall"),
    "f1": MetricInfo("F1"),
    "average_precision": MetricInfo("Average precision", ranks=True),
    **{
        name: MetricInfo(f"Sensitivity at {100 * share:g}% specificity", ranks=True)
        for name, share in SENSITIVITIES.items()
    },
    **{
        name: MetricInfo(f"Net benefit at a threshold of {100 * at:g}%", may_be_negative=True)
        for name, at in THRESHOLDS.items()
    },
    "dice": MetricInfo("Dice"),
    "jaccard": MetricInfo("Jaccard"),
    "thresholded_jaccard": MetricInfo("Jaccard, 0 where under .65"),
    "boundary_f1": MetricInfo("Boundary F1"),
    "hd95": MetricInfo("95th percentile Hausdorff distance", higher_is_better=False, unit="% of diagonal"),
}


def metric_info(name: str) -> MetricInfo:
    """What `name` means; `recall:mel` is the recall of class mel."""
    base, _, dx = name.partition(":")
    info = METRICS[base]
    return replace(info, title=f"{info.title} of {dx}") if dx else info


def present_classes(labels: np.ndarray, classes: Sequence[str]) -> list[int]:
    """Indices of the classes that occur in `labels`."""
    return [c for c in range(len(classes)) if (labels == c).any()]


def classification_names(classes: Sequence[str], rare: Sequence[str]) -> list[str]:
    """Every classification metric that is reported, in the order of the report."""
    general = ["accuracy", "balanced_accuracy", "macro_f1", "auroc", "ece"]
    per_class = [f"{kind}:{dx}" for kind in ("recall", "f1", "auroc") for dx in classes]
    return general + per_class + [f"average_precision:{dx}" for dx in rare] + safety_names(classes)


def classification_figures(
    probabilities: np.ndarray, labels: np.ndarray, classes: Sequence[str], rare: Sequence[str]
) -> Figures:
    """Point values. probabilities: (N, C), rows sum to 1; labels: (N,), indices into `classes`."""
    from sklearn import metrics as sk

    present = present_classes(labels, classes)
    predicted = probabilities.argmax(axis=1)
    recalls = sk.recall_score(labels, predicted, labels=present, average=None, zero_division=0)
    f1 = sk.f1_score(labels, predicted, labels=present, average=None, zero_division=0)
    values = {
        "accuracy": sk.accuracy_score(labels, predicted),
        "balanced_accuracy": recalls.mean(),
        "macro_f1": f1.mean(),
        "ece": _calibration_error(probabilities, labels),
    }
    for c, recall, score in zip(present, recalls, f1, strict=True):
        values |= {f"recall:{classes[c]}": recall, f"f1:{classes[c]}": score}
        if len(present) > 1:
            values[f"auroc:{classes[c]}"] = sk.roc_auc_score(labels == c, probabilities[:, c])
        if classes[c] in rare:
            precision = sk.average_precision_score(labels == c, probabilities[:, c])
            values[f"average_precision:{classes[c]}"] = precision
    if len(present) > 1:
        values["auroc"] = np.mean([values[f"auroc:{classes[c]}"] for c in present])
        values |= safety_figures(probabilities, labels, classes)
    return Figures({k: float(v) for k, v in values.items()}, _reasons(values, labels, classes, rare))


def _reasons(
    values: dict[str, float], labels: np.ndarray, classes: Sequence[str], rare: Sequence[str]
) -> dict[str, str]:
    """Why each metric that has no value has none."""
    reasons = {}
    for name in classification_names(classes, rare):
        if name not in values:
            dx = name.partition(":")[2]
            absent = bool(dx) and not (labels == list(classes).index(dx)).any()
            reasons[name] = f"no test pair of class {dx}" if absent else "the test pairs are of one class"
    return reasons


def _calibration_error(probabilities: np.ndarray, labels: np.ndarray) -> float:
    """Expected calibration error of the top class over equal bins (Guo et al. 2017)."""
    import torch
    from torchmetrics.functional.classification import multiclass_calibration_error

    return float(
        multiclass_calibration_error(
            torch.from_numpy(np.asarray(probabilities, dtype=np.float64)),
            torch.from_numpy(np.asarray(labels)),
            num_classes=probabilities.shape[1],
            n_bins=CALIBRATION_BINS,
        )
    )


def calibration_bins(probabilities: np.ndarray, labels: np.ndarray) -> list[dict[str, float | None]]:
    """The reliability diagram: pairs, mean confidence and accuracy of each bin, None in empty ones."""
    confidence, correct, index = _calibrated(probabilities, labels)
    rows: list[dict[str, float | None]] = []
    for b in range(CALIBRATION_BINS):
        inside = index == b
        filled = bool(inside.any())
        rows.append(
            {
                "lower": b / CALIBRATION_BINS,
                "upper": (b + 1) / CALIBRATION_BINS,
                "pairs": float(inside.sum()),
                "confidence": float(confidence[inside].mean()) if filled else None,
                "accuracy": float(correct[inside].mean()) if filled else None,
            }
        )
    return rows


def _calibrated(probabilities: np.ndarray, labels: np.ndarray) -> tuple[np.ndarray, np.ndarray, np.ndarray]:
    """Confidence, correctness and calibration bin of each prediction, each (N,)."""
    confidence = probabilities.max(axis=1).astype(np.float64)
    correct = (probabilities.argmax(axis=1) == labels).astype(np.float64)
    index = np.minimum((confidence * CALIBRATION_BINS).astype(int), CALIBRATION_BINS - 1)
    return confidence, correct, index


def classification_replicates(
    probabilities: np.ndarray,
    labels: np.ndarray,
    weights: np.ndarray,
    classes: Sequence[str],
    rare: Sequence[str],
) -> dict[str, np.ndarray]:
    """The metrics of `classification_figures`, each (B,), under `weights` (B, N)."""
    step = max(1, _CHUNK // weights.shape[1])
    parts = [
        _weighted_metrics(probabilities, labels, weights[start : start + step], classes, rare)
        for start in range(0, len(weights), step)
    ]
    return {name: np.concatenate([part[name] for part in parts]) for name in parts[0]}


def _weighted_metrics(
    probabilities: np.ndarray,
    labels: np.ndarray,
    weights: np.ndarray,
    classes: Sequence[str],
    rare: Sequence[str],
) -> dict[str, np.ndarray]:
    present = present_classes(labels, classes)
    count, predicted = len(classes), probabilities.argmax(axis=1)
    cells = np.eye(count * count)[labels * count + predicted]  # (N, C*C)
    confusion = (weights @ cells).reshape(-1, count, count)  # (B, true, predicted)
    hits = np.einsum("bcc->bc", confusion)
    truth, guesses = confusion.sum(axis=2), confusion.sum(axis=1)
    recalls = hits[:, present] / truth[:, present]
    f1 = 2 * hits[:, present] / (truth + guesses)[:, present]
    result = {
        "accuracy": hits.sum(axis=1) / truth.sum(axis=1),
        "balanced_accuracy": recalls.mean(axis=1),
        "macro_f1": f1.mean(axis=1),
        "ece": _weighted_calibration_error(probabilities, labels, weights),
    }
    for position, c in enumerate(present):
        dx = classes[c]
        result |= {f"recall:{dx}": recalls[:, position], f"f1:{dx}": f1[:, position]}
        if len(present) > 1:
            result[f"auroc:{dx}"] = weighted_auroc(probabilities[:, c], labels == c, weights)
        if dx in rare:
            result[f"average_precision:{dx}"] = weighted_average_precision(probabilities[:, c], labels == c, weights)
    if len(present) > 1:
        result["auroc"] = np.mean([result[f"auroc:{classes[c]}"] for c in present], axis=0)
        result |= weighted_safety(probabilities, labels, weights, classes)
    return result


def _weighted_calibration_error(probabilities: np.ndarray, labels: np.ndarray, weights: np.ndarray) -> np.ndarray:
    confidence, correct, index = _calibrated(probabilities, labels)
    gaps = np.eye(CALIBRATION_BINS)[index] * (confidence - correct)[:, None]  # (N, bins)
    return np.abs(weights @ gaps).sum(axis=1) / weights.sum(axis=1)


def weighted_auroc(scores: np.ndarray, positive: np.ndarray, weights: np.ndarray) -> np.ndarray:
    """Area under the ROC curve (B,), ties counting half; positive: bool (N,), weights: (B, N)."""
    positives, negatives = ranked(scores, positive, weights)
    beaten = negatives.sum(axis=1, keepdims=True) - np.cumsum(negatives, axis=1) + negatives / 2
    return (positives * beaten).sum(axis=1) / (positives.sum(axis=1) * negatives.sum(axis=1))


def weighted_average_precision(scores: np.ndarray, positive: np.ndarray, weights: np.ndarray) -> np.ndarray:
    """Average precision (B,) as scikit-learn defines it; positive: bool (N,), weights: (B, N)."""
    positives, negatives = ranked(scores, positive, weights)
    found = np.cumsum(positives, axis=1)
    precision = found / (found + np.cumsum(negatives, axis=1))
    return (positives * precision).sum(axis=1) / found[:, -1]


def class_groups(labels: np.ndarray, group_ids: Sequence[str], classes: Sequence[str]) -> dict[str, int]:
    """Independent groups among the pairs of each class."""
    groups = np.asarray(group_ids, dtype=str)
    return {dx: len(set(groups[labels == c])) for c, dx in enumerate(classes)}


def metric_groups(name: str, labels: np.ndarray, group_ids: Sequence[str], classes: Sequence[str]) -> float:
    """How many independent test groups the metric `name` rests on."""
    per_class = class_groups(labels, group_ids, classes)
    base, _, dx = name.partition(":")
    if dx:
        return float(per_class[dx])
    if base in ("balanced_accuracy", "macro_f1", "auroc"):
        return averaged_groups([count for count in per_class.values() if count])
    return float(len(set(group_ids)))


def seeds_together(
    figures: Sequence[Figures],
    values: Sequence[dict[str, np.ndarray]],
    name: str,
    groups: float,
    folds: Sequence[FoldFigures] = (),
) -> Replicates | None:
    """Metric `name` over the seeds, or None if a seed lacks it; folds: of each seed, in a cross-validation."""
    if any(name not in figure.values for figure in figures):
        return None
    points = np.array([figure.values[name] for figure in figures])
    together = Replicates(points, np.stack([value[name] for value in values], axis=1), groups)
    if not folds:
        return together
    without = _by_fold([seed.without for seed in folds], name)
    # Where a fold has it alone, no figure is left without that fold, and nothing tells of the spread between folds.
    carried = None if np.isnan(without).any() else without
    return replace(together, per_fold=_by_fold([seed.alone for seed in folds], name), without_fold=carried)


def _by_fold(seeds: Sequence[Sequence[Figures]], name: str) -> np.ndarray:
    """Metric `name`, (K, S), NaN where a fold lacks it."""
    return np.array([[figure.values.get(name, np.nan) for figure in of_seed] for of_seed in seeds]).T
