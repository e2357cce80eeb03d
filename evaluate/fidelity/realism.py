"""What an outside eye sees: how well generated pictures are told from real ones, beside what tells real from real.

Features are those of a network that never saw these pairs. A linear classifier on them is asked to tell two sets of
pictures apart, on folds that it was not fitted on; an AUROC of .5 means that it cannot. Blurred, both sides are first
smoothed, so that the fine texture of a decoder does not count and what remains is the denoiser's.
"""

from __future__ import annotations

from collections.abc import Iterator, Sequence
from dataclasses import dataclass
from typing import Any

import cv2
import numpy as np
from torch import nn

from evaluate.fidelity.extractors import features_of
from manifests.pairs import PairArrays

BLUR = 1.5  # pixels
FOLDS = 5
FEWEST = 20  # pictures of a set below which nothing is told
MOST = 200  # pictures of a set that a probe sees, so that classes of any size compare
_PENALTY = 1e-2  # inverse strength, set beforehand: a thousand features, a few hundred pictures
_LOOKS = ("sharp", "blurred")


@dataclass(frozen=True)
class RealismRow:
    """One figure of one class. look: sharp or blurred, or neither of a mask's; floor: the same of real pictures.

    count: pictures on the smaller side; value and floor: None where they are too few.
    """

    figure: str
    dx: str
    look: str
    value: float | None
    floor: float | None
    count: int


@dataclass(frozen=True)
class Seen:
    """A set of pictures as the eye sees it. sharp and blurred: features (N, D); groups: what must share a fold."""

    sharp: np.ndarray
    blurred: np.ndarray
    labels: np.ndarray
    groups: np.ndarray

    def of(self, label: int, look: str) -> tuple[np.ndarray, np.ndarray]:
        """Features and groups of the pictures of one class in one look."""
        own = self.labels == label
        return getattr(self, look)[own], self.groups[own]


def blurred(images: np.ndarray, sigma: float = BLUR) -> np.ndarray:
    """uint8 images (N, H, W, 3) smoothed by a Gaussian of `sigma` pixels."""
    return np.stack([cv2.GaussianBlur(image, (0, 0), sigma) for image in images])


def seen(pairs: PairArrays, extractor: nn.Module, images: np.ndarray | None = None) -> Seen:
    """The features of `pairs`, or of other `images` in their place, such as their way through an autoencoder."""
    shown = np.asarray(pairs.images if images is None else images)
    groups = np.unique(np.array(pairs.group_ids), return_inverse=True)[1]
    return Seen(features_of(extractor, shown), features_of(extractor, blurred(shown)), np.asarray(pairs.labels), groups)


def told_apart(
    first: np.ndarray, second: np.ndarray, first_groups: np.ndarray, second_groups: np.ndarray, seed: int = 0
) -> float | None:
    """Cross-validated AUROC of a linear classifier that tells features (N, D) from (M, D), five folds.

    Pictures of one group share a fold, and both sides are thinned to the smaller, at most 200. None where either has
    too few.
    """
    from sklearn.metrics import roc_auc_score
    from sklearn.model_selection import StratifiedGroupKFold

    size = min(len(first), len(second), MOST)
    if size < FEWEST:
        return None
    random = np.random.default_rng(seed)
    kept = [random.permutation(len(side))[:size] for side in (first, second)]
    features = np.concatenate([first[kept[0]], second[kept[1]]])
    sides = np.repeat([0, 1], size)
    groups = np.concatenate([first_groups[kept[0]], second_groups[kept[1]]])
    scores = np.zeros(2 * size)
    folds = StratifiedGroupKFold(FOLDS, shuffle=True, random_state=seed)
    for fitted, held in folds.split(features, sides, groups):
        scores[held] = linear_probe().fit(features[fitted], sides[fitted]).decision_function(features[held])
    return float(roc_auc_score(sides, scores))


def kernel_distance_between(first: np.ndarray, second: np.ndarray) -> float | None:
    """KID (Binkowski et al. 2018) of features (N, D) and (M, D): the unbiased estimate over all pairs of pictures."""
    if min(len(first), len(second)) < FEWEST // 2:
        return None
    first, second = first.astype(np.float64), second.astype(np.float64)

    def kernel(a: np.ndarray, b: np.ndarray) -> np.ndarray:
        return (a @ b.T / a.shape[1] + 1) ** 3

    def within(a: np.ndarray) -> float:
        values = kernel(a, a)
        return float((values.sum() - np.trace(values)) / (len(a) * (len(a) - 1)))

    return within(first) + within(second) - 2 * float(kernel(first, second).mean())


def halves(groups: np.ndarray, seed: int) -> tuple[np.ndarray, np.ndarray]:
    """Two sets of indices that split N pictures in two by whole groups (N,)."""
    names = np.random.default_rng(seed).permutation(np.unique(groups))
    chosen = np.isin(groups, names[: (len(names) + 1) // 2])
    return np.flatnonzero(chosen), np.flatnonzero(~chosen)


def probe_rows(
    real: Seen, other: Seen, classes: Sequence[str], figure: str, paired: bool = False, repeats: int = 3
) -> Iterator[RealismRow]:
    """How well `other` is told from real pictures of its class, beside real against real.

    Each time a half of the real pictures stands against the other half, and against as many of `other`; if `paired`,
    `other` is the real pictures' own after some change, and only those of the other half are taken. The mean of
    `repeats` splits counts.
    """
    for label, dx in enumerate(classes):
        for look in _LOOKS:
            features, groups = real.of(label, look)
            changed, changed_groups = other.of(label, look)
            found: list[tuple[float, float]] = []
            size = len(features) // 2
            for seed in range(repeats if min(size, len(changed)) >= FEWEST else 0):
                one, two = halves(groups, seed)
                against = two if paired else np.arange(len(changed))
                # Groups of generated pictures are their own, whatever number they have.
                theirs = changed_groups[against] + (0 if paired else groups.max() + 1)
                value = told_apart(features[one], changed[against], groups[one], theirs, seed)
                floor = told_apart(features[one], features[two], groups[one], groups[two], seed)
                if value is not None and floor is not None:
                    found.append((value, floor))
            value, floor = map(float, np.mean(found, axis=0)) if found else (None, None)
            yield RealismRow(figure, dx, look, value, floor, min(size, len(changed), MOST))


def kernel_rows(reference: Seen, real: Seen, generated: Seen, classes: Sequence[str]) -> Iterator[RealismRow]:
    """KID x 1000 of generated pictures of each class against `reference`, beside that of the real training pictures."""
    for label, dx in enumerate(classes):
        for look in _LOOKS:
            held, own, drawn = (side.of(label, look)[0] for side in (reference, real, generated))
            value, floor = kernel_distance_between(held, drawn), kernel_distance_between(held, own)
            value, floor = (None if figure is None else 1000 * figure for figure in (value, floor))
            yield RealismRow("KID x 1000", dx, look, value, floor, min(len(held), len(drawn)))


def mask_rows(real: PairArrays, generated: PairArrays) -> Iterator[RealismRow]:
    """Mean share of the picture that is lesion, and share of masks at the frame, beside the real ones."""
    for label, dx in enumerate(real.classes):
        own, drawn = (np.asarray(pairs.masks)[pairs.labels == label] for pairs in (real, generated))
        if min(len(own), len(drawn)):
            count = min(len(own), len(drawn))
            yield RealismRow("mask area", dx, "", float(drawn.mean()), float(own.mean()), count)
            touching = [float(at_frame(masks).mean()) for masks in (drawn, own)]
            yield RealismRow("masks at the frame", dx, "", touching[0], touching[1], count)


def at_frame(masks: np.ndarray) -> np.ndarray:
    """Which of bool masks (N, H, W) touch the picture's frame."""
    frame = np.concatenate([masks[:, 0], masks[:, -1], masks[:, :, 0], masks[:, :, -1]], axis=1)
    return np.asarray(frame.any(axis=1))


def transfer_row(real: Seen, generated: Seen, test: Seen, classes: Sequence[str], repeats: int = 5) -> RealismRow:
    """Macro AUROC on `test` of a linear classifier of generated pictures, beside one of as many real ones.

    The encoder stays as it is; every class is taken in equal numbers on both sides.
    """
    counts = [min(int((side.labels == label).sum()) for side in (real, generated)) for label in range(len(classes))]
    size = min(counts)
    if size < FEWEST // 2:
        return RealismRow("classes learned from it", "all", "sharp", None, None, size)
    value, floor = (
        float(np.mean([_transferred(side, test, size, seed) for seed in range(repeats)])) for side in (generated, real)
    )
    return RealismRow("classes learned from it", "all", "sharp", value, floor, size)


def linear_probe(class_weight: str | None = None) -> Any:
    """A linear classifier of standardised features, not yet fitted."""
    from sklearn.linear_model import LogisticRegression
    from sklearn.pipeline import make_pipeline
    from sklearn.preprocessing import StandardScaler

    return make_pipeline(StandardScaler(), LogisticRegression(C=_PENALTY, max_iter=500, class_weight=class_weight))


def _transferred(side: Seen, test: Seen, size: int, seed: int) -> float:
    from sklearn.metrics import roc_auc_score

    random = np.random.default_rng(seed)
    present = np.unique(test.labels)
    kept = np.concatenate([random.permutation(np.flatnonzero(side.labels == label))[:size] for label in present])
    scores = linear_probe().fit(side.sharp[kept], side.labels[kept]).predict_proba(test.sharp)
    return float(np.mean([roc_auc_score(test.labels == label, scores[:, n]) for n, label in enumerate(present)]))


def realism_rows(
    real: PairArrays, reference: PairArrays, generated: PairArrays, round_trips: np.ndarray, extractor: nn.Module
) -> list[RealismRow]:
    """All figures of `generated` pairs: real are the training pairs, reference those held out.

    round_trips: uint8 (N, H, W, 3), the training pictures after the base's autoencoder. The three share their classes.
    """
    classes = real.classes
    own, held, drawn = (seen(pairs, extractor) for pairs in (real, reference, generated))
    back = seen(real, extractor, round_trips)
    return [
        *probe_rows(own, back, classes, "round trip told apart, AUROC", paired=True),
        *probe_rows(own, drawn, classes, "generated told apart, AUROC"),
        *kernel_rows(held, own, drawn, classes),
        *mask_rows(real, generated),
        transfer_row(own, drawn, held, classes),
    ]
