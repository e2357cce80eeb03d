"""What a user relies on: intervals that cover, verdicts that are rarely wrong, and corrections that
correct."""

from __future__ import annotations

from dataclasses import dataclass, replace

import numpy as np
import pytest
from hypothesis import given
from hypothesis import strategies as st
from scipy.stats import norm

from evaluate.metrics.statistics import (
    Replicates,
    averaged_groups,
    compare,
    estimate,
    group_weights,
    holm,
    uncertainty,
    verdict,
)

CLASS_COUNTS = (176, 51, 24)
LABELS = np.repeat([0, 1, 2], CLASS_COUNTS)


@dataclass(frozen=True)
class World:
    """A benchmark whose truth is known: how far arms, seeds and single predictions wander.

    skill raises the score of the true class; every pair has its own difficulty, shared by both arms; an arm
    has its own opinion of each pair, which all its seeds share; seeds differ in skill and in noise, in each fold anew,
    and folds in the skill that their generator and training pairs lend all seeds.
    """

    seeds: int
    skill: float = 1.6
    opinion: float = 0.5
    seed_spread: float = 0.1
    noise: float = 0.6
    folds: int = 1
    fold_spread: float = 0.0

    def scores(self, rng: np.random.Generator, difficulty: np.ndarray, labels: np.ndarray, gain: float) -> np.ndarray:
        """Class scores (S, N, C) of an arm whose skill is higher by `gain`."""
        shape = difficulty.shape
        opinion = self.opinion * rng.standard_normal(shape)
        lent = self.fold_spread * rng.standard_normal((1, self.folds)) if self.fold_spread else 0.0
        skill = self.skill + gain + lent + self.seed_spread * rng.standard_normal((self.seeds, self.folds))
        scores = difficulty + opinion + self.noise * rng.standard_normal((self.seeds, *shape))
        scores[:, np.arange(len(labels)), labels] += skill[:, fold_of(labels, self.folds)]
        scores[:, :, 0] += 0.7
        return scores


def group_ids(labels: np.ndarray) -> list[str]:
    """One lesion in ten was photographed twice."""
    rows = np.arange(len(labels))
    return [f"lesion-{row // 2 if row < len(labels) // 5 else row}" for row in rows]


def fold_of(labels: np.ndarray, folds: int) -> np.ndarray:
    """The fold (N,) of each pair: the lesions are dealt out class by class."""
    _, lesion = np.unique(group_ids(labels), return_inverse=True)
    return lesion % folds


GROUPS = group_ids(LABELS)


def macro_f1(labels: np.ndarray, predicted: np.ndarray, weights: np.ndarray) -> np.ndarray:
    confusion = (weights @ np.eye(9)[labels * 3 + predicted]).reshape(-1, 3, 3)
    hits = np.einsum("bcc->bc", confusion)
    return (2 * hits / (confusion.sum(1) + confusion.sum(2))).mean(axis=1)


def judged(scores: np.ndarray, weights: np.ndarray, folds: int = 1) -> Replicates:
    predicted = scores.argmax(axis=2)
    even = np.ones((1, len(LABELS)))
    points = np.array([macro_f1(LABELS, p, even)[0] for p in predicted])
    values = np.stack([macro_f1(LABELS, p, weights) for p in predicted], axis=1)
    found = Replicates(points, values, averaged_groups(CLASS_COUNTS))
    if folds == 1:
        return found
    others = (fold_of(LABELS, folds) != np.arange(folds)[:, None]).astype(float)
    return replace(found, without_fold=np.stack([macro_f1(LABELS, p, others) for p in predicted], axis=1))


def true_macro_f1(world: World, gain: float, rng: np.random.Generator) -> float:
    """Over a test set a hundred times as large, and seeds at even quantiles of their spread."""
    labels = np.repeat([0, 1, 2], [100 * count for count in CLASS_COUNTS])
    even = np.ones((1, len(labels)))
    values = []
    for quantile in (np.arange(24) + 0.5) / 24:
        difficulty = 0.8 * rng.standard_normal((len(labels), 3))
        luck = world.seed_spread * float(norm.ppf(quantile))
        seedless = World(1, world.skill, world.opinion, 0.0, world.noise)  # folds wander around the same truth
        predicted = seedless.scores(rng, difficulty, labels, gain + luck)[0].argmax(axis=1)
        values.append(macro_f1(labels, predicted, even)[0])
    return float(np.mean(values))


def simulate(world: World, gain: float, benchmarks: int) -> dict[str, float]:
    """Shares over simulated benchmarks: coverage of both intervals, and of gains and harms that were
    claimed."""
    rng = np.random.default_rng(7)
    control_truth = true_macro_f1(world, 0.0, rng)
    truth = true_macro_f1(world, gain, rng) - control_truth if gain else 0.0
    _, lesion = np.unique(GROUPS, return_inverse=True)
    counted = dict.fromkeys(("difference", "control", "gain", "harm"), 0)
    for benchmark in range(benchmarks):
        weights = group_weights(GROUPS, 250, benchmark)
        difficulty = 0.8 * rng.standard_normal((lesion.max() + 1, 3))[lesion]
        arm = judged(world.scores(rng, difficulty, LABELS, gain), weights, world.folds)
        control = judged(world.scores(rng, difficulty, LABELS, 0.0), weights, world.folds)
        found = compare(arm, control, 0.95, 0.8)
        interval = estimate(control, 0.95, (0.0, 1.0)).interval
        assert found.interval is not None and interval is not None and found.p is not None
        counted["difference"] += found.interval[0] <= truth <= found.interval[1]
        counted["control"] += interval[0] <= control_truth <= interval[1]
        said = verdict(found.difference, found.p, 0.95)
        if said != "no difference":
            counted[said] += 1
    return {name: count / benchmarks for name, count in counted.items()}


def test_without_a_true_difference_a_gain_is_rarely_claimed_and_intervals_cover() -> None:
    shares = simulate(World(seeds=3), gain=0.0, benchmarks=500)
    assert shares["gain"] < 0.06
    assert shares["harm"] < 0.06
    assert 0.93 <= shares["difference"] <= 0.97
    assert 0.93 <= shares["control"] <= 0.97, shares


def test_intervals_cover_a_true_difference_and_a_large_one_is_found() -> None:
    shares = simulate(World(seeds=5, seed_spread=0.15), gain=0.6, benchmarks=500)
    assert 0.93 <= shares["difference"] <= 0.97
    assert 0.93 <= shares["control"] <= 0.97, shares
    assert shares["harm"] == 0
    assert shares["gain"] > 0.7


def test_seeds_that_differ_much_widen_the_interval() -> None:
    shares = simulate(World(seeds=3, seed_spread=0.3), gain=0.0, benchmarks=250)
    assert shares["gain"] < 0.06
    assert 0.92 <= shares["difference"] <= 0.98


@pytest.mark.parametrize(("fold_spread", "most"), [(0.0, 0.99), (0.2, 0.97)])
def test_over_folds_a_gain_is_rarely_claimed_and_the_difference_is_covered(fold_spread: float, most: float) -> None:
    shares = simulate(World(seeds=3, folds=5, fold_spread=fold_spread), gain=0.0, benchmarks=400)
    assert shares["gain"] < 0.06
    assert shares["harm"] < 0.06
    assert 0.93 <= shares["difference"] <= most, shares


def test_without_the_spread_between_folds_gains_would_be_claimed_that_are_none() -> None:
    world, rng, claimed = World(seeds=3, folds=5, fold_spread=0.5), np.random.default_rng(2), np.zeros(2)
    weights = group_weights(GROUPS, 100, 0)
    difficulty = 0.8 * rng.standard_normal((len(LABELS), 3))
    for _ in range(60):
        arm, control = (judged(world.scores(rng, difficulty, LABELS, 0.0), weights, 5) for _ in range(2))
        blind = [replace(one, without_fold=None) for one in (arm, control)]
        found = (compare(arm, control, 0.95, 0.8), compare(*blind, 0.95, 0.8))
        claimed += [(one.p or 0.0) < 0.05 for one in found]
    assert claimed[0] <= 6 and claimed[1] >= 12, claimed


def test_a_difference_is_told_for_each_fold_that_both_arms_have() -> None:
    values = np.zeros((100, 2))
    arm = Replicates(values[0], values, 50, per_fold=np.array([[0.6, 0.8], [0.5, np.nan]]))
    control = Replicates(values[0], values, 50, per_fold=np.array([[0.4, 0.4], [0.5, 0.5]]))
    assert arm.minus(control).fold_means() == [pytest.approx(0.3), None]
    assert Replicates(values[0], values, 50).fold_means() is None


def test_the_smallest_detectable_difference_is_found_with_the_stated_power() -> None:
    rng, found = np.random.default_rng(3), 0
    weights = group_weights([str(i) for i in range(200)], 400, 0)
    for _ in range(200):
        per_pair = 0.2 * rng.standard_normal((200, 1)) + 0.2 * rng.standard_normal((200, 5))
        none = Replicates(per_pair.mean(axis=0), weights @ per_pair / 200, 200)
        zero = Replicates(np.zeros(5), np.zeros((400, 5)), 200)
        smallest = compare(none, zero, 0.95, 0.8).smallest_detectable
        assert smallest is not None
        shifted = Replicates(none.points + smallest, none.values + smallest, 200)
        found += verdict(smallest, compare(shifted, zero, 0.95, 0.8).p or 0.0, 0.95) == "gain"
    assert 0.72 <= found / 200 <= 0.88


def test_all_pairs_of_a_lesion_move_together_and_no_lesion_loses_its_weight() -> None:
    weights = group_weights(["a", "b", "a", "c"], 50, seed=1)
    np.testing.assert_array_equal(weights[:, 0], weights[:, 2])
    assert weights.min() > 0
    np.testing.assert_allclose(weights.mean(axis=1), 1)
    np.testing.assert_array_equal(weights, group_weights(["a", "b", "a", "c"], 50, seed=1))


def test_the_spread_of_a_mean_is_the_textbook_one() -> None:
    values = np.random.default_rng(0).standard_normal(40)
    weights = group_weights([str(i) for i in range(40)], 20_000, 0)
    replicates = Replicates(np.array([values.mean()]), (weights @ values / 40)[:, None], 40)
    assert uncertainty(replicates).group == pytest.approx(values.var(ddof=1) / 40, rel=0.05)


def test_identical_arms_differ_by_nothing() -> None:
    values = np.random.default_rng(0).random((100, 3))
    arm = Replicates(values.mean(axis=0), values, 50)
    found = compare(arm, arm, 0.95, 0.8)
    assert (found.difference, found.interval, found.p) == (0.0, (0.0, 0.0), 1.0)
    assert found.p is not None and verdict(0.0, found.p, 0.95) == "no difference"


def test_a_metric_on_one_lesion_has_no_interval() -> None:
    lonely = Replicates(np.array([1.0, 0.0]), np.ones((10, 2)), 1)
    assert estimate(lonely, 0.95, (0.0, 1.0)).interval is None
    assert compare(lonely, lonely, 0.95, 0.8).p is None


def test_p_and_interval_say_the_same() -> None:
    rng = np.random.default_rng(5)
    for _ in range(30):
        values = rng.standard_normal((200, 3)) + 2 * rng.random()
        arm = Replicates(values.mean(axis=0), values, 60)
        found = compare(arm, Replicates(np.zeros(3), np.zeros((200, 3)), 60), 0.95, 0.8)
        assert found.interval is not None and found.p is not None
        assert (found.p < 0.05) == (found.interval[0] > 0 or found.interval[1] < 0)


def test_holm_of_a_known_family() -> None:
    assert holm([0.01, 0.04, 0.03, 0.005]) == pytest.approx([0.03, 0.06, 0.06, 0.02])
    assert holm([]) == []


@given(st.lists(st.floats(0, 1), min_size=1, max_size=12))
def test_holm_never_lowers_a_p_value_nor_changes_their_order(p_values: list[float]) -> None:
    adjusted = holm(p_values)
    assert all(a >= p for a, p in zip(adjusted, p_values, strict=True))
    assert all(a <= 1 for a in adjusted)
    ranked = [adjusted[i] for i in np.argsort(p_values, kind="stable")]
    assert ranked == sorted(ranked)


def test_the_direction_of_a_metric_decides_between_gain_and_harm() -> None:
    assert verdict(0.1, 0.01, 0.95) == "gain"
    assert verdict(-0.1, 0.01, 0.95) == "harm"
    assert verdict(-0.1, 0.01, 0.95, higher_is_better=False) == "gain"
    assert verdict(0.1, 0.06, 0.95) == "no difference"


def test_a_mean_over_classes_rests_mostly_on_the_rarest() -> None:
    assert averaged_groups([176, 51, 24]) == pytest.approx(55, abs=1)
    assert averaged_groups([100, 100]) == pytest.approx(199)
    assert averaged_groups([50, 1]) == 2
