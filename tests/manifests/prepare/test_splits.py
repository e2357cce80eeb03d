"""Splits: no group in two of them, every class in each, and rows stay where they are when others are added."""

from __future__ import annotations

from collections import Counter

import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from manifests.errors import BadInput
from manifests.prepare.splits import fold_split, grouped_folds, grouped_split, leaks, merged_splits

ROWS = st.lists(
    st.tuples(st.integers(0, 60).map("lesion-{}".format), st.sampled_from(["nv", "nv", "nv", "mel", "bkl"])),
    min_size=1,
    max_size=200,
)


def _split(rows: list[tuple[str, str]], seed: int = 0) -> list[str]:
    return grouped_split([g for g, _ in rows], [dx for _, dx in rows], 0.1, 0.2, seed)


@given(ROWS, st.integers(0, 5))
@settings(max_examples=150, deadline=None)
def test_a_split_never_leaks_and_always_leaves_training_pairs(rows: list[tuple[str, str]], seed: int) -> None:
    splits = _split(rows, seed)
    assert not leaks([g for g, _ in rows], splits)
    assert "train" in splits
    assert set(splits) <= {"train", "validation", "test"}


@given(ROWS, st.integers(2, 6), st.integers(0, 5))
@settings(max_examples=100, deadline=None)
def test_folds_never_leak(rows: list[tuple[str, str]], folds: int, seed: int) -> None:
    groups = [g for g, _ in rows]
    if len(set(groups)) < folds:
        with pytest.raises(BadInput):
            grouped_folds(groups, [dx for _, dx in rows], folds, seed)
        return
    numbers = grouped_folds(groups, [dx for _, dx in rows], folds, seed)
    assert all(0 <= n < folds for n in numbers)
    assert not leaks(groups, [str(n) for n in numbers])


def _lesions(count: int, start: int = 0) -> list[tuple[str, str]]:
    classes = ["nv"] * 7 + ["mel"] * 2 + ["bkl"]
    return [(f"lesion-{i}", classes[i % 10]) for i in range(start, start + count)]


def test_adding_rows_moves_no_row_that_was_there() -> None:
    before = _lesions(400)
    assert _split(before + _lesions(300, start=400))[:400] == _split(before)
    folds = [grouped_folds([g for g, _ in r], [dx for _, dx in r], 5, 0) for r in (before, before + _lesions(99, 400))]
    assert folds[1][:400] == folds[0]


def test_every_class_is_spread_in_about_the_same_proportions() -> None:
    rows = _lesions(3000)
    splits = Counter((dx, split) for (_, dx), split in zip(rows, _split(rows), strict=True))
    for dx, total in Counter(dx for _, dx in rows).items():
        assert abs(splits[dx, "test"] / total - 0.2) < 0.05
        assert abs(splits[dx, "validation"] / total - 0.1) < 0.04


def test_a_class_of_three_lesions_is_in_every_split() -> None:
    for seed in range(20):
        rows = _lesions(100) + [(f"rare-{i}", "vasc") for i in range(3)]
        splits = _split(rows, seed)
        assert len(set(splits[100:])) >= 2
        assert "train" in splits[100:]


def test_the_seed_decides_and_the_order_of_rows_does_not() -> None:
    rows = _lesions(200)
    forth = dict(zip([g for g, _ in rows], _split(rows), strict=True))
    back = dict(zip([g for g, _ in rows[::-1]], _split(rows[::-1]), strict=True))
    assert forth == back
    assert _split(rows, 1) != _split(rows, 2)


def test_each_fold_is_the_test_split_once() -> None:
    rows = _lesions(100)
    numbers = grouped_folds([g for g, _ in rows], [dx for _, dx in rows], 5, 3)
    tested = [i for fold in range(5) for i, s in enumerate(fold_split(numbers, 5, fold)) if s == "test"]
    assert sorted(tested) == list(range(100))
    with pytest.raises(BadInput, match="fold 5 of 5"):
        fold_split(numbers, 5, 5)


def test_official_splits_that_share_a_lesion_keep_the_most_protected_side() -> None:
    groups, splits = ["a", "a", "b", "b", "c"], ["train", "test", "validation", "train", "train"]
    assert leaks(groups, splits) == {"a": {"train", "test"}, "b": {"validation", "train"}}
    assert merged_splits(groups, splits) == {"a": "test", "b": "validation", "c": "train"}


def test_a_fraction_of_nothing_holds_nothing_out() -> None:
    rows = _lesions(200)
    groups, classes = [group for group, _ in rows], [dx for _, dx in rows]
    assert {*grouped_split(groups, classes, 0, 0, 0)} == {"train"}
    assert {*grouped_split(groups, classes, 0, 0.2, 0)} == {"train", "test"}


def test_fractions_that_leave_nothing_to_train_on_are_refused() -> None:
    with pytest.raises(BadInput, match="leave nothing to train on"):
        grouped_split(["a"], ["nv"], 0.5, 0.5, 0)
