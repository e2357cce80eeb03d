"""Statistics of paired answers, against values that others published or other programs compute."""

from __future__ import annotations

import numpy as np
import pytest
from scipy.stats import t

from evaluate.reading.paired import calibration, mean_of, paired_change, signed_rank_p, widest_change
from evaluate.reading.proportions import pictures_needed


def answers(both: int, lost: int, gained: int, neither: int) -> tuple[list[bool], list[bool], list[str]]:
    """What is right before and after, and the cases, of one reader."""
    before = [True] * (both + lost) + [False] * (gained + neither)
    after = [True] * both + [False] * lost + [True] * gained + [False] * neither
    return before, after, [str(place) for place in range(len(before))]


def test_the_interval_of_a_paired_change_is_that_of_the_published_example() -> None:
    # Agresti, Categorical Data Analysis, 10.1: approval of a prime minister in two surveys of 1,600 people.
    found = paired_change(*answers(794, 150, 86, 570))
    assert found["difference"] == pytest.approx(-0.04) and (found["to_right"], found["to_wrong"]) == (86, 150)
    assert found["interval"] == pytest.approx([-0.059, -0.021], abs=5e-4)


def test_the_exact_test_of_mcnemar_is_that_of_statsmodels() -> None:
    # mcnemar([[101, 121], [59, 33]], exact=True) in its documentation.
    assert paired_change(*answers(101, 121, 59, 33))["p"] == pytest.approx(4.434e-06, rel=1e-3)
    # Five that change one way, by hand: 2 / 2 ** 5.
    assert paired_change(*answers(3, 0, 5, 2))["p"] == pytest.approx(0.0625)
    assert paired_change(*answers(3, 0, 0, 2))["p"] == 1
    assert paired_change([], [], [])["difference"] is None


def test_readers_who_change_alike_count_once() -> None:
    before, after, cases = answers(10, 2, 8, 10)
    once = paired_change(before, after, cases)
    copied = paired_change(before * 4, after * 4, cases * 4)
    assert copied["p"] == once["p"] and copied["to_right"] == 32
    assert copied["interval"] == pytest.approx(once["interval"], abs=0.02)
    unanimous = paired_change([True] * 30, [True] * 30, ["a", "b", "c"] * 10)["interval"]
    assert unanimous == pytest.approx(paired_change([True] * 3, [True] * 3, ["a", "b", "c"])["interval"])


def test_intervals_of_a_paired_change_cover_the_truth() -> None:
    rng, met = np.random.default_rng(0), 0
    for _ in range(600):
        draw = rng.choice(4, 40, p=[0.5, 0.08, 0.22, 0.2])
        before, after = np.isin(draw, (0, 1)), np.isin(draw, (0, 2))
        low, high = paired_change(before.tolist(), after.tolist(), [str(place) for place in range(40)])["interval"]
        met += low <= 0.14 <= high
    assert 0.93 <= met / 600 <= 0.98


@pytest.mark.parametrize("changed", [0.3, 1.0])
def test_as_many_cases_as_are_asked_for_give_that_width(changed: float) -> None:
    def width_of(cases: float) -> float:
        return widest_change(cases, changed)

    needed = pictures_needed(0.2, width_of)
    assert width_of(needed) <= 0.2 < width_of(needed - 1)
    before, after, cases = answers(50, 25, 25, 0)
    low, high = paired_change(before, after, cases)["interval"]
    assert high - low == pytest.approx(widest_change(100, 0.5))


def test_the_signed_rank_test_is_that_of_the_published_example() -> None:
    # Hollander and Wolfe 1973, depression of nine patients before and after: V = 40, p = .0391.
    first = [1.83, 0.50, 1.62, 2.48, 1.68, 1.88, 1.55, 3.06, 1.30]
    second = [0.878, 0.647, 0.598, 2.05, 1.06, 1.29, 1.06, 3.14, 1.29]
    changes = [after - before for before, after in zip(first, second, strict=True)]
    assert signed_rank_p(changes, list("abcdefghi")) == pytest.approx(0.0391, abs=5e-5)
    assert signed_rank_p(changes * 3, list("abcdefghi") * 3) == signed_rank_p(changes, list("abcdefghi"))
    assert signed_rank_p([0, 0], ["a", "b"]) == 1 and signed_rank_p([], []) is None


def test_means_of_levels_have_students_interval_where_each_case_is_read_once() -> None:
    levels = np.array([1, 2, 2, 3, 4, 5, 5, 3, 3, 4] * 4)
    found = mean_of(levels.tolist(), [str(place) for place in range(40)], (1, 5))
    half = t.ppf(0.975, 39) * levels.std(ddof=1) / np.sqrt(40)
    assert found["mean"] == pytest.approx(3.2)
    assert found["interval"] == pytest.approx([3.2 - half, 3.2 + half], abs=0.02)
    assert mean_of([4, 4], ["a", "b"], (1, 5)) == {"mean": 4, "interval": None}
    assert mean_of([], [], (1, 5)) == {"mean": None, "interval": None}


def test_confidence_that_is_deserved_has_no_calibration_error() -> None:
    # Of three classes: level 1 stands for a third, level 5 for certainty, level 3 for two thirds.
    levels, right = [1, 1, 1, 3, 3, 3, 5], [True, False, False, True, True, False, True]
    cases = [str(place) for place in range(7)]
    deserved = calibration(levels, right, cases, 5, 1 / 3)
    assert deserved["error"] == pytest.approx(0) and deserved["over"] == pytest.approx(0)
    boast = calibration([5] * 4, [True, False, False, False], cases[:4], 5, 1 / 3)
    assert boast["error"] == pytest.approx(0.75) and boast["over"] == pytest.approx(0.75)
    assert boast["levels"][4]["right"]["share"] == 0.25 and boast["auroc"]["value"] == pytest.approx(0.5)
