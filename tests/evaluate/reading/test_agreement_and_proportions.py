"""Statistics of readers, against values that others published or other programs compute."""

from __future__ import annotations

import numpy as np
import pytest
from scipy.stats import binomtest
from sklearn.metrics import cohen_kappa_score, roc_auc_score

from evaluate.reading.agreement import cohen_kappa, fleiss_kappa
from evaluate.reading.proportions import auroc, pictures_needed, share_of, wilson_interval
from evaluate.reading.sentences import kappa_text

# The worked example of Fleiss 1971 as it stands in Wikipedia's "Fleiss' kappa": 14 readers, 10 subjects, kappa .210.
FLEISS = """0 0 0 0 14 | 0 2 6 4 2 | 0 0 3 5 6 | 0 3 9 2 0 | 2 2 8 1 1
| 7 7 0 0 0 | 3 2 6 3 0 | 2 5 3 2 2 | 6 5 2 1 0 | 0 2 2 3 7"""


def test_fleiss_kappa_of_the_published_example() -> None:
    rows = [[int(count) for count in row.split()] for row in FLEISS.split("|")]
    choices = [[kind for kind, count in enumerate(row) for _ in range(count)] for row in rows]
    assert fleiss_kappa(choices) == pytest.approx(0.210, abs=5e-4)
    assert fleiss_kappa([*choices, [1], []]) == fleiss_kappa(choices)
    assert fleiss_kappa([["a", "a"], ["a", "a"]]) is None and fleiss_kappa([["a"]]) is None


def test_cohen_kappa_is_that_of_scikit_learn() -> None:
    rng = np.random.default_rng(0)
    first = rng.integers(0, 3, 60)
    second = np.where(rng.random(60) < 0.6, first, rng.integers(0, 3, 60))
    assert cohen_kappa(first.tolist(), second.tolist()) == pytest.approx(cohen_kappa_score(first, second))
    # 2 x 2 table 20, 5, 10, 15: the textbook's .4.
    pairs = [("y", "y")] * 20 + [("y", "n")] * 5 + [("n", "y")] * 10 + [("n", "n")] * 15
    assert cohen_kappa(*zip(*pairs, strict=True)) == pytest.approx(0.4)
    assert cohen_kappa([], []) is None and cohen_kappa(["a"], ["a"]) is None


@pytest.mark.parametrize(
    ("kappa", "said"),
    [(-0.01, "−0.01 (worse than chance)"), (0.0, "0.00 (slight)"), (0.41, "0.41 (moderate)"),
     (1.0, "1.00 (almost perfect)"), (None, "– (all said the same of everything)")],
)  # fmt: skip
def test_a_kappa_stands_beside_its_word_and_chance_itself_is_not_worse_than_chance(kappa: float, said: str) -> None:
    assert kappa_text(kappa) == said


@pytest.mark.parametrize(("hits", "total"), [(0, 10), (81, 263), (10, 10), (1, 1)])
def test_wilson_intervals_are_those_of_scipy(hits: int, total: int) -> None:
    assert wilson_interval(hits, total) == pytest.approx(tuple(binomtest(hits, total).proportion_ci(method="wilson")))


def test_the_area_under_the_curve_is_that_of_scikit_learn() -> None:
    rng = np.random.default_rng(1)
    truth, scores = rng.random(80) < 0.5, rng.integers(-5, 6, 80)
    found = auroc(scores.tolist(), truth.tolist())
    assert found["value"] == pytest.approx(roc_auc_score(truth, scores))
    assert found["interval"][0] < found["value"] < found["interval"][1]
    assert auroc([1, 2], [True, True]) == {"value": None, "interval": None}


@pytest.mark.parametrize("width", [0.1, 0.2, 0.35])
def test_as_many_pictures_as_are_asked_for_give_that_width_and_one_less_does_not(width: float) -> None:
    needed = pictures_needed(width)
    low, high = wilson_interval(needed / 2, needed)
    wider = wilson_interval((needed - 1) / 2, needed - 1)
    assert high - low <= width < wider[1] - wider[0]


def test_readers_who_say_the_same_of_a_picture_count_once() -> None:
    rng = np.random.default_rng(2)
    hits = (rng.random(40) < 0.7).tolist()
    once = share_of(hits, [str(place) for place in range(40)])
    assert once["interval"] == pytest.approx(list(wilson_interval(sum(hits), 40)))
    copied = share_of(hits * 5, [str(place) for place in range(40)] * 5)
    assert copied["answers"] == 200 and copied["interval"] == pytest.approx(once["interval"], abs=0.01)
    unlike = share_of((rng.random(200) < 0.7).tolist(), [str(place) for place in range(40)] * 5)
    assert unlike["interval"][1] - unlike["interval"][0] < 0.8 * (once["interval"][1] - once["interval"][0])
    assert share_of([True] * 30, ["a", "b", "c"] * 10)["interval"] == pytest.approx(list(wilson_interval(3, 3)))
    assert share_of([], []) == {"share": None, "interval": None, "answers": 0}
