"""Each arm draws what its name says, all on one budget, and none draws what it must not."""

from __future__ import annotations

from dataclasses import replace
from itertools import pairwise

import numpy as np
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st
from pydantic import ValidationError

from evaluate.benchmark.arms import (
    DESCRIPTIONS,
    ArmData,
    Pools,
    arm_data,
    describe,
    effective_number_weights,
    low_data_pairs,
    low_data_rows,
    part_counts,
    task_pairs,
)
from evaluate.benchmark.summary import rare_classes
from evaluate.downstream.training import draw_indices, draw_plan
from evaluate.settings.arms import CONTROLS, GENERATED, Task, parse_arm
from evaluate.settings.benchmark import BenchmarkSettings
from manifests.errors import BadInput
from manifests.pairs import PairArrays

CLASSES = ("nv", "mel", "bkl")


def pairs(counts: dict[str, int], origin: str) -> PairArrays:
    dx = [name for name, count in counts.items() for _ in range(count)]
    ids = [f"{origin}:{name}:{i:04d}" for i, name in enumerate(dx)]
    masks = np.zeros((len(dx), 8, 8), bool)
    masks[:, 2:6, 2:6] = True
    return PairArrays(
        ids,
        np.zeros((len(dx), 8, 8, 3), np.uint8),
        masks,
        np.array([CLASSES.index(name) for name in dx], dtype=np.int64),
        CLASSES,
        [f"{origin}-lesion-{i // 2}" for i in range(len(dx))],
    )


REAL = pairs({"nv": 60, "mel": 20, "bkl": 10}, "real")
MADE = pairs({"mel": 40, "bkl": 50}, "synthetic")
CANDIDATES = pairs({"mel": 70, "bkl": 80}, "candidate")
POOLS = Pools(REAL, MADE, CANDIDATES)


def built(name: str, pools: Pools = POOLS, task: Task = "classification") -> ArmData:
    return arm_data(parse_arm(name), pools, 0.5, task)


@pytest.mark.parametrize("name", [*CONTROLS, *GENERATED, "hybrid@0.5", "hybrid@2"])
def test_every_arm_makes_the_same_number_of_draws(name: str) -> None:
    data = built(name)
    plan = draw_plan(data.regime, updates=21, batch_size=8, seed=0)
    assert plan.shape == (21, 8)
    assert plan.min() >= 0 and plan.max() < len(data.pairs)
    planned = data.draws(21 * 8)
    assert sum(planned["real"].values()) + sum(planned["synthetic"].values()) == pytest.approx(168, abs=2)


@pytest.mark.parametrize("name", CONTROLS)
def test_controls_see_real_pairs_only(name: str) -> None:
    data = built(name)
    assert data.pairs.pair_ids == REAL.pair_ids
    assert not any(data.train_counts()["synthetic"].values())


def test_pairs_without_a_class_are_counted_and_make_no_class_rare() -> None:
    half = replace(REAL, labels=np.where(REAL.labels == 0, -1, REAL.labels))
    counts = built("real", Pools(half), "segmentation").train_counts()
    assert counts["real"] == {"nv": 0, "mel": 20, "bkl": 10, "unlabelled": 60}
    assert rare_classes(CLASSES, counts["real"]) == () and rare_classes(CLASSES, {"mel": 20, "bkl": 9}) == ("bkl",)


def test_copy_paste_moves_half_of_the_lesions_and_draws_classes_equally_often_where_they_are_learned() -> None:
    assert set(built("real+copy-paste").draws(900)["real"].values()) == {300}
    drawn = built("real+copy-paste", task="segmentation")
    assert drawn.regime.pasted == 0.5 and drawn.draws(900)["real"] == {"nv": 600, "mel": 200, "bkl": 100}


def test_oversampling_draws_each_class_equally_often() -> None:
    assert set(built("real+oversampling").draws(900)["real"].values()) == {300}


def test_a_hybrid_classifier_draws_each_class_equally_often_and_half_of_a_filled_up_class_generated() -> None:
    drawn = built("hybrid").draws(1800)
    assert drawn["real"] == {"nv": 600, "mel": 300, "bkl": 300}
    assert drawn["synthetic"] == {"nv": 0, "mel": 300, "bkl": 300}


def test_replay_draws_each_class_as_often_as_hybrid_segmentation_does() -> None:
    hybrid, replay = built("hybrid", task="segmentation").draws(1800), built("real+replay").draws(1800)
    together = {dx: hybrid["real"][dx] + hybrid["synthetic"][dx] for dx in CLASSES}
    assert replay["real"] == together


@pytest.mark.parametrize("ratio", [0.5, 1, 2])
def test_the_ratio_is_how_often_generated_pairs_are_drawn_for_a_real_one(ratio: float) -> None:
    drawn = built(f"hybrid@{ratio}").draws(9000)
    for dx in ("mel", "bkl"):
        assert drawn["synthetic"][dx] / drawn["real"][dx] == pytest.approx(ratio, rel=0.01)
        assert drawn["synthetic"][dx] + drawn["real"][dx] == pytest.approx(3000, abs=1)
    segmented = built(f"hybrid@{ratio}", task="segmentation").draws(9000)
    share = sum(segmented["synthetic"].values()) / sum(segmented["real"].values())
    assert share == pytest.approx(ratio, rel=0.01)


def test_a_class_that_has_generated_pairs_alone_is_drawn_as_often_as_the_others() -> None:
    real = pairs({"nv": 60, "mel": 20}, "real")
    drawn = built("hybrid", Pools(real, MADE, CANDIDATES)).draws(900)
    assert drawn["synthetic"]["bkl"] == 300 and drawn["real"]["nv"] == 300


def test_the_weighted_loss_favours_rare_classes_and_keeps_its_scale() -> None:
    weights = built("real+weighted-loss").regime.class_weights
    assert weights is not None and weights[0] < weights[1] < weights[2]
    assert (weights * np.array([60, 20, 10])).sum() / 90 == pytest.approx(1)
    assert np.isfinite(effective_number_weights(np.array([5, 0, 1]))).all()


def test_synthetic_never_draws_a_real_pair() -> None:
    data = built("synthetic")
    assert data.pairs.pair_ids == MADE.pair_ids
    assert not any(data.draws(100)["real"].values())


def test_synthetic_then_real_draws_them_in_this_order() -> None:
    data = built("synthetic-then-real")
    is_real = data.is_real[draw_plan(data.regime, updates=20, batch_size=4, seed=1)]
    assert not is_real[:10].any()
    assert is_real[10:].all()


def test_real_pairs_beside_generated_ones_are_balanced_where_classes_are_learned() -> None:
    drawn = built("synthetic-then-real").draws(9000)["real"]
    assert drawn["nv"] == pytest.approx(drawn["mel"], abs=1) == pytest.approx(drawn["bkl"], abs=1)
    for name in ("hybrid", "hybrid-ungated", "synthetic-then-real"):
        drawn = built(name, task="segmentation").draws(9000)["real"]
        assert drawn["nv"] == pytest.approx(3 * drawn["mel"], abs=3) == pytest.approx(6 * drawn["bkl"], abs=6)


def test_ungated_takes_as_many_of_each_class_as_passed_from_the_first_made() -> None:
    data = built("hybrid-ungated")
    assert data.train_counts()["synthetic"] == {"nv": 0, "mel": 40, "bkl": 50}
    generated = [pair_id for pair_id, real in zip(data.pairs.pair_ids, data.is_real, strict=True) if not real]
    mel = [pair_id for pair_id in CANDIDATES.pair_ids if ":mel:" in pair_id]
    assert generated[:40] == mel[:40]


def test_strong_asks_for_the_strong_policy_and_nobody_else_does() -> None:
    assert [name for name in (*CONTROLS, *GENERATED) if built(name).regime.strong] == ["real+strong"]


def test_every_arm_is_described() -> None:
    assert set(DESCRIPTIONS) == {*CONTROLS, *GENERATED}
    assert "2 times" in describe(parse_arm("hybrid@2"), "classification")
    assert "25 %" in describe(parse_arm("real%25"), "segmentation")
    assert "mixup" not in describe(parse_arm("real+strong"), "segmentation")


@pytest.mark.parametrize("name", ["hybrid", "synthetic", "real+replay", "synthetic-then-real"])
def test_an_arm_without_its_generated_pairs_says_what_to_do(name: str) -> None:
    with pytest.raises(BadInput, match="run synthesise"):
        built(name, Pools(REAL))
    with pytest.raises(BadInput, match="the gates rejected"):
        built("hybrid-ungated", Pools(REAL, MADE))
    with pytest.raises(BadInput, match="no pair to train on"):
        built("synthetic", Pools(REAL, MADE.select([])))


def test_pairs_that_a_task_cannot_use_are_left_to_the_other() -> None:
    mixed = REAL.select([0, 1, 2])
    mixed.labels[1] = -1
    mixed.masks[2] = False
    assert task_pairs(mixed, "classification").pair_ids == [REAL.pair_ids[0], REAL.pair_ids[2]]
    assert task_pairs(mixed, "segmentation").pair_ids == [REAL.pair_ids[0], REAL.pair_ids[1]]


@settings(max_examples=30, deadline=None)
@given(st.lists(st.sampled_from(["a", "b", "c"]), min_size=1, max_size=60), st.integers(1, 4))
def test_low_data_parts_are_nested_and_never_cut_a_lesion(dx: list[str], per_lesion: int) -> None:
    groups = [f"{name}-{i // per_lesion}" for i, name in enumerate(dx)]
    parts = [set(low_data_rows(dx, groups, part)) for part in (0.1, 0.25, 0.5, 1.0)]
    for smaller, larger in pairwise(parts):
        assert smaller <= larger
    assert len(parts[-1]) == len(dx)
    for part in parts:
        assert {dx[row] for row in part} == set(dx)
        inside = {groups[row] for row in part}
        assert all((groups[row] in inside) == (row in part) for row in range(len(dx)))


def test_low_data_keeps_the_share_of_each_class() -> None:
    part = low_data_pairs(REAL, 0.5)
    assert np.bincount(part.labels).tolist() == [30, 10, 5] or abs(len(part) - 45) <= 2


@settings(max_examples=50, deadline=None)
@given(st.lists(st.integers(1, 400), min_size=2, max_size=7), st.data())
def test_a_part_of_so_many_pairs_has_ten_of_each_class_and_the_shares_of_the_rest(
    counts: list[int], data: st.DataObject
) -> None:
    there = {f"class {place}": count for place, count in enumerate(counts)}
    least = {name: min(10, count) for name, count in there.items()}
    if sum(least.values()) == sum(counts):
        return
    part = data.draw(st.integers(sum(least.values()), sum(counts) - 1))
    taken = part_counts(there, part)
    assert abs(sum(taken.values()) - part) <= len(there) / 2
    assert all(least[name] <= taken[name] <= there[name] for name in there)
    shares = [taken[name] / there[name] for name in there if taken[name] > least[name]]
    assert all(abs(one - shares[0]) * min(counts) <= 1 for one in shares)
    larger = part_counts(there, min(part + 20, sum(counts) - 1))
    assert all(larger[name] >= taken[name] for name in there)


@pytest.mark.parametrize("part", [20, 29, 90, 5000])
def test_a_part_that_is_none_is_refused_with_the_numbers_that_are(part: int) -> None:
    with pytest.raises(BadInput, match=rf"low_data {part}: .*90 training pairs of 3 classes .*30 to 89 pairs"):
        part_counts({"nv": 60, "bkl": 20, "mel": 10}, part)


@settings(max_examples=50, deadline=None)
@given(st.lists(st.floats(0.01, 10), min_size=1, max_size=40), st.integers(1, 200), st.integers(0, 5))
def test_a_pair_is_drawn_its_expected_number_of_times(weights: list[float], draws: int, seed: int) -> None:
    array = np.array(weights)
    drawn = np.bincount(draw_indices(array, draws, np.random.default_rng(seed)), minlength=len(array))
    expected = draws * array / array.sum()
    assert drawn.sum() == draws
    assert (np.abs(drawn - expected) < 1 + 1e-6).all()


@pytest.mark.parametrize(
    ("name", "hint"),
    [
        ("hybrd", "choose from real"),
        ("real@2", "takes no ratio"),
        ("hybrid@0", "above 0"),
        ("real%101", "100"),
    ],
)
def test_an_unknown_arm_is_refused_with_what_exists(name: str, hint: str) -> None:
    with pytest.raises(ValidationError, match=hint):
        BenchmarkSettings(classification_arms=("real", name))


def test_settings_refuse_arms_that_mean_nothing() -> None:
    with pytest.raises(ValidationError, match="no meaning in segmentation"):
        BenchmarkSettings(segmentation_arms=("real", "real+weighted-loss"))
    with pytest.raises(ValidationError, match="at least one control"):
        BenchmarkSettings(classification_arms=("hybrid",))


def test_sweeps_add_arms_once() -> None:
    chosen = BenchmarkSettings(ratio_sweep=(0.5, 1, 2), low_data=(0.1, 1.0, 300))
    names = [str(arm) for arm in chosen.arms("classification")]
    assert names == [
        "real", "real+oversampling", "real+copy-paste", "hybrid", "hybrid@0.5", "hybrid@2",
        "real%10", "real+oversampling%10", "real+copy-paste%10", "hybrid%10",
        "real#300", "real+oversampling#300", "real+copy-paste#300", "hybrid#300",
    ]  # fmt: skip
