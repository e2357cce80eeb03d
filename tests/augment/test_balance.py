"""The balance plan fills the classes as asked."""

from __future__ import annotations

import pytest
from hypothesis import given
from hypothesis import strategies as st

from augment.balance import balance_plan
from manifests.errors import BadInput

COUNTS = {"nv": 100, "mel": 30, "bkl": 10}


@pytest.mark.parametrize(
    ("rule", "expected"),
    [
        ("max", {"nv": 0, "mel": 70, "bkl": 90}),
        ("median", {"nv": 0, "mel": 0, "bkl": 20}),
        (40, {"nv": 0, "mel": 10, "bkl": 30}),
        (0.5, {"nv": 50, "mel": 15, "bkl": 5}),
        ({"bkl": 7}, {"nv": 0, "mel": 0, "bkl": 7}),
    ],
)
def test_each_rule_says_how_many_pairs_to_generate(rule, expected) -> None:
    assert balance_plan(COUNTS, rule) == expected


def test_a_cap_limits_generated_pairs_per_real_one() -> None:
    assert balance_plan(COUNTS, "max", cap=2.0) == {"nv": 0, "mel": 60, "bkl": 20}


@given(st.dictionaries(st.sampled_from("abcdef"), st.integers(1, 1000), min_size=1))
def test_max_makes_every_class_as_large_as_the_largest(counts: dict[str, int]) -> None:
    plan = balance_plan(counts, "max")
    assert {counts[dx] + plan[dx] for dx in counts} == {max(counts.values())}


@pytest.mark.parametrize("rule", ["most", -1, -0.5, float("nan"), {"xyz": 3}])
def test_a_rule_that_means_nothing_is_refused_in_one_sentence(rule) -> None:
    with pytest.raises(BadInput, match=r"synthesis\.balance"):
        balance_plan(COUNTS, rule)


def test_a_class_without_real_pairs_is_never_generated() -> None:
    assert balance_plan({"nv": 5, "df": 0}, "max") == {"nv": 0, "df": 0}
