"""What downstream models learn from generated pairs alone, beside what they learn from as many real ones.

Classes are taken in equal numbers on both sides and judged on real held-out pairs. With encoders from outside, of
ImageNet, and enough updates the figure tells about the pairs; from random weights it tells mostly about the training.
"""

from __future__ import annotations

from collections.abc import Callable, Sequence
from dataclasses import dataclass
from typing import Any

import numpy as np

from evaluate.downstream.classifier import Classifier
from evaluate.downstream.segmenter import Segmenter
from evaluate.fidelity.realism import RealismRow
from evaluate.metrics.masks import dice
from evaluate.settings.gates import QualitySettings
from evaluate.settings.training import ClassifierSettings, SegmenterSettings
from manifests.errors import BadInput
from manifests.pairs import PairArrays
from manifests.progress import Progress, no_progress


@dataclass(frozen=True)
class TransferSettings:
    """Which models are trained, and how many times each."""

    classifier: ClassifierSettings
    segmenter: SegmenterSettings
    seeds: int = 3


def transfer_settings(settings: QualitySettings) -> TransferSettings:
    """The models that the settings of the quality table name."""
    return TransferSettings(settings.classifier, settings.segmenter, settings.seeds)


@dataclass(frozen=True)
class DownstreamModels:
    """Downstream models of each seed, trained on one kind of pairs."""

    classifiers: tuple[Classifier, ...]
    segmenters: tuple[Segmenter, ...]


def in_equal_numbers(pairs: PairArrays, size: int, seed: int) -> PairArrays:
    """`size` pairs of every class, drawn by `seed`."""
    random = np.random.default_rng(seed)
    own = [np.flatnonzero(pairs.labels == label) for label in range(len(pairs.classes))]
    return pairs.select(np.concatenate([random.permutation(indices)[:size] for indices in own]))


def equal_size(*sides: PairArrays) -> int:
    """The pairs that every class of every side has; BadInput if a class has none, or the sides differ in classes."""
    if len({side.classes for side in sides}) > 1:
        raise BadInput("real and generated pairs have different classes; make the manifests again")
    size = min(int(np.bincount(side.labels, minlength=len(side.classes)).min()) for side in sides)
    if not size:
        raise BadInput("a class has no pair to learn from; draw pairs of every class")
    return size


def fit_models(
    pairs: PairArrays, settings: TransferSettings, size: int, progress: Progress = no_progress
) -> DownstreamModels:
    """A classifier and a U-Net per seed of `size` pairs of each class, each trained to its last update."""
    classifiers, segmenters = [], []
    for seed in range(settings.seeds):
        chosen = in_equal_numbers(pairs, size, seed)
        classifier, segmenter = Classifier(settings.classifier, pairs.classes), Segmenter(settings.segmenter)
        classifier.fit(chosen, seed=seed, progress=progress)
        segmenter.fit(chosen, seed=seed, progress=progress)
        classifiers.append(classifier)
        segmenters.append(segmenter)
    return DownstreamModels(tuple(classifiers), tuple(segmenters))


def transfer_rows(
    real: PairArrays,
    generated: PairArrays,
    test: PairArrays,
    settings: TransferSettings,
    progress: Progress = no_progress,
) -> tuple[list[RealismRow], DownstreamModels]:
    """Macro-F1 and Dice on `test` of models of `generated` pairs, beside those of models of real ones; and the latter.

    BadInput if a class has no pair on a side, or the sides differ in their classes.
    """
    size = equal_size(real, generated)
    if test.classes != real.classes:
        raise BadInput("real and held-out pairs have different classes; make the manifests again")
    of_real, of_drawn = (fit_models(side, settings, size, progress) for side in (real, generated))
    scores = [
        (mean_over(models.classifiers, test, macro_f1_of), mean_over(models.segmenters, test, dice_of))
        for models in (of_drawn, of_real)
    ]
    figures = ("macro-F1 learned from it", "Dice learned from it")
    count = size * len(real.classes)
    rows = [
        RealismRow(figure, "all", "sharp", scores[0][task], scores[1][task], count)
        for task, figure in enumerate(figures)
    ]
    return rows, of_real


def mean_over(models: Sequence[Any], pairs: PairArrays, score: Callable[[Any, PairArrays], float]) -> float:
    """The mean score of several models on the same pairs."""
    return float(np.mean([score(model, pairs) for model in models]))


def dice_of(segmenter: Segmenter, pairs: PairArrays) -> float:
    """The mean Dice of a segmenter's masks with those of `pairs`."""
    return float(dices_of(segmenter, pairs).mean())


def dices_of(segmenter: Segmenter, pairs: PairArrays) -> np.ndarray:
    """The Dice (N,) of a segmenter's masks with those of `pairs`."""
    found = np.concatenate(
        [segmenter.masks(pairs.images[start : start + 64]) > 0.5 for start in range(0, len(pairs), 64)]
    )
    return dice(found, np.asarray(pairs.masks))


def macro_f1_of(classifier: Classifier, pairs: PairArrays) -> float:
    """The macro-F1 of a classifier on `pairs`."""
    return macro_f1(classifier.probabilities(pairs.images), pairs.labels)


def macro_f1(probabilities: np.ndarray, labels: np.ndarray) -> float:
    """The macro-F1 of probabilities (N, C) of pictures with labels (N,)."""
    from sklearn.metrics import f1_score

    return float(f1_score(labels, probabilities.argmax(axis=1), average="macro", zero_division=0))


def recalls_of(classifier: Classifier, pairs: PairArrays) -> np.ndarray:
    """The recall (C,) of each class."""
    found = classifier.probabilities(pairs.images).argmax(axis=1)
    return np.array([(found[pairs.labels == n] == n).mean() for n in range(len(pairs.classes))])
