"""Whether pictures are of the kind that a base was trained on: distances of class means in an outside eye's features.

A joint base carries what its own training pictures look like to EfficientNet-Lite0, class by class, and how far
held-out pictures of the same data lie from them. Other data that lie farther are another domain.
"""

from __future__ import annotations

import json
from collections.abc import Mapping
from dataclasses import dataclass
from pathlib import Path

import numpy as np

from manifests.errors import BadInput
from manifests.files import replace_file, write_json
from manifests.pairs import PairArrays

FILE, WEIGHTS = "domain.json", "domain.safetensors"
FEWEST = 8  # pictures of a class below which its mean says nothing
_WIDTH = 32  # directions in which pictures of one class differ most
_MOST = 100  # pictures of a class that are looked at
_HALVES = 100
_QUANTILE = 0.95


@dataclass(frozen=True)
class KnownDomain:
    """What a base knows. means: (C, D) features of its classes; whitening: (D, 32), to unit variance within a class;
    counts: pictures behind each mean; limit: distance that held-out pictures of the same data keep within."""

    classes: tuple[str, ...]
    means: np.ndarray
    whitening: np.ndarray
    counts: np.ndarray
    limit: float

    def distance(self, features: Mapping[str, np.ndarray]) -> float | None:
        """Distance of pictures' features (N, D) by class, in deviations; None where no class has enough."""
        found = []
        for dx, rows in features.items():
            if dx in self.classes and len(rows) >= FEWEST:
                place = self.classes.index(dx)
                offset = (rows.mean(axis=0) - self.means[place]) @ self.whitening
                # Two means of finite samples lie apart by chance alone.
                chance = _WIDTH * (1 / len(rows) + 1 / self.counts[place])
                found.append(float(offset @ offset) - chance)
        return float(np.sqrt(max(0.0, np.mean(found)))) if found else None


def features_by_class(pairs: PairArrays) -> dict[str, np.ndarray]:
    """ImageNet features (N, 1280) of at most a hundred pictures of each class, evenly spaced."""
    from evaluate.fidelity.extractors import features_of, lite0_features

    extractor, found = lite0_features(), {}
    for label, dx in enumerate(pairs.classes):
        own = np.flatnonzero(pairs.labels == label)
        chosen = own[np.linspace(0, len(own) - 1, min(len(own), _MOST)).astype(int)]
        if len(chosen):
            found[dx] = features_of(extractor, np.asarray(pairs.images[chosen]))
    return found


def known_domain(train: PairArrays, held_out: PairArrays) -> KnownDomain:
    """What a base of the pairs `train` knows; held_out: pairs of the same data that it has not seen. Raises BadInput
    where either are too few."""
    own = {dx: rows for dx, rows in features_by_class(train).items() if len(rows) >= FEWEST}
    if not own:
        raise BadInput(f"no class has the {FEWEST} training pairs by which a base tells its own kind of pictures")
    within = np.concatenate([rows - rows.mean(axis=0) for rows in own.values()]).astype(np.float64)
    powers, directions = np.linalg.eigh(within.T @ within / len(within))
    whitening = (directions / np.sqrt(np.maximum(powers, 1e-8)))[:, ::-1][:, :_WIDTH]
    means = np.stack([rows.mean(axis=0) for rows in own.values()])
    counts = np.array([len(rows) for rows in own.values()])
    known = KnownDomain(tuple(own), means, whitening, counts, 0.0)
    others, random = features_by_class(held_out), np.random.default_rng(0)
    if not others:
        raise BadInput("no pair is held out, by which a base would tell how far its own kind of pictures lies")
    distances = []
    for _ in range(_HALVES):
        halves = {dx: rows[random.permutation(len(rows))[: (len(rows) + 1) // 2]] for dx, rows in others.items()}
        distances.append(known.distance(halves) or 0.0)
    return KnownDomain(known.classes, means, whitening, counts, float(np.quantile(distances, _QUANTILE)))


def save_domain(known: KnownDomain, folder: Path) -> None:
    """Writes what a base knows into its folder; its digest is not changed by it."""
    from safetensors.numpy import save

    tensors = {"means": known.means.astype(np.float16), "whitening": known.whitening.astype(np.float16)}
    replace_file(folder / WEIGHTS, save({name: np.ascontiguousarray(value) for name, value in tensors.items()}))
    facts = {"classes": list(known.classes), "counts": known.counts.tolist(), "limit": round(known.limit, 4)}
    write_json(folder / FILE, facts | {"features": "efficientnet_lite0 (ImageNet), 128 px"})


def load_domain(folder: Path) -> KnownDomain | None:
    """What `save_domain` wrote, None where a base does not say; BadInput where it cannot be read."""
    from safetensors import SafetensorError
    from safetensors.numpy import load_file

    if not (folder / FILE).is_file():
        return None
    try:
        facts = json.loads((folder / FILE).read_text(encoding="utf-8"))
        tensors = {name: value.astype(np.float64) for name, value in load_file(folder / WEIGHTS).items()}
        counts = np.array(facts["counts"])
        return KnownDomain(tuple(facts["classes"]), tensors["means"], tensors["whitening"], counts, facts["limit"])
    except (OSError, ValueError, KeyError, TypeError, SafetensorError) as error:
        raise BadInput(f"{folder / FILE}: cannot be read ({error}); delete it, or set adapt.domain") from error
