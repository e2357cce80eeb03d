"""How near generated pairs come to real ones, beside how near real ones come to each other. No proof."""

from __future__ import annotations

from collections.abc import Callable
from dataclasses import dataclass
from pathlib import Path
from typing import TYPE_CHECKING, Any

import numpy as np

from evaluate.fidelity.variety import vendi_score
from evaluate.metrics.mask_shape import STATISTICS, mask_shapes
from evaluate.parts import Parts, pairs_digest, part_digest
from evaluate.settings.gates import FidelitySettings
from manifests.errors import BadInput
from manifests.progress import Progress, no_progress

if TYPE_CHECKING:
    from torch import nn

    from manifests.pairs import PairArrays

FIGURES = ("kid", "fid", "precision", "recall", "density", "coverage", "vendi")
MASK_FIGURES = ("area", "compactness", "row", "column")

Figures = dict[str, Any]


@dataclass(frozen=True)
class Described:
    """What a set of pairs is compared by. features: (N, D); shapes: (N, 4), by MASK_FIGURES; labels: (N,)."""

    features: np.ndarray
    shapes: np.ndarray
    labels: np.ndarray

    def __len__(self) -> int:
        return len(self.labels)

    def select(self, indices: np.ndarray) -> Described:
        """The pairs at `indices`."""
        return Described(self.features[indices], self.shapes[indices], self.labels[indices])


def fidelity_report(
    train: PairArrays,
    validation: PairArrays,
    synthetic: PairArrays,
    settings: FidelitySettings,
    extractor: nn.Module,
) -> dict[str, Any]:
    """Figures of generated pairs against real validation pairs, by class and in all, each beside its floor.

    The floor is the same figure of as many real training pairs. `extractor` turns uint8 images (B, 3, H, W)
    into features (B, num_features), as torchmetrics has it. In all, classes are mixed as in the validation
    split, and classes without generated pairs are left out. A figure that too few images allow is null, and
    `reason` says why. Raises BadInput where the extractor is not as wide as it states. JSON-ready.
    """
    from evaluate.fidelity.extractors import extractor_name, stated_width

    if not train.classes == validation.classes == synthetic.classes:
        raise BadInput("fidelity needs real and generated pairs of the same classes; make the manifests again")
    reference, floor, generated = (
        describe(pairs, extractor, settings.limit) for pairs in (validation, train, synthetic)
    )
    per_class = {}
    for label, dx in enumerate(train.classes):
        own, own_floor, own_generated = (
            part.select(np.flatnonzero(part.labels == label)) for part in (reference, floor, generated)
        )
        per_class[dx] = beside_floor(own, own_floor, own_generated, settings)
    present = [label for label in range(len(train.classes)) if (generated.labels == label).any()]
    counted = reference.select(np.flatnonzero(np.isin(reference.labels, present)))
    mixed_floor, mixed_generated = (mixed_as(part, counted.labels) for part in (floor, generated))
    return {
        "extractor": extractor_name(extractor),
        "features": stated_width(extractor),
        "kid_subset": settings.kid_subset,
        "kid_subsets": settings.kid_subsets,
        "neighbours": settings.neighbours,
        "classes_in_all": [train.classes[label] for label in present],
        "all": beside_floor(counted, mixed_floor, mixed_generated, settings),
        "per_class": per_class,
    }


def build_extractor(
    settings: FidelitySettings, train: PairArrays, folder: Path, progress: Progress = no_progress
) -> nn.Module:
    """The extractor that the settings name; the downstream one is trained on `train`, kept in `folder`."""
    from evaluate.downstream.classifier import Classifier
    from evaluate.fidelity.extractors import downstream_features, pretrained_features

    if settings.extractor != "downstream":
        return pretrained_features(settings.extractor, settings.weights, settings.size, settings.width)

    def build(where: Path, report: Progress) -> dict[str, Any]:
        classifier = Classifier(settings.classifier, train.classes)
        classifier.fit(train, seed=settings.seed, progress=report)
        classifier.save(where)
        return {}

    digest = part_digest(pairs_digest(train), settings.classifier.model_dump(mode="json"), settings.seed)
    Parts(folder, progress, settings.classifier.updates).make("extractor", digest, settings.classifier.updates, build)
    return downstream_features(Classifier.load(folder / "extractor"), settings.width)


def describe(pairs: PairArrays, extractor: nn.Module, limit: int) -> Described:
    """Features and mask shapes of at most `limit` pairs, evenly spaced."""
    from evaluate.fidelity.extractors import features_of, stated_width

    chosen = np.linspace(0, len(pairs) - 1, min(len(pairs), limit)).astype(int)
    if not len(chosen):
        return Described(np.zeros((0, stated_width(extractor))), np.zeros((0, 4)), np.zeros(0, np.int64))
    shapes = mask_shapes(pairs.masks[chosen])[:, [STATISTICS.index(name) for name in MASK_FIGURES]]
    shapes[:, 0] = 1 / (1 + np.exp(-shapes[:, 0]))  # from log-odds to the share of the image
    return Described(features_of(extractor, pairs.images[chosen]), shapes, np.asarray(pairs.labels[chosen]))


def mixed_as(part: Described, labels: np.ndarray) -> Described:
    """As many of `part` as fit the class shares of `labels` (N,), evenly spaced within each class."""
    shares = {label: (labels == label).mean() for label in np.unique(labels)}
    total = min((int((part.labels == label).sum() / share) for label, share in shares.items()), default=0)
    chosen = []
    for label, share in shares.items():
        own = np.flatnonzero(part.labels == label)
        chosen.append(own[np.linspace(0, len(own) - 1, min(len(own), round(total * share))).astype(int)])
    return part.select(np.concatenate(chosen) if chosen else np.zeros(0, np.int64))


def beside_floor(
    reference: Described, floor: Described, generated: Described, settings: FidelitySettings
) -> dict[str, Any]:
    """The figures of `generated` and of as many of `floor`, both against `reference`."""
    # FID and coverage depend on the number of images, so both sides get the same.
    size = min(len(floor), len(generated)) or len(floor)
    return {
        "generated": compare_sets(reference, _thinned(generated, size), settings),
        "floor": compare_sets(reference, _thinned(floor, size), settings),
    }


def _thinned(part: Described, size: int) -> Described:
    return part.select(np.linspace(0, len(part) - 1, min(len(part), size)).astype(int))


def compare_sets(reference: Described, other: Described, settings: FidelitySettings) -> Figures:
    """Every figure of `other` against `reference`; null with a reason where images are too few."""
    counts = {"images": len(other), "reference_images": len(reference)}
    fewest = min(counts.values())
    if fewest < settings.minimum:
        reason = f"{len(other)} images against {len(reference)}, {settings.minimum} of each are needed"
        nothing = dict.fromkeys((*FIGURES, "kid_deviation"))
        return {**counts, **nothing, "masks": dict.fromkeys(MASK_FIGURES), "reason": reason}
    mean, deviation = kernel_distance(reference.features, other.features, settings)
    return {
        **counts,
        "kid": mean,
        "kid_deviation": deviation,
        "fid": frechet_distance(reference.features, other.features),
        "vendi": vendi_score(other.features),
        **neighbour_figures(reference.features, other.features, min(settings.neighbours, fewest - 1)),
        "masks": {
            name: _earth_mover(reference.shapes[:, i], other.shapes[:, i]) for i, name in enumerate(MASK_FIGURES)
        },
        "reason": None,
    }


def kernel_distance(reference: np.ndarray, other: np.ndarray, settings: FidelitySettings) -> tuple[float, float]:
    """KID (Binkowski et al. 2018), mean and deviation over subsets, of features (N, D) and (M, D)."""
    import torch

    def compute() -> tuple[float, float]:
        from torchmetrics.image.kid import KernelInceptionDistance

        size = min(settings.kid_subset, len(reference), len(other))
        metric = KernelInceptionDistance(_given_features(reference.shape[1]), settings.kid_subsets, size)
        metric.update(torch.from_numpy(reference), real=True)
        metric.update(torch.from_numpy(other), real=False)
        mean, deviation = metric.compute()
        return float(mean), float(deviation)

    return _seeded(compute, settings.seed)


def _seeded(compute: Callable[[], tuple[float, float]], seed: int) -> tuple[float, float]:
    # torchmetrics draws its subsets from the global random state and warns that it keeps all features.
    import warnings

    import torch

    with torch.random.fork_rng(devices=[]), warnings.catch_warnings():
        warnings.filterwarnings("ignore", message="Metric `Kernel Inception Distance` will save")
        torch.manual_seed(seed)
        return compute()


def _given_features(width: int) -> nn.Module:
    # Lets torchmetrics take features that were computed once for every comparison.
    from torch import nn

    module = nn.Identity()
    module.num_features = width  # type: ignore[assignment]
    return module


def frechet_distance(reference: np.ndarray, other: np.ndarray) -> float:
    """FID (Heusel et al. 2017) of features (N, D) and (M, D): the distance of two Gaussians fitted to them.

    tr sqrt(S1 S2) is the sum of the singular values of A B', where S1 = A'A and S2 = B'B, so no D x D matrix
    needs a square root; with fewer images than features the figure is biased upwards, hence the numbers
    beside it.
    """
    first, second = reference.astype(np.float64), other.astype(np.float64)
    offset = first.mean(0) - second.mean(0)
    a = (first - first.mean(0)) / np.sqrt(len(first) - 1)
    b = (second - second.mean(0)) / np.sqrt(len(second) - 1)
    shared = np.linalg.svd(_short(a) @ _short(b).T, full_matrices=False, compute_uv=False).sum()
    return float(max(0.0, offset @ offset + (a * a).sum() + (b * b).sum() - 2 * shared))


def _short(rows: np.ndarray) -> np.ndarray:
    # Rows (min(N, D), D) with the same products A'A.
    return np.asarray(np.linalg.qr(rows, mode="r")) if len(rows) > rows.shape[1] else rows


def neighbour_figures(reference: np.ndarray, other: np.ndarray, k: int) -> dict[str, float]:
    """Precision, recall (Kynkaanniemi et al. 2019), density, coverage (Naeem et al. 2020) by k neighbours."""
    within_reference = _squared_distances(reference, reference)
    within_other = _squared_distances(other, other)
    between = _squared_distances(reference, other)  # (N, M)
    # The nearest of each set's own points is the point itself.
    radius_reference = np.sort(within_reference, axis=1)[:, k][:, None]
    radius_other = np.sort(within_other, axis=1)[:, k][None]
    inside = between <= radius_reference
    return {
        "precision": float(inside.any(0).mean()),
        "recall": float((between <= radius_other).any(1).mean()),
        "density": float(inside.sum() / (k * len(other))),
        "coverage": float((between.min(1) <= radius_reference[:, 0]).mean()),
    }


def _squared_distances(first: np.ndarray, second: np.ndarray) -> np.ndarray:
    first, second = first.astype(np.float64), second.astype(np.float64)
    squares = (first * first).sum(1)[:, None] + (second * second).sum(1)[None]
    return np.maximum(squares - 2 * first @ second.T, 0)


def _earth_mover(first: np.ndarray, second: np.ndarray) -> float | None:
    from scipy.stats import wasserstein_distance

    first, second = first[~np.isnan(first)], second[~np.isnan(second)]
    return float(wasserstein_distance(first, second)) if len(first) and len(second) else None
