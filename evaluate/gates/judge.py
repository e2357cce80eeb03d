"""The gates: what a generated pair must pass, judged by models of the training split alone."""

from __future__ import annotations

import json
from collections.abc import Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import TYPE_CHECKING, Any

import numpy as np

from evaluate.copies.drawn import nearest_drawn
from evaluate.copies.index import CopyIndex
from evaluate.copies.threshold import ATTACKS
from evaluate.gates.appearance import AppearanceClassifier, lesion_features
from evaluate.gates.fitting import (
    COPIES,
    LESIONS,
    all_features,
    fit_appearance,
    fit_network,
    fit_segmenter,
    grouped_folds,
    held_out_plausibility,
    lesion_masks,
    load_class_judge,
    make_copies_part,
    padded,
    segmenter_pairs,
)
from evaluate.metrics.mask_shape import ShapeLimits, mask_shapes
from evaluate.metrics.masks import dice
from evaluate.parts import Parts, pairs_digest, part_digest
from evaluate.settings.gates import GateSettings
from manifests.errors import BadInput
from manifests.files import write_json
from manifests.progress import Progress, no_progress

if TYPE_CHECKING:
    from augment.synthesis import Verdict
    from augment.ways.plan import Origin
    from evaluate.downstream.classifier import Classifier
    from evaluate.downstream.segmenter import Segmenter
    from manifests.pairs import PairArrays

GATES = ("mask_plausibility", "mask_agreement", "class_consistency")
COPY = "copy"


@dataclass(frozen=True)
class Judge:
    """Judges candidates; the same pair gets the same verdict whatever pairs come with it.

    header: settings, thresholds by gate and class (null where a class has none), what the judge itself
    reaches on held-out real pairs, and which gates were left out for which class and why; it is JSON-ready.
    """

    header: dict[str, Any]
    limits: dict[str, ShapeLimits]
    segmenters: list[Segmenter]
    classifiers: Sequence[AppearanceClassifier | Classifier]
    copies: CopyIndex
    lesions: CopyIndex | None = None

    def __call__(self, candidates: PairArrays, dx: str, origins: Sequence[Origin] = ()) -> list[Verdict]:
        """A verdict for each candidate of class `dx`, in order; BadInput for an unknown class.

        origins: what each was drawn from; none means from text.
        """
        from augment.synthesis import Verdict

        scores = self.scores(candidates, dx)
        nearest = nearest_drawn(self.copies, self.lesions, candidates, origins)
        verdicts = []
        for i, (found, similarity) in enumerate(nearest):
            own = {gate: float(scores[gate][i]) for gate in GATES}
            told = None if found is None else similarity
            verdicts.append(Verdict(own, found, told, self.reject_reason(own, similarity, dx)))
        return verdicts

    def scores(self, candidates: PairArrays, dx: str) -> dict[str, np.ndarray]:
        """Each gate's score (N,) in [0, 1], higher is better, rounded to four places."""
        if dx not in self.limits:
            raise BadInput(f"the gates do not know class {dx!r}, only {', '.join(self.limits)}; fit them again")
        found = lesion_masks(self.segmenters, candidates.images, self.header["settings"]["batch"])
        own = list(self.limits).index(dx)
        return {
            "mask_plausibility": np.round(self.limits[dx].plausibility(mask_shapes(candidates.masks)), 4),
            "mask_agreement": dice(found, candidates.masks),
            "class_consistency": np.round(self.probabilities(candidates)[:, own].astype(float), 4),
        }

    def probabilities(self, pairs: PairArrays) -> np.ndarray:
        """Class probabilities (N, C), the mean over the ensemble."""
        batch = self.header["settings"]["batch"]
        networks = [judge for judge in self.classifiers if not isinstance(judge, AppearanceClassifier)]
        if networks:
            return np.mean([padded(judge.probabilities, pairs.images, batch) for judge in networks], axis=0)
        features = lesion_features(pairs.images, pairs.masks)
        return np.mean([judge.probabilities(features) for judge in self.classifiers], axis=0)

    def reject_reason(self, scores: dict[str, float], similarity: float, dx: str) -> str | None:
        """The first gate that the scores do not pass, None where they pass all."""
        for gate in GATES:
            threshold = self.header["thresholds"][gate][dx]
            if threshold is not None and scores[gate] < threshold:
                return gate
        return COPY if self.copies.is_copy(similarity) else None


def fit_judge(
    real: PairArrays, settings: GateSettings, folder: Path, progress: Progress = no_progress, painted: bool = False
) -> Judge:
    """Make the judge from `real`, which must be the training split alone, and keep it in `folder`.

    painted: whether lesions painted into real skin are to be judged too.

    Parts that were finished by an earlier call on the same data and settings are taken from there. Raises
    BadInput where the split holds too few groups, StopRequested when the progress callback asks to stop.
    """
    folder = Path(folder)
    data = pairs_digest(real)
    parts = Parts(folder, progress, units_of_judge(settings, painted))
    agreement = _fit_segmenters(real, settings, parts, data)
    probabilities = _fit_classifiers(real, settings, parts, data)
    make_copies_part(real, settings, parts, data)
    if painted:
        make_copies_part(real, settings, parts, data, lesions=True)
    limits, plausibility = held_out_plausibility(real, settings)
    held_out = {
        "mask_plausibility": plausibility,
        "mask_agreement": agreement,
        "class_consistency": _own_probability(probabilities, real.labels),
    }
    header = {
        "data": data,
        "classes": list(real.classes),
        "settings": settings.model_dump(mode="json"),
        "limits": {dx: limit.to_json() for dx, limit in limits.items()},
        **calibrate(held_out, real.labels, real.classes, settings),
        "painted": painted,
        "held_out": _quality(agreement, probabilities, real, settings),
    }
    write_json(folder / "judge.json", header)
    return load_judge(folder)


def units_of_judge(settings: GateSettings, painted: bool) -> int:
    """What `fit_judge` counts: updates of its models, and kinds of planted copies."""
    each = settings.segmenter.updates + (settings.classifier.updates if settings.class_judge == "network" else 1)
    return settings.folds * each + (1 + painted) * len(ATTACKS)


def load_judge(folder: Path) -> Judge:
    """The judge that `fit_judge` kept in `folder`; BadInput where it is unfinished or damaged."""
    from evaluate.downstream.plain_unet import JudgeSegmenter

    path = Path(folder) / "judge.json"
    try:
        header = json.loads(path.read_text())
        settings = GateSettings.model_validate(header["settings"])
        limits = {dx: ShapeLimits.from_json(header["limits"][dx]) for dx in header["classes"]}
    except (OSError, ValueError, KeyError) as error:
        raise BadInput(f"{path} holds no finished judge ({error}); delete its folder and run again") from error
    return Judge(
        header,
        limits,
        [JudgeSegmenter.load(path.parent / f"segmenter-{i}") for i in range(settings.folds)],
        [load_class_judge(path.parent / f"classifier-{i}", settings) for i in range(settings.folds)],
        CopyIndex.load(path.parent / COPIES),
        CopyIndex.load(path.parent / LESIONS) if header.get("painted") else None,
    )


def _fit_segmenters(real: PairArrays, settings: GateSettings, parts: Parts, data: str) -> np.ndarray:
    # Out-of-fold Dice (N,) of real pairs; none where found masks stand aside for given ones.
    pairs = segmenter_pairs(real, settings)
    data = data if pairs is real else pairs_digest(pairs)
    folds = grouped_folds(pairs, settings.folds, settings.seed)
    found: dict[str, float] = {}
    for fold in range(settings.folds):
        digest = part_digest(data, settings.segmenter.model_dump(), settings.folds, settings.seed, settings.batch, fold)
        report = parts.make(
            f"segmenter-{fold}",
            digest,
            settings.segmenter.updates,
            lambda where, progress, fold=fold: fit_segmenter(  # type: ignore[misc]
                pairs, folds == fold, settings, settings.seed + fold, where, progress
            ),
        )
        found |= report["dice"]
    return np.array([found.get(pair, np.nan) for pair in real.pair_ids])


def _fit_classifiers(real: PairArrays, settings: GateSettings, parts: Parts, data: str) -> np.ndarray:
    # Out-of-fold class probabilities (N, C) of real pairs.
    folds = grouped_folds(real, settings.folds, settings.seed)
    network = settings.class_judge == "network"
    depends = settings.classifier.model_dump() if network else "appearance"
    features: list[np.ndarray] = []

    def build(fold: int, where: Path, progress: Progress) -> dict[str, Any]:
        held, seed = folds == fold, settings.seed + fold
        if network:
            return fit_network(real, held, settings, seed, where, progress)
        if not features:
            features.append(all_features(real, progress))
        return fit_appearance(features[0], real, held, seed, where, progress)

    found: dict[str, list[float]] = {}
    for fold in range(settings.folds):
        digest = part_digest(data, depends, settings.folds, settings.seed, settings.batch, fold)
        units = settings.classifier.updates if network else 1
        report = parts.make(
            f"classifier-{fold}",
            digest,
            units,
            lambda where, progress, fold=fold: build(fold, where, progress),  # type: ignore[misc]
        )
        found |= report["probabilities"]
    return np.array([found[pair] for pair in real.pair_ids])


def _own_probability(probabilities: np.ndarray, labels: np.ndarray) -> np.ndarray:
    own = probabilities[np.arange(len(labels)), np.maximum(labels, 0)]
    return np.where(labels >= 0, own, np.nan)


def calibrate(
    held_out: dict[str, np.ndarray], labels: np.ndarray, classes: Sequence[str], settings: GateSettings
) -> dict[str, Any]:
    """Thresholds by gate and class from held-out scores (N,) of real pairs, and what was left out and why.

    A class with fewer than `class_minimum` pairs takes the mask gates' thresholds of all classes together,
    and passes the class gate unseen.
    """
    thresholds: dict[str, dict[str, float | None]] = {gate: {} for gate in GATES}
    skipped = []
    for label, dx in enumerate(classes):
        for gate in GATES:
            known = ~np.isnan(held_out[gate])
            own = (labels == label) & known
            enough = int(own.sum()) >= settings.class_minimum
            if not enough and gate == "class_consistency":
                reason = f"{int(own.sum())} training pairs, fewer than {settings.class_minimum}"
                skipped.append({"gate": gate, "dx": dx, "reason": reason})
                thresholds[gate][dx] = None
                continue
            labelled = (labels >= 0) & known
            scores = held_out[gate][own if enough else labelled if labelled.any() else known]
            quantile = getattr(settings, f"{gate}_quantile")
            # The lower of the two neighbours, so that at least the stated share of real pairs passes.
            value = float(np.quantile(scores, quantile, method="lower")) if len(scores) else None
            thresholds[gate][dx] = None if value is None else float(np.floor(value * 1e4) / 1e4)
    return {"thresholds": thresholds, "skipped": skipped}


def _quality(
    agreement: np.ndarray, probabilities: np.ndarray, real: PairArrays, settings: GateSettings
) -> dict[str, Any]:
    predicted = segmenter_pairs(real, settings).predicted
    given = predicted is None or not predicted.any()
    known = real.labels >= 0
    right = probabilities.argmax(1) == real.labels
    recall = {
        dx: float(right[real.labels == label].mean())
        for label, dx in enumerate(real.classes)
        if (real.labels == label).any()
    }
    return {
        "pairs": len(real),
        # Found masks teach the segmenters where there is nothing else, and never say how good they are.
        "mean_dice": float(np.nanmean(agreement)) if given else None,
        "masks": "given" if given else "found",
        "accuracy": float(right[known].mean()) if known.any() else None,
        "recall": recall,
    }
