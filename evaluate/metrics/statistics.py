"""How sure one can be of a figure: a bootstrap over test groups that carries seeds and folds, Holm's correction,
verdicts.

Groups (lesions, patients or near-duplicate clusters) are re-weighted by Rubin's Bayesian bootstrap ("The
Bayesian Bootstrap", 1981), which never leaves a rare class without weight. Seeds are too few to resample:
the spread of three values drawn with replacement is a third too small. Their part of the variance is
therefore estimated by components, and the half-widths of all levels are joined so that intervals keep their
coverage with three seeds. Folds of a cross-validation, each with a generator of its own, are too few as well: what
the figure moves when one of them is left out tells their part (a delete-a-group jackknife).
"""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass
from typing import Literal

import numpy as np

Verdict = Literal["gain", "no difference", "harm"]


@dataclass(frozen=True)
class Replicates:
    """One metric of one arm. points: (S,), a value per seed; values: (B, S), the same under B
    re-weightings of the test groups, equal for all arms and seeds; groups: how many independent groups the
    metric rests on. Of a cross-validation, per_fold: (K, S), the metric of each fold alone, NaN where it has none;
    without_fold: (K, S), that of all other folds; both None where there is one split."""

    points: np.ndarray
    values: np.ndarray
    groups: float
    per_fold: np.ndarray | None = None
    without_fold: np.ndarray | None = None

    def minus(self, control: Replicates) -> Replicates:
        """The difference, paired by seed and by re-weighting."""
        return Replicates(
            self.points - control.points,
            self.values - control.values,
            min(self.groups, control.groups),
            _difference(self.per_fold, control.per_fold),
            _difference(self.without_fold, control.without_fold),
        )

    def fold_means(self) -> list[float | None] | None:
        """The metric of each fold, the mean over seeds, None for a fold that lacks it; None without folds."""
        if self.per_fold is None:
            return None
        return [None if np.isnan(mean) else float(mean) for mean in self.per_fold.mean(axis=1)]


def _difference(arm: np.ndarray | None, control: np.ndarray | None) -> np.ndarray | None:
    return None if arm is None or control is None else arm - control


@dataclass(frozen=True)
class Level:
    """What a level of few members adds to the variance of a mean. excess: what remains beyond the levels that are
    estimated by themselves; total: what the spread of its members alone would say; freedom: their number less one."""

    excess: float
    total: float
    freedom: int


@dataclass(frozen=True)
class Uncertainty:
    """Variance of a mean over seeds, by level. `group` includes the noise that seeds and folds add within the test
    set; levels: seeds and folds; over_folds: whether folds are among them."""

    group: float
    group_freedom: float
    levels: tuple[Level, ...] = ()
    over_folds: bool = False

    @property
    def variance(self) -> float:
        """All levels together."""
        return self.group + sum(level.excess for level in self.levels)

    def half_width(self, confidence: float) -> float:
        """Half the width of the two-sided interval at `confidence`.

        The wider of two rules: Satterthwaite's degrees of freedom for a sum of variances ("An Approximate
        Distribution of Estimates of Variance Components", 1946), and the quadrature sum of each level's own
        t half-width, which holds where few seeds dominate. Over folds the second alone: what folds spread contains the
        groups already, and the first would widen for them once more.
        """
        from scipy.stats import t

        if self.variance == 0:
            return 0.0
        quantile = 0.5 + confidence / 2
        group_t = t.ppf(quantile, self.group_freedom)
        levels = [level for level in self.levels if level.excess > 0]
        if not levels:
            return float(group_t * np.sqrt(self.variance))
        quadrature = group_t**2 * self.group
        quadrature += sum(t.ppf(quantile, level.freedom) ** 2 * level.excess for level in levels)
        if self.over_folds:
            return float(np.sqrt(quadrature))
        spread = self.group**2 / self.group_freedom + sum(level.total**2 / level.freedom for level in levels)
        freedom = np.clip(self.variance**2 / spread, 1, self.group_freedom)
        satterthwaite = t.ppf(quantile, freedom) ** 2 * self.variance
        return float(np.sqrt(max(satterthwaite, quadrature)))

    def p_value(self, difference: float) -> float:
        """Two-sided p: one minus the largest confidence whose interval around `difference` leaves out 0."""
        from scipy.optimize import brentq

        if difference == 0 or self.variance == 0:
            return 1.0
        distance, least = abs(difference), 1e-9
        if self.half_width(1 - least) <= distance:
            return least
        return float(1 - brentq(lambda level: self.half_width(level) - distance, 0.0, 1 - least, xtol=1e-7))


@dataclass(frozen=True)
class Estimate:
    """A mean over seeds with its interval, None where the test set cannot tell."""

    mean: float
    interval: tuple[float, float] | None


@dataclass(frozen=True)
class Difference:
    """Arm minus control. `smallest_detectable` is the true difference that a two-sided test at this
    confidence, corrected for how many were tested, would find with the stated power; `p` is not yet adjusted."""

    difference: float
    interval: tuple[float, float] | None
    p: float | None
    smallest_detectable: float | None


def group_weights(group_ids: Sequence[str], replicates: int, seed: int) -> np.ndarray:
    """Weights (B, N) of test pairs, of mean 1: each group's share is Dirichlet, and its pairs move
    together."""
    _, index = np.unique(np.asarray(group_ids, dtype=str), return_inverse=True)
    rng = np.random.default_rng(seed)
    shares = rng.standard_exponential((replicates, int(index.max()) + 1))
    weights = shares[:, index]
    return weights / weights.mean(axis=1, keepdims=True)


def uncertainty(replicates: Replicates) -> Uncertainty:
    """Variance of the mean over seeds, by level.

    Dirichlet weights understate the variance of a mean over G groups by (G - 1) / (G + 1). The spread between
    seeds on one test set contains noise that the group level has counted, which is taken off; that between folds,
    each tested on groups of its own, contains groups and seeds.
    """
    seeds = len(replicates.points)
    groups = max(replicates.groups, 2.0)
    correction = (groups + 1) / (groups - 1)
    means = replicates.values.mean(axis=1)
    group = correction * float(means.var(ddof=1))
    levels = []
    if seeds > 1:
        counted = correction * float((replicates.values - means[:, None]).var(axis=0, ddof=1).mean()) / (seeds - 1)
        total = float(replicates.points.var(ddof=1)) / seeds
        levels.append(Level(max(0.0, total - counted), total, seeds - 1))
    if replicates.without_fold is not None:
        left_out = replicates.without_fold.mean(axis=1)
        total = (len(left_out) - 1) * float(left_out.var())
        counted = group + sum(level.excess for level in levels)
        levels.append(Level(max(0.0, total - counted), total, len(left_out) - 1))
    return Uncertainty(group, groups - 1, tuple(levels), replicates.without_fold is not None)


def estimate(
    replicates: Replicates, confidence: float, bounds: tuple[float, float | None] = (float("-inf"), None)
) -> Estimate:
    """Mean over seeds and its interval, cut to the metric's `bounds`."""
    mean = float(replicates.points.mean())
    if replicates.groups < 2:
        return Estimate(mean, None)
    half = uncertainty(replicates).half_width(confidence)
    low, high = mean - half, mean + half
    return Estimate(mean, (max(low, bounds[0]), high if bounds[1] is None else min(high, bounds[1])))


def compare(
    arm: Replicates,
    control: Replicates,
    confidence: float,
    power: float,
    bound: float | None = None,
    tests: int = 1,
) -> Difference:
    """The difference of two arms trained with the same seeds and judged on the same test groups.

    bound: the largest difference that the metric allows, at which the interval ends; tests: how many differences
    are corrected for together, which makes the smallest detectable one larger and leaves interval and p alone.
    """
    paired = arm.minus(control)
    mean = float(paired.points.mean())
    if paired.groups < 2:
        return Difference(mean, None, None, None)
    spread = uncertainty(paired)
    half = spread.half_width(confidence)
    # Found with the stated power: the edge of the interval at the first, strictest of Holm's levels clears 0 in that
    # share of repetitions, whatever the other tests of the family find.
    strictest = half if tests == 1 else spread.half_width(1 - (1 - confidence) / tests)
    detectable = strictest + spread.half_width(2 * power - 1)
    widest = float("inf") if bound is None else bound
    interval = max(mean - half, -widest), min(mean + half, widest)
    return Difference(mean, interval, spread.p_value(mean), detectable)


def averaged_groups(groups: Sequence[int]) -> float:
    """How many groups a mean over classes rests on, each class with its own number of groups.

    Satterthwaite's degrees of freedom plus one, with every class's variance in proportion to one over its
    number: 176, 51 and 24 groups count as 55. Never below 2, so that a class with one group widens intervals
    without hiding the others.
    """
    counts = np.maximum(np.asarray(groups, dtype=float), 1.0)
    freedom = np.maximum(counts - 1, 0.5)
    return float(max(2.0, (1 / counts).sum() ** 2 / (1 / counts**2 / freedom).sum() + 1))


def holm(p_values: Sequence[float]) -> list[float]:
    """Adjusted p-values of a family (Holm, "A Simple Sequentially Rejective Multiple Test Procedure",
    1979)."""
    order = np.argsort(p_values, kind="stable")
    factors = np.arange(len(p_values), 0, -1)
    stepped = np.minimum(1.0, np.maximum.accumulate(np.asarray(p_values, dtype=float)[order] * factors))
    adjusted = np.empty(len(p_values))
    adjusted[order] = stepped
    return [float(p) for p in adjusted]


def verdict(difference: float, p_adjusted: float, confidence: float, higher_is_better: bool = True) -> Verdict:
    """What may be said of a difference after correction."""
    if p_adjusted >= 1 - confidence:
        return "no difference"
    return "gain" if (difference > 0) == higher_is_better else "harm"
