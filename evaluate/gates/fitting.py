"""How the judge is made from the training split: parts that resume, each of which has not seen one fold."""

from __future__ import annotations

import hashlib
from collections.abc import Callable
from pathlib import Path
from typing import TYPE_CHECKING, Any

import numpy as np

from evaluate.copies.drawn import lesion_squares
from evaluate.copies.index import CopyIndex
from evaluate.copies.threshold import ATTACKS
from evaluate.gates.appearance import AppearanceClassifier, lesion_features
from evaluate.metrics.mask_shape import ShapeLimits, mask_shapes
from evaluate.metrics.masks import dice
from evaluate.parts import Parts, pairs_digest, part_digest
from evaluate.settings.gates import GateSettings
from manifests.errors import BadInput
from manifests.progress import Progress, no_progress

if TYPE_CHECKING:
    from evaluate.downstream.classifier import Classifier
    from evaluate.downstream.segmenter import Segmenter
    from manifests.pairs import PairArrays

COPIES = "copies"
"""The part of the judge that holds the copy index."""
LESIONS = "copies-lesions"
"""The one that holds the index of lesions alone, where pairs are painted into real skin."""


def grouped_folds(pairs: PairArrays, folds: int, seed: int) -> np.ndarray:
    """The fold (N,) of each pair: groups stay whole, and each class is dealt out evenly.

    A group goes by its rarest class; the order within a class comes from a hash of the group and the seed,
    so that it depends neither on the order of pairs nor on which others there are. BadInput where there are
    too few groups.
    """
    counts = np.bincount(pairs.labels + 1, minlength=len(pairs.classes) + 1)
    rarity = [(int(count), label - 1) for label, count in enumerate(counts)]
    classes: dict[str, int] = {}
    for group, label in zip(pairs.group_ids, (int(label) for label in pairs.labels), strict=True):
        if group not in classes or rarity[label + 1] < rarity[classes[group] + 1]:
            classes[group] = label
    if len(classes) < folds:
        raise BadInput(
            f"the training split has {len(classes)} groups but the gates need {folds}; add pairs or set "
            "gates.folds lower"
        )

    def position(group: str) -> tuple[int, str]:
        return classes[group], hashlib.sha256(f"{seed}:{group}".encode()).hexdigest()

    fold = {group: i % folds for i, group in enumerate(sorted(classes, key=position))}
    return np.array([fold[group] for group in pairs.group_ids])


def segmenter_pairs(real: PairArrays, settings: GateSettings) -> PairArrays:
    """The pairs that the judge's segmenters learn from: those with given masks, where there are enough of them."""
    given = real.given()
    return given if len(given) >= settings.given_minimum else real


def fit_segmenter(
    real: PairArrays, held: np.ndarray, settings: GateSettings, seed: int, folder: Path, progress: Progress
) -> dict[str, Any]:
    """Train a segmenter on the pairs not `held` (bool (N,)); Dice with the held-out real masks by pair id."""
    from evaluate.downstream.plain_unet import JudgeSegmenter

    segmenter = JudgeSegmenter(settings.segmenter)
    segmenter.fit(real.select(np.flatnonzero(~held)), seed=seed, progress=progress)
    segmenter.save(folder)
    left = real.select(np.flatnonzero(held))
    found = lesion_masks([segmenter], left.images, settings.batch)
    return {"dice": dict(zip(left.pair_ids, dice(found, left.masks).tolist(), strict=True))}


def fit_appearance(
    features: np.ndarray, real: PairArrays, held: np.ndarray, seed: int, folder: Path, progress: Progress
) -> dict[str, Any]:
    """Train an appearance classifier on the pairs not `held`; probabilities of the others by pair id."""
    known = ~held & (real.labels >= 0)
    classifier = AppearanceClassifier.fit(features[known], real.labels[known], len(real.classes), seed)
    classifier.save(folder)
    rows = classifier.probabilities(features[held]).astype(float).round(6)
    return {"probabilities": dict(zip(real.select(np.flatnonzero(held)).pair_ids, rows.tolist(), strict=True))}


def fit_network(
    real: PairArrays, held: np.ndarray, settings: GateSettings, seed: int, folder: Path, progress: Progress
) -> dict[str, Any]:
    """As `fit_appearance`, with the downstream classifier and its classes drawn alike."""
    from evaluate.downstream.classifier import Classifier
    from evaluate.downstream.training import Regime, Stage

    known = real.select(np.flatnonzero(~held & (real.labels >= 0)))
    weights = 1 / np.bincount(known.labels, minlength=len(real.classes))[known.labels]
    classifier = Classifier(settings.classifier, real.classes)
    classifier.fit(known, seed=seed, regime=Regime((Stage(weights),)), progress=progress)
    classifier.save(folder)
    left = real.select(np.flatnonzero(held))
    rows = padded(classifier.probabilities, left.images, settings.batch).astype(float).round(6)
    return {"probabilities": dict(zip(left.pair_ids, rows.tolist(), strict=True))}


def copy_index(real: PairArrays, settings: GateSettings, folder: Path, progress: Progress = no_progress) -> CopyIndex:
    """The copy index of the training split with its threshold, from `folder` or made anew: the judge's own part."""
    parts = Parts(folder, progress, len(ATTACKS))
    make_copies_part(real, settings, parts, pairs_digest(real))
    return CopyIndex.load(folder / COPIES)


def make_copies_part(real: PairArrays, settings: GateSettings, parts: Parts, data: str, lesions: bool = False) -> None:
    """Index the real images, or their lesions alone, for the copy audit and set its threshold."""

    def build(where: Path, progress: Progress) -> dict[str, Any]:
        images = lesion_squares(real.images, real.masks) if lesions else real.images
        index = CopyIndex.build(images, real.pair_ids, real.group_ids, settings.copies)
        index.calibrated(images, settings.seed, progress).save(where)
        return {}

    name = LESIONS if lesions else COPIES
    parts.make(name, part_digest(data, settings.copies.model_dump(), settings.seed), len(ATTACKS), build)


def held_out_plausibility(real: PairArrays, settings: GateSettings) -> tuple[dict[str, ShapeLimits], np.ndarray]:
    """Limits of each class, and the score (N,) of each mask by limits that were made without its fold."""
    shapes = mask_shapes(real.masks)
    folds = grouped_folds(real, settings.folds, settings.seed)
    scores = np.ones(len(real))
    limits = {}
    for label, dx in enumerate(real.classes):
        own = real.labels == label
        limits[dx] = ShapeLimits.fit(shapes[own], shapes)
        for fold in range(settings.folds):
            others, held = folds != fold, own & (folds == fold)
            scores[held] = ShapeLimits.fit(shapes[own & others], shapes[others]).plausibility(shapes[held])
    return limits, scores


def lesion_masks(segmenters: list[Segmenter], images: np.ndarray, batch: int) -> np.ndarray:
    """Where the segmenters together see a lesion: bool (N, H, W)."""
    together = np.mean([padded(segmenter.masks, images, batch) for segmenter in segmenters], axis=0)
    return together > 0.5


def padded(predict: Callable[[np.ndarray], np.ndarray], images: np.ndarray, batch: int) -> np.ndarray:
    """`predict` of images (N, H, W, 3) in batches of one size, so that no answer depends on its company."""
    parts = []
    for start in range(0, len(images), batch):
        block = np.asarray(images[start : start + batch])
        repeats = np.concatenate([block, np.repeat(block[-1:], batch - len(block), axis=0)])
        parts.append(predict(repeats)[: len(block)])
    return np.concatenate(parts)


def load_class_judge(folder: Path, settings: GateSettings) -> AppearanceClassifier | Classifier:
    """The classifier that `fit_appearance` or `fit_network` wrote."""
    from evaluate.downstream.classifier import Classifier

    return Classifier.load(folder) if settings.class_judge == "network" else AppearanceClassifier.load(folder)


def all_features(pairs: PairArrays, progress: Progress = no_progress) -> np.ndarray:
    """Lesion features float32 (N, F), in blocks."""
    blocks = []
    for start in range(0, len(pairs), 64):
        blocks.append(lesion_features(pairs.images[start : start + 64], pairs.masks[start : start + 64]))
        progress(min(start + 64, len(pairs)), len(pairs), part="features")
    return np.concatenate(blocks)
