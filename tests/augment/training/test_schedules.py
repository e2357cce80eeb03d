"""Learning rates rise and fall as their papers say, and averages of weights forget how they began."""

from __future__ import annotations

import pytest
import torch

from augment.training.schedules import linear_decay, one_cycle, update_average, warmed_up_cosine


def test_one_cycle_rises_then_falls() -> None:
    rates = [one_cycle(step / 100, 0.2) for step in range(101)]
    assert max(rates) == pytest.approx(1, abs=1e-3) and rates.index(max(rates)) == 20
    assert rates[0] == pytest.approx(0.04) and rates[-1] < 1e-3


def test_a_warmed_up_cosine_reaches_its_peak_after_the_warm_up_and_ends_at_its_floor() -> None:
    rates = [warmed_up_cosine(step, 100, 10) for step in range(101)]
    assert rates[:10] == pytest.approx([0.1 * (step + 1) for step in range(10)]) and rates[10] == 1
    assert rates[10:] == sorted(rates[10:], reverse=True) and rates[-1] == pytest.approx(0.05)


def test_a_linear_decay_ends_just_above_zero() -> None:
    assert [linear_decay(step, 4) for step in range(4)] == [1, 0.75, 0.5, 0.25]


def test_an_average_forgets_the_first_weights_and_then_follows_by_its_decay() -> None:
    average = [torch.zeros(2)]
    update_average(average, [torch.ones(2)], decay=0.9, updates=0)
    assert average[0].tolist() == pytest.approx([0.9, 0.9])
    update_average(average, [torch.zeros(2)], decay=0.9, updates=10_000)
    assert average[0].tolist() == pytest.approx([0.81, 0.81])
