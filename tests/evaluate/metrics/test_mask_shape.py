"""Mask statistics mean what they say, and a class's limits let its own masks pass and odd ones not."""

from __future__ import annotations

import json

import numpy as np
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from evaluate.metrics.mask_shape import STATISTICS, ShapeLimits, mask_shapes
from tests.evaluate.drawn_pairs import drawn_pairs

ROWS, COLUMNS = np.mgrid[:128, :128]
DISC = np.hypot(ROWS - 63.5, COLUMNS - 63.5) < 30


def shape_of(mask: np.ndarray) -> dict[str, float]:
    return dict(zip(STATISTICS, mask_shapes(mask[None])[0], strict=True))


@pytest.fixture(scope="module")
def shapes() -> np.ndarray:
    return mask_shapes(drawn_pairs({"nv": 120}).masks)


def test_a_disc_is_compact_whole_central_and_off_the_border() -> None:
    shape = shape_of(DISC)
    assert 1 / (1 + np.exp(-shape["area"])) == pytest.approx(DISC.mean())
    assert shape["compactness"] > 0.88
    assert (shape["parts"], shape["border"], shape["holes"]) == (0, 0, 0)
    assert (shape["row"], shape["column"]) == pytest.approx((0.5, 0.5))


def test_parts_holes_border_and_position_are_seen() -> None:
    assert shape_of(DISC | ((ROWS < 12) & (COLUMNS < 12)))["parts"] == pytest.approx(np.log(2))
    assert shape_of(DISC & (np.hypot(ROWS - 63.5, COLUMNS - 63.5) > 15))["holes"] == pytest.approx(0.25, abs=0.03)
    assert shape_of(ROWS < 64)["border"] == pytest.approx(0.5, abs=0.01)
    assert shape_of((ROWS < 20) & (COLUMNS > 100))["row"] < 0.1
    star = np.hypot(ROWS - 64, COLUMNS - 64) < 30 + 20 * np.sin(12 * np.arctan2(ROWS - 64, COLUMNS - 64))
    assert shape_of(star)["compactness"] < 0.2


@settings(max_examples=25, deadline=None)
@given(st.integers(0, 2**32 - 1))
def test_area_parts_holes_and_compactness_ignore_flips_and_turns(seed: int) -> None:
    rng = np.random.default_rng(seed)
    centre, radius = rng.uniform(30, 98, 2), rng.uniform(8, 40)
    angle = np.arctan2(ROWS - centre[0], COLUMNS - centre[1])
    wobble = 1 + 0.3 * np.sin(rng.integers(2, 7) * angle + rng.uniform(0, 6))
    mask = np.hypot(ROWS - centre[0], COLUMNS - centre[1]) < radius * wobble
    same = [shape_of(np.ascontiguousarray(turned)) for turned in (mask[::-1], mask[:, ::-1], np.rot90(mask))]
    for name in ("area", "parts", "holes", "border", "compactness"):
        assert [turned[name] for turned in same] == pytest.approx([shape_of(mask)[name]] * 3, abs=0.01)


@pytest.mark.parametrize("mask", [np.zeros((128, 128), bool), np.ones((128, 128), bool)])
def test_an_empty_or_full_mask_is_never_plausible(mask: np.ndarray, shapes: np.ndarray) -> None:
    assert np.isnan(mask_shapes(mask[None])).all()
    assert ShapeLimits.fit(shapes, shapes).plausibility(mask_shapes(mask[None])) == [0]


def test_masks_like_the_real_ones_are_plausible_and_odd_ones_are_not(shapes: np.ndarray) -> None:
    limits = ShapeLimits.fit(shapes[:80], shapes[:80])
    threshold = np.quantile(limits.plausibility(shapes[:80]), 0.02)
    assert (limits.plausibility(shapes[80:]) >= threshold).mean() >= 0.85
    blocks = ROWS // 8 % 2 == COLUMNS // 8 % 2
    specks = np.random.default_rng(0).random((128, 128)) > 0.7
    corner = (ROWS < 14) & (COLUMNS < 14)
    ring = DISC & (np.hypot(ROWS - 63.5, COLUMNS - 63.5) > 25)
    for odd in (blocks, specks, corner, ring, ROWS > 3):
        assert limits.plausibility(mask_shapes(odd[None]))[0] < threshold


def test_a_rounder_mask_than_any_real_one_is_plausible(shapes: np.ndarray) -> None:
    assert (
        ShapeLimits.fit(shapes, shapes).by_statistic(mask_shapes(DISC[None]))[0, STATISTICS.index("compactness")] == 1
    )


def test_a_class_with_few_masks_leans_on_all_classes(shapes: np.ndarray) -> None:
    few = ShapeLimits.fit(shapes[:3], shapes)
    none = ShapeLimits.fit(shapes[:0], shapes)
    assert few.plausibility(shapes).mean() > 0.9
    assert (none.plausibility(shapes) == 1).mean() > 0.7


def test_limits_survive_json(shapes: np.ndarray) -> None:
    limits = ShapeLimits.fit(shapes, shapes)
    again = ShapeLimits.from_json(json.loads(json.dumps(limits.to_json())))
    assert again.pairs == limits.pairs
    np.testing.assert_array_equal(again.plausibility(shapes), limits.plausibility(shapes))
