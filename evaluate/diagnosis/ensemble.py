"""The classifier diagnoser: a small ensemble of the run's own classifiers, calibrated, that may say `none of these`."""

from __future__ import annotations

import hashlib
import json
from collections.abc import Callable, Mapping, Sequence
from dataclasses import dataclass
from functools import partial
from pathlib import Path
from typing import TYPE_CHECKING, Any

import numpy as np

from evaluate.diagnosis.calibration import (
    OutlierScale,
    calibration_error,
    fit_temperature,
    held_out_probabilities,
    image_statistics,
    logits_of,
    scaled,
)
from evaluate.diagnosis.interface import Candidate, Diagnosis
from evaluate.parts import finished_record, pairs_digest, part_digest
from evaluate.settings.explain import ClassifierDiagnoserSettings
from manifests.errors import BadInput
from manifests.files import replace_file, write_json
from manifests.progress import Progress, no_progress

if TYPE_CHECKING:
    from evaluate.downstream.classifier import Classifier
    from manifests.pairs import PairArrays

NAME = "classifier"
_VERSION = 2
_RECORD = "ensemble.json"
_SCALES = {"features": "features.safetensors", "statistics": "statistics.safetensors"}


@dataclass(frozen=True)
class ClassifierDiagnoser:
    """An ensemble with its temperature and outlier scales. record: JSON-ready, with the reliability bins."""

    classes: Sequence[str]
    members: Sequence[Classifier]
    scales: dict[str, OutlierScale]
    record: dict[str, Any]
    name: str = NAME

    def probabilities(self, images: np.ndarray) -> np.ndarray:
        """Calibrated probabilities (N, C) of uint8 images (N, H, W, 3)."""
        return scaled(mean_logits(self.members, images), self.record["temperature"])

    def features(self, images: np.ndarray) -> np.ndarray:
        """The ensemble's embedding (N, D), by which nearest cases are found."""
        return ensemble_features(self.members, images)

    def diagnose(self, image: np.ndarray) -> Diagnosis:
        """See evaluate.diagnosis.diagnosis.Diagnoser."""
        probabilities = self.probabilities(image[None])[0]
        by_member = np.array([member.probabilities(image[None])[0] for member in self.members])
        share = self.record["outlier_share"]
        rows = {"features": self.features(image[None]), "statistics": image_statistics(image[None])}
        excess = {name: float(self.scales[name].excess(row, share)[0]) for name, row in rows.items()}
        place = {name: float(self.scales[name].place(row)[0]) for name, row in rows.items()}
        order = np.argsort(-probabilities, kind="stable")
        evidence = {
            "temperature": self.record["temperature"],
            "members": {dx: by_member[:, i].round(4).tolist() for i, dx in enumerate(self.classes)},
            "outlier_excess": {name: round(value, 4) for name, value in excess.items()},
            "outlier_place": {name: round(value, 4) for name, value in place.items()},
        }
        return Diagnosis(
            self.name,
            tuple(Candidate(self.classes[i], round(float(probabilities[i]), 4)) for i in order),
            calibrated=bool(self.record["validation_images"]),
            none_of_these=max(excess.values()) > 1,
            outlier=max(place.values()),
            evidence=evidence,
        )


def mean_logits(members: Sequence[Classifier], images: np.ndarray) -> np.ndarray:
    """Logits (N, C) of the members' mean probabilities."""
    return logits_of(np.mean([member.probabilities(images) for member in members], axis=0))


def ensemble_features(members: Sequence[Classifier], images: np.ndarray) -> np.ndarray:
    """The members' features side by side (N, D), each member scaled to rows of length 1."""
    parts = [member.features(images) for member in members]
    return np.concatenate(
        [part / np.maximum(np.linalg.norm(part, axis=1, keepdims=True), 1e-9) for part in parts], axis=1
    )


@dataclass(frozen=True)
class DownstreamMembers:
    """Classifiers that a benchmark trained: those of one arm, one folder per seed."""

    arm: str
    folders: tuple[Path, ...]

    @property
    def digest(self) -> str:
        """sha256 of the arm and of every weight."""
        whole = hashlib.sha256(self.arm.encode())
        for folder in self.folders:
            for path in sorted(folder.iterdir()):
                whole.update(hashlib.sha256(path.read_bytes()).digest())
        return whole.hexdigest()


def downstream_members(results: Mapping[str, Any], models: Path) -> DownstreamMembers | None:
    """The classifiers of the arm that is best on validation by the deciding metric, if `models` holds them all.

    results: a results.json of a benchmark; models: one folder per arm, task and seed.
    """
    arms = {
        arm["name"]: arm
        for arm in results.get("arms", ())
        if arm["task"] == "classification" and arm["validation"]["mean"] is not None and "%" not in arm["name"]
    }
    for name in sorted(arms, key=lambda name: -arms[name]["validation"]["mean"])[:1]:
        folders = tuple(models / f"{name}-classification-{seed}" for seed in arms[name]["seeds"])
        if all((folder / "classifier.json").is_file() for folder in folders):
            return DownstreamMembers(name, folders)
    return None


def fit_classifier_diagnoser(
    train: PairArrays,
    validation: PairArrays,
    settings: ClassifierDiagnoserSettings,
    folder: Path,
    seed: int = 0,
    progress: Progress = no_progress,
    downstream: DownstreamMembers | None = None,
) -> ClassifierDiagnoser:
    """An ensemble of `downstream`, or of members trained on `train`, calibrated on `validation`, kept in `folder`.

    Found there, it is loaded. Raises BadInput where a split has no labelled pair, StopRequested when the
    progress callback asks to stop.
    """
    known, held = (pairs.select(np.flatnonzero(pairs.labels >= 0)) for pairs in (train, validation))
    if len(set(known.labels.tolist())) < 2:
        raise BadInput(
            "the run's training split has fewer than two classes, so there is nothing to tell apart; "
            "prepare data with classes, or choose explain.diagnoser=vlm"
        )
    members_from = downstream.digest if downstream else settings.model_dump(mode="json")
    digest = part_digest(pairs_digest(known), pairs_digest(held), members_from, settings.outlier_share, seed, _VERSION)
    if finished_record(folder / _RECORD, digest) is not None:
        return load_classifier_diagnoser(folder)
    if downstream:
        members = _copied_members(downstream, known.classes, folder)
    else:
        members = _members(known, held, settings, folder, seed, progress)
    _fit_scales(members, known, held, settings.neighbours, folder)
    record = {
        "digest": digest,
        "classes": list(train.classes),
        "members": len(members),
        "arm": downstream.arm if downstream else None,
        "seed": seed,
        "outlier_share": settings.outlier_share,
        "train_images": len(known),
        **_calibration(members, held),
    }
    write_json(folder / _RECORD, record)
    return load_classifier_diagnoser(folder)


def _calibration(members: Sequence[Classifier], held: PairArrays) -> dict[str, Any]:
    """The temperature, and how the calibrated probabilities come true on held-out pairs."""
    from evaluate.metrics.classification import calibration_bins

    if not len(held):
        nothing: dict[str, Any] = {"validation_accuracy": None, "reliability": [], "calibration_error": None}
        return {"temperature": 1.0, "validation_images": 0, **nothing}
    logits = mean_logits(members, held.images)
    bins = calibration_bins(held_out_probabilities(logits, held.labels, held.group_ids), held.labels)
    return {
        "temperature": fit_temperature(logits, held.labels),
        "validation_images": len(held),
        "validation_accuracy": round(float((logits.argmax(1) == held.labels).mean()), 4),
        "reliability": bins,
        "calibration_error": calibration_error(bins),
    }


def _fit_scales(
    members: Sequence[Classifier], known: PairArrays, held: PairArrays, neighbours: int, folder: Path
) -> None:
    """Keeps in `folder` how far held-out lesions lie from those that were learned from, by each kind of row."""
    from safetensors.numpy import save

    rows_of: dict[str, Callable[[np.ndarray], np.ndarray]] = {
        "features": partial(ensemble_features, members),
        "statistics": image_statistics,
    }
    for name, file in _SCALES.items():
        held_rows = rows_of[name](held.images) if len(held) else np.zeros((0, 1))
        scale = OutlierScale.fit(rows_of[name](known.images), held_rows, neighbours)
        arrays = {key: np.ascontiguousarray(value) for key, value in scale.tensors().items()}
        replace_file(folder / file, save(arrays))


def load_classifier_diagnoser(folder: Path) -> ClassifierDiagnoser:
    """What `fit_classifier_diagnoser` kept; BadInput where it is unfinished or damaged."""
    from safetensors import SafetensorError
    from safetensors.numpy import load_file

    from evaluate.downstream.classifier import Classifier

    path = folder / _RECORD
    try:
        record = json.loads(path.read_text(encoding="utf-8"))
        scales = {name: OutlierScale.from_tensors(load_file(folder / file)) for name, file in _SCALES.items()}
        members = [Classifier.load(folder / f"member-{i}") for i in range(record["members"])]
    except (OSError, ValueError, KeyError, SafetensorError) as error:
        raise BadInput(f"{path}: no usable ensemble ({error}); delete its folder and run again") from error
    return ClassifierDiagnoser(tuple(record["classes"]), members, scales, record)


def _members(
    known: PairArrays,
    held: PairArrays,
    settings: ClassifierDiagnoserSettings,
    folder: Path,
    seed: int,
    progress: Progress,
) -> list[Classifier]:
    """The members, trained and kept in `folder`."""
    from evaluate.downstream.classifier import Classifier
    from evaluate.downstream.training import Regime, Stage

    updates = settings.training.updates
    # Between the true shares, which drown rare classes, and equal ones, which no calibration would undo.
    weights = 1 / np.sqrt(np.bincount(known.labels, minlength=len(known.classes))[known.labels])
    members = []

    def trained_before(number: int) -> Progress:
        before, all_updates = number * updates, settings.members * updates
        return lambda done, total, **figures: progress(before + done, all_updates, **figures)

    for number in range(settings.members):
        member, validation = Classifier(settings.training, known.classes), held if len(held) else None
        regime, report = Regime((Stage(weights),)), trained_before(number)
        member.fit(known, seed=seed + number, regime=regime, validation=validation, progress=report)
        member.save(folder / f"member-{number}")
        members.append(member)
    return members


def _copied_members(downstream: DownstreamMembers, classes: Sequence[str], folder: Path) -> list[Classifier]:
    """The members that a benchmark trained, copied to `folder` so that it stands by itself."""
    from evaluate.downstream.classifier import Classifier

    members = [Classifier.load(path) for path in downstream.folders]
    for number, member in enumerate(members):
        if member.classes != tuple(classes):
            raise BadInput(f"{downstream.folders[number]}: made for other classes; run the benchmark again")
        member.save(folder / f"member-{number}")
    return members
