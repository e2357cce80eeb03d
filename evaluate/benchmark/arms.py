"""The arms: which pairs each training regime draws, how often, and with what loss. All share one budget."""

from __future__ import annotations

import hashlib
from collections import Counter
from collections.abc import Mapping, Sequence
from dataclasses import dataclass

import numpy as np

from evaluate.downstream.training import Regime, Stage, expected_draws, uniform_regime
from evaluate.settings.arms import RATIO_ARMS, ArmName, Task
from evaluate.settings.benchmark import LEAST_OF_CLASS
from manifests.errors import BadInput
from manifests.format.schema import UNLABELLED
from manifests.pairs import PairArrays

DESCRIPTIONS = {
    "real": "real pairs, each equally often",
    "real+oversampling": "real pairs, each class equally often",
    "real+weighted-loss": "real pairs, each equally often; the loss weighs classes by their effective number",
    "real+replay": "real pairs, and as many more real draws of each class as hybrid has generated pairs",
    "real+strong": "real pairs under a strong augmentation policy with mixup and CutMix",
    "real+copy-paste": "real pairs, each class equally often; half of the draws have their lesion in other real skin",
    "hybrid": "real and accepted generated pairs, each class equally often",
    "hybrid-ungated": "as hybrid, with as many generated pairs of each class taken before the gates",
    "synthetic": "accepted generated pairs alone",
    "synthetic-then-real": "accepted generated pairs first, real pairs after, each class equally often",
}
IN_SEGMENTATION = {
    "real+strong": "real pairs under a strong augmentation policy with CutMix",
    "real+copy-paste": "real pairs, each equally often; half of the draws have their lesion in other real skin",
    "hybrid": "real pairs together with accepted generated ones",
    "hybrid-ungated": "real pairs together with as many generated ones of each class, taken before the gates",
    "synthetic-then-real": "accepted generated pairs first, real pairs after",
}


PASTED = 0.5
"""Share of the draws of copy-paste whose lesion is put into other skin; the others stay whole pictures."""


@dataclass(frozen=True)
class Pools:
    """What arms draw from. real: the training split; accepted: generated pairs that passed the gates;
    candidates: all generated pairs, accepted or not, in the order of their making."""

    real: PairArrays
    accepted: PairArrays | None = None
    candidates: PairArrays | None = None


@dataclass(frozen=True)
class ArmData:
    """The pairs of an arm and how it trains on them. is_real: bool (N,), False for generated pairs."""

    pairs: PairArrays
    regime: Regime
    is_real: np.ndarray

    def train_counts(self) -> dict[str, dict[str, int]]:
        """Pairs by origin and class, those without one as unlabelled."""
        return self._by_origin(np.ones(len(self.pairs)))

    def draws(self, draws: int) -> dict[str, dict[str, int]]:
        """Expected draws by origin and class among `draws`."""
        return self._by_origin(expected_draws(self.regime, draws))

    def _by_origin(self, amounts: np.ndarray) -> dict[str, dict[str, int]]:
        labels = dict(enumerate(self.pairs.classes)) | ({-1: UNLABELLED} if (self.pairs.labels < 0).any() else {})
        return {
            origin: {dx: round(float(amounts[chosen & (self.pairs.labels == c)].sum())) for c, dx in labels.items()}
            for origin, chosen in (("real", self.is_real), ("synthetic", ~self.is_real))
        }


def task_pairs(pairs: PairArrays, task: Task) -> PairArrays:
    """The pairs that a task can use: those with a class, or those whose mask is given and not empty.

    A found mask neither judges a segmenter nor teaches one: it would learn to be the one that found it.
    """
    if task == "classification":
        return pairs.select(np.flatnonzero(pairs.labels >= 0))
    return pairs.given()


def describe(arm: ArmName, task: Task) -> str:
    """One line on what the arm trains on."""
    text = DESCRIPTIONS[arm.base]
    if task == "segmentation":
        text = IN_SEGMENTATION.get(arm.base, text)
    if arm.base in RATIO_ARMS and (arm.ratio != 1 or task == "classification"):
        times = "as often as" if arm.ratio == 1 else f"{arm.ratio:g} times as often as"
        text += f"; generated ones {times} real ones{' of their class' if task == 'classification' else ', on average'}"
    return text if arm.part == 1 else f"{text}; {part_text(arm.part)} real training pairs"


def part_text(part: float) -> str:
    """`25 % of the`, or `100 of the`: how much of something a part is."""
    return f"{part:,.0f} of the" if part > 1 else f"{100 * part:g} % of the"


def arm_data(arm: ArmName, pools: Pools, then_real: float, task: Task) -> ArmData:
    """The pairs and the regime of `arm`; `then_real` is the last stage's share in synthetic-then-real.

    Pools must already be cut to the task, and to the arm's part. BadInput if the arm has nothing to draw.
    """
    real, generated = pools.real, _generated(arm, pools)
    if arm.base == "synthetic":
        return _filled(arm, generated, uniform_regime(len(generated)), 0)
    if arm.base == "synthetic-then-real":
        balanced = balancing_weights(real.labels) if task == "classification" else np.ones(len(real))
        stages = _two_stages(balanced, len(generated), then_real)
        return _filled(arm, real.concatenate(generated), Regime(stages), len(real))
    if arm.base in ("hybrid", "hybrid-ungated"):
        weights = hybrid_weights(real.labels, generated.labels, arm.ratio, task)
        return _filled(arm, real.concatenate(generated), Regime((Stage(weights),)), len(real))
    if arm.base == "real+replay":
        return _filled(arm, real, Regime((Stage(replay_weights(real, generated)),)), len(real))
    return _filled(arm, real, _real_regime(arm, real, task), len(real))


def _generated(arm: ArmName, pools: Pools) -> PairArrays:
    """The generated pairs that the arm has, or takes its counts from; none for the other controls."""
    if not arm.needs_synthetic:
        return pools.real.select([])
    if pools.accepted is None:
        raise BadInput(f"arm {arm} needs generated pairs; run synthesise first or leave the arm out")
    if arm.base != "hybrid-ungated":
        return pools.accepted
    if pools.candidates is None:
        raise BadInput(f"arm {arm} needs the pairs that the gates rejected; keep them in synthesise")
    return ungated(pools.accepted, pools.candidates)


def _filled(arm: ArmName, pairs: PairArrays, regime: Regime, real: int) -> ArmData:
    if not len(pairs) or any(stage.weights.sum() == 0 for stage in regime.stages):
        raise BadInput(f"arm {arm} has no pair to train on; generate pairs or leave the arm out")
    return ArmData(pairs, regime, np.arange(len(pairs)) < real)


def _real_regime(arm: ArmName, real: PairArrays, task: Task) -> Regime:
    if arm.base == "real+copy-paste":
        weights = balancing_weights(real.labels) if task == "classification" else np.ones(len(real))
        return Regime((Stage(weights),), pasted=PASTED)
    if arm.base == "real+oversampling":
        return Regime((Stage(balancing_weights(real.labels)),))
    if arm.base == "real+weighted-loss":
        return Regime(
            uniform_regime(len(real)).stages,
            class_weights=effective_number_weights(np.bincount(real.labels, minlength=len(real.classes))),
        )
    return Regime(uniform_regime(len(real)).stages, strong=arm.base == "real+strong")


def _two_stages(real: np.ndarray, generated: int, then_real: float) -> tuple[Stage, Stage]:
    """Generated pairs alone, then real ones by their weights `real`."""
    first = np.r_[np.zeros(len(real)), np.ones(generated)]
    return Stage(first, 1 - then_real), Stage(np.r_[real, np.zeros(generated)], then_real)


def hybrid_weights(real: np.ndarray, generated: np.ndarray, ratio: float, task: Task) -> np.ndarray:
    """Weights (N + M,) of real and generated pairs by their labels (N,) and (M,).

    For classification each class is drawn equally often, and in a class that has generated pairs these are drawn
    `ratio` times as often as the real ones: drawn as they are, rare classes would be mostly generated, and a
    classifier could tell them by that. For segmentation each generated pair is drawn `ratio` times as often as a
    real one.
    """
    weights = np.r_[np.ones(len(real)), np.full(len(generated), float(ratio))]
    if task == "segmentation":
        return weights
    labels, is_real = np.r_[real, generated], np.arange(len(weights)) < len(real)
    for label in np.unique(labels):
        own = labels == label
        shares = [
            (own & chosen, share) for chosen, share in ((is_real, 1.0), (~is_real, ratio)) if (own & chosen).any()
        ]
        for chosen, share in shares:
            weights[chosen] = share / sum(other for _, other in shares) / chosen.sum()
    return weights


def balancing_weights(labels: np.ndarray) -> np.ndarray:
    """Weights (N,) under which every class that occurs, -1 included, is drawn equally often."""
    _, index, counts = np.unique(labels, return_inverse=True, return_counts=True)
    return 1.0 / counts[index]


def replay_weights(real: PairArrays, generated: PairArrays) -> np.ndarray:
    """Weights (N,) under which real pairs of each class take the draws of its generated pairs."""
    counts = np.bincount(real.labels + 1, minlength=len(real.classes) + 1)
    extra = np.bincount(generated.labels + 1, minlength=len(real.classes) + 1)
    return (1.0 + extra / np.maximum(counts, 1))[real.labels + 1]


def effective_number_weights(counts: np.ndarray) -> np.ndarray:
    """Loss weights (C,) by the effective number of pairs (Cui et al. 2019, equation 4), beta = 1 - 1/N; the
    mean over pairs is 1. A class without pairs gets 1, which no draw ever uses."""
    total = counts.sum()
    effective = (1 - (1 - 1 / total) ** counts) * total if total > 1 else counts.astype(float)
    weights = np.where(counts > 0, 1 / np.maximum(effective, 1e-12), 0.0)
    weights = weights * total / (weights * counts).sum()
    return np.where(counts > 0, weights, 1.0)


def ungated(accepted: PairArrays, candidates: PairArrays) -> PairArrays:
    """The first candidates of each class, as many as were accepted: what synthesis would have given without
    gates."""
    chosen: list[int] = []
    for c in range(len(accepted.classes)):
        wanted = int((accepted.labels == c).sum())
        chosen += np.flatnonzero(candidates.labels == c)[:wanted].tolist()
    return candidates.select(chosen)


def low_data_rows(dx: Sequence[str], group_ids: Sequence[str], part: float) -> list[int]:
    """Rows of a nested random part of the training pairs: whole groups, as many of each class as `part_counts` says.

    A smaller part's rows are among a larger one's. The generator of a low-data arm must be restricted to
    the same rows.
    """
    chosen: set[str] = set()
    for name, wanted in part_counts(Counter(dx), part).items():
        rows = [row for row, d in enumerate(dx) if d == name]
        sizes, taken = Counter(group_ids[row] for row in rows), 0
        for group in sorted(sizes, key=_shuffled):
            if taken >= wanted:
                break
            chosen.add(group)
            taken += sizes[group]
    return [row for row, group in enumerate(group_ids) if group in chosen]


def part_counts(counts: Mapping[str, int], part: float) -> dict[str, int]:
    """Pairs of each class in a part of the training pairs: the same share of each, where `part` is a share; else
    `part` pairs in all, by shares as well, but at least LEAST_OF_CLASS of each class that has so many.

    BadInput where there are no more than `part` pairs, or the least of each class are more.
    """
    there = {name: count for name, count in sorted(counts.items()) if count}
    if part <= 1:
        return {name: max(1, round(part * count)) for name, count in there.items()}
    least, total = {name: min(LEAST_OF_CLASS, count) for name, count in there.items()}, sum(there.values())
    if not sum(least.values()) <= part < total:
        raise BadInput(
            f"benchmark.low_data {part:.0f}: the {total} training pairs of {len(there)} classes give parts of "
            f"{sum(least.values())} to {total - 1} pairs, {LEAST_OF_CLASS} of each class at least; choose such a number"
        )
    low, high = 0.0, 1.0
    for _ in range(50):  # the share at which the classes above their least bring the sum to `part`
        share = (low + high) / 2
        few = sum(max(least[name], share * count) for name, count in there.items()) < part
        low, high = (share, high) if few else (low, share)
    return {name: max(least[name], round(high * count)) for name, count in there.items()}


def _shuffled(group: str) -> str:
    """A sort key that knows nothing of the data's order."""
    return hashlib.sha256(f"low-data:{group}".encode()).hexdigest()


def low_data_pairs(pairs: PairArrays, part: float) -> PairArrays:
    """See `low_data_rows`."""
    if part == 1:
        return pairs
    dx = ["" if label < 0 else pairs.classes[int(label)] for label in pairs.labels]
    return pairs.select(low_data_rows(dx, pairs.group_ids, part))
