"""The order of draws follows from seed and epoch alone."""

from __future__ import annotations

import numpy as np
import pytest
from hypothesis import given
from hypothesis import strategies as st

from manifests.sampling_order import SeededSampler, balanced, shuffled, weighted


def draws(order: object, seed: int = 0, epoch: int = 0) -> list[tuple[int, int]]:
    sampler = SeededSampler(order, seed)  # type: ignore[arg-type]
    sampler.set_epoch(epoch)
    return [(draw.index, draw.seed) for draw in sampler]


def test_draws_repeat_for_a_seed_and_differ_between_seeds_and_epochs() -> None:
    for order in (shuffled(50), weighted(np.arange(1, 51)), balanced([0, 1] * 25)):
        assert draws(order) == draws(order)
        assert draws(order) != draws(order, seed=1)
        assert draws(order) != draws(order, epoch=1)


def test_every_draw_has_a_seed_of_its_own() -> None:
    seeds = [seed for epoch in range(3) for _, seed in draws(shuffled(100), epoch=epoch)]
    assert len(set(seeds)) == 300


def test_shuffled_draws_every_pair_once() -> None:
    assert sorted(index for index, _ in draws(shuffled(50))) == list(range(50))


@given(st.lists(st.integers(-1, 4), min_size=1, max_size=60), st.integers(1, 200), st.integers(0, 5))
def test_balanced_draws_classes_equally_and_pairs_evenly(labels: list[int], total: int, seed: int) -> None:
    known = [label for label in labels if label >= 0]
    if not known:
        with pytest.raises(ValueError, match="no pair has a class"):
            balanced(labels, total)
        return
    chosen = [index for index, _ in draws(balanced(labels, total), seed)]
    assert len(chosen) == total
    per_class = [sum(labels[i] == label for i in chosen) for label in sorted(set(known))]
    assert max(per_class) - min(per_class) <= 1
    for label in set(known):
        times = [chosen.count(i) for i, own in enumerate(labels) if own == label]
        assert max(times) - min(times) <= 1
    assert all(labels[i] >= 0 for i in chosen)


def test_weighted_draws_in_proportion() -> None:
    chosen = np.array([index for index, _ in draws(weighted([0.0, 1.0, 3.0], draws=4000))])
    share = np.bincount(chosen, minlength=3) / len(chosen)
    assert share[0] == 0
    assert abs(share[2] - 0.75) < 0.03


@pytest.mark.parametrize("weights", [[], [0.0, 0.0], [-1.0, 2.0], [float("nan")], [float("inf")], [[1.0]]])
def test_weights_that_are_none_are_refused(weights: list[float]) -> None:
    with pytest.raises(ValueError, match="weights must be"):
        weighted(weights)


def test_the_length_is_that_of_an_epoch() -> None:
    assert len(SeededSampler(weighted([1, 2, 3], draws=10), 0)) == 10
