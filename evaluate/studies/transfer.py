"""What downstream models learn from generated pairs alone, beside what they learn from as many real ones.

Classes are taken in equal numbers on both sides and judged on real held-out pairs. With encoders from outside, of
ImageNet, and enough updates the figure tells about the pairs; from random weights it tells mostly about the training.
"""

from __future__ import annotations

from dataclasses import dataclass

import numpy as np

from evaluate.downstream.classifier import Classifier
from evaluate.downstream.segmenter import Segmenter
from evaluate.fidelity.realism import RealismRow
from evaluate.settings.benchmark import ClassifierSettings, SegmenterSettings
from evaluate.studies.quality import dice_of, macro_f1_of
from manifests.errors import BadInput
from manifests.pairs import PairArrays
from manifests.progress import Progress, no_progress


@dataclass(frozen=True)
class TransferSettings:
    """Which models are trained, and how many times each."""

    classifier: ClassifierSettings
    segmenter: SegmenterSettings
    seeds: int = 3


def in_equal_numbers(pairs: PairArrays, size: int, seed: int) -> PairArrays:
    """`size` pairs of every class, drawn by `seed`."""
    random = np.random.default_rng(seed)
    own = [np.flatnonzero(pairs.labels == label) for label in range(len(pairs.classes))]
    return pairs.select(np.concatenate([random.permutation(indices)[:size] for indices in own]))


def transfer_rows(
    real: PairArrays,
    generated: PairArrays,
    test: PairArrays,
    settings: TransferSettings,
    progress: Progress = no_progress,
) -> list[RealismRow]:
    """Macro-F1 and Dice on `test` of models of `generated` pairs; the floor is that of models of real ones.

    BadInput if a class has no pair on a side, or the sides differ in their classes.
    """
    if not real.classes == generated.classes == test.classes:
        raise BadInput("real and generated pairs have different classes; make the manifests again")
    counts = [int(np.bincount(side.labels, minlength=len(real.classes)).min()) for side in (real, generated)]
    size = min(counts)
    if not size:
        raise BadInput("a class has no pair to learn from; draw pairs of every class")
    scores = np.zeros((settings.seeds, 2, 2))  # by seed, side (generated, real) and task
    for seed in range(settings.seeds):
        for number, side in enumerate((generated, real)):
            pairs = in_equal_numbers(side, size, seed)
            classifier, segmenter = Classifier(settings.classifier, pairs.classes), Segmenter(settings.segmenter)
            classifier.fit(pairs, seed=seed, progress=progress)
            segmenter.fit(pairs, seed=seed, progress=progress)
            scores[seed, number] = macro_f1_of(classifier, test), dice_of(segmenter, test)
    figures = ("macro-F1 learned from it", "Dice learned from it")
    means = scores.mean(axis=0)
    return [
        RealismRow(figure, "all", "sharp", float(means[0, task]), float(means[1, task]), size * len(real.classes))
        for task, figure in enumerate(figures)
    ]
