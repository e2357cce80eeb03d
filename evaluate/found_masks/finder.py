"""Missing masks are found: by a segmenter of the run's own masked pairs, or by the shipped one."""

from __future__ import annotations

import contextlib
import hashlib
import json
from collections.abc import Iterator
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import numpy as np

from evaluate.explain.localisation import largest_part
from evaluate.found_masks.calibration import least_confidence
from evaluate.found_masks.segmenter import FindingSegmenter
from evaluate.gates.fitting import grouped_folds, padded
from evaluate.metrics.masks import dice
from evaluate.parts import Parts, pairs_digest, part_digest
from evaluate.settings.found_masks import SHIPPED_SEGMENTER, WEIGHTS, FinderSettings
from manifests.errors import BadInput
from manifests.files import write_json
from manifests.pairs import PairArrays
from manifests.progress import Progress
from manifests.settings import MaskSettings

CALIBRATION = "calibration.json"
OWN_FOLDS = 5
"""One in so many of a run's own masked pairs is held out to calibrate the segmenter that learns from the others."""
LEAST_HELD_OUT = 20
"""Given masks below which the shipped segmenter is not calibrated on them."""
BATCH = 32


@dataclass(frozen=True)
class SegmenterFinder:
    """Finds masks with a segmenter; said and name: as `manifests.prepare.missing_masks.MaskFinder` has them."""

    segmenter: FindingSegmenter
    said: dict[str, Any]
    name: str

    def __call__(self, images: np.ndarray) -> tuple[np.ndarray, np.ndarray]:
        """Images uint8 (N, S, S, 3) -> masks bool (N, S, S), empty where no lesion is seen, and confidence (N,)."""
        return found_masks(self.segmenter, images)


@dataclass(frozen=True)
class FinderMaker:
    """Makes the finder of a run; folder: where a segmenter of its own is kept, so that it is trained once."""

    masks: MaskSettings
    settings: FinderSettings
    seed: int
    folder: Path

    @property
    def side(self) -> int:
        """Side in pixels to which the pairs are scaled that it learns from."""
        return self.settings.size

    def __call__(self, train: PairArrays, validation: PairArrays, progress: Progress) -> SegmenterFinder:
        """A finder that has learned from `train`, or the shipped one, calibrated on given masks that it never saw."""
        with one_thread():
            if len(train) >= self.masks.own and len(set(train.group_ids)) >= OWN_FOLDS:
                return self._own(train, validation, progress)
            shipped = FindingSegmenter.load(SHIPPED_SEGMENTER)
            said = {"segmenter": "shipped", "segmenter_digest": segmenter_digest(SHIPPED_SEGMENTER)}
            enough = len(train) + len(validation) >= LEAST_HELD_OUT
            found = self._calibrated(shipped, train, validation) if enough else shipped_calibration(self.masks)
            return SegmenterFinder(shipped, said | found, "the shipped segmenter")

    def _own(self, train: PairArrays, validation: PairArrays, progress: Progress) -> SegmenterFinder:
        held = grouped_folds(train, OWN_FOLDS, self.seed) == 0
        start = segmenter_digest(SHIPPED_SEGMENTER)

        def build(where: Path, progress: Progress) -> dict[str, Any]:
            segmenter = FindingSegmenter(self.settings, start=SHIPPED_SEGMENTER)
            segmenter.fit(train.select(np.flatnonzero(~held)), seed=self.seed, progress=progress)
            segmenter.save(where)
            return {}

        parts = Parts(self.folder, progress, self.settings.updates)
        digest = part_digest(pairs_digest(train), self.settings.model_dump(mode="json"), self.seed, start)
        parts.make("segmenter", digest, self.settings.updates, build)
        own = FindingSegmenter.load(self.folder / "segmenter")
        said = {"segmenter": "own", "segmenter_digest": segmenter_digest(self.folder / "segmenter")}
        found = self._calibrated(own, train.select(np.flatnonzero(held)), validation)
        learned = int((~held).sum())
        return SegmenterFinder(own, said | found, f"a segmenter trained on {learned} of the data's own masks")

    def _calibrated(self, segmenter: FindingSegmenter, *held: PairArrays) -> dict[str, Any]:
        """The least confidence by held-out given masks, and how good the found ones are."""
        agreement, confidence = (np.concatenate(parts) for parts in zip(*(judged(segmenter, p) for p in held)))
        return calibration(agreement, confidence, self.masks)


def shipped_calibration(masks: MaskSettings) -> dict[str, Any]:
    """The calibration of the shipped segmenter, on the validation split of the data that it was trained on."""
    path = SHIPPED_SEGMENTER / CALIBRATION
    try:
        found = json.loads(path.read_text(encoding="utf-8"))
        agreement, confidence = (np.array(found[name], float) for name in ("dice", "confidence"))
    except (OSError, ValueError, KeyError) as error:
        raise BadInput(f"{path}: cannot be read ({error}); install evenderm again") from error
    return calibration(agreement, confidence, masks)


def write_calibration(folder: Path, segmenter: FindingSegmenter, pairs: PairArrays) -> dict[str, Any]:
    """Keeps how `segmenter` does on pairs that it never saw, for datasets without given masks; the figures."""
    with one_thread():
        agreement, confidence = judged(segmenter, pairs)
    rows = {"dice": agreement.tolist(), "confidence": confidence.tolist()}
    write_json(folder / CALIBRATION, {name: [round(value, 4) for value in values] for name, values in rows.items()})
    return calibration(agreement, confidence, MaskSettings())


def calibration(agreement: np.ndarray, confidence: np.ndarray, masks: MaskSettings) -> dict[str, Any]:
    """What is said of a segmenter that reached `agreement` (N,) with given masks at `confidence` (N,)."""
    return {
        "least_confidence": least_confidence(agreement, confidence, masks),
        "calibrated_on": len(agreement),
        "dice": round(float(agreement.mean()), 4),
    }


def judged(segmenter: FindingSegmenter, pairs: PairArrays) -> tuple[np.ndarray, np.ndarray]:
    """Dice (N,) of the masks found with the given ones, and the confidence (N,) in them."""
    if not len(pairs):
        return np.zeros(0), np.zeros(0)
    found = [found_masks(segmenter, np.asarray(pairs.images[i : i + BATCH])) for i in range(0, len(pairs), BATCH)]
    masks, confidence = (np.concatenate(parts) for parts in zip(*found, strict=True))
    return dice(masks, np.asarray(pairs.masks)), confidence


def found_masks(segmenter: FindingSegmenter, images: np.ndarray) -> tuple[np.ndarray, np.ndarray]:
    """The largest lesion of each image without holes, bool (N, S, S), and the confidence in it, float (N,) in [0, 1].

    Two views are averaged. Confidence is the Dice that the probabilities themselves expect of the mask:
    twice their sum inside it, by their whole sum and its area (soft Dice, as in Milletari et al. 2016).
    """
    with one_thread():
        upright = padded(segmenter.masks, images, BATCH)
        turned = padded(segmenter.masks, np.ascontiguousarray(images[:, ::-1, ::-1]), BATCH)
    probabilities = (upright + turned[:, ::-1, ::-1]) / 2
    masks = np.stack([without_holes(largest_part(one > 0.5)) for one in probabilities])
    inside = (probabilities * masks).sum(axis=(1, 2), dtype=np.float64)
    total = probabilities.sum(axis=(1, 2), dtype=np.float64) + masks.sum(axis=(1, 2))
    return masks, 2 * inside / np.maximum(total, 1e-9)


def without_holes(mask: np.ndarray) -> np.ndarray:
    """A bool mask (H, W) with its holes filled."""
    from scipy.ndimage import binary_fill_holes

    return np.asarray(binary_fill_holes(mask), bool)


def segmenter_digest(folder: Path) -> str:
    """sha256 of the weights of a segmenter; BadInput where they are not there."""
    path = folder / WEIGHTS
    if not path.is_file():
        raise BadInput(f"{path}: the segmenter is not there; install evenderm again, or set prepare.masks.find=false")
    return hashlib.sha256(path.read_bytes()).hexdigest()


@contextlib.contextmanager
def one_thread() -> Iterator[None]:
    """torch on one thread: the same bits whatever the run's number of threads."""
    import torch

    before = torch.get_num_threads()
    torch.set_num_threads(1)
    try:
        yield
    finally:
        torch.set_num_threads(before)
