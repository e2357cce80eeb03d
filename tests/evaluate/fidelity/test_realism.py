"""The outside eye: it finds what is there, does not find what is not, and says when pictures are too few."""

from __future__ import annotations

from dataclasses import replace

import numpy as np
import pytest

from evaluate.downstream.lite0 import lite0_network
from evaluate.fidelity.extractors import lite0_features
from evaluate.fidelity.realism import (
    Seen,
    at_frame,
    blurred,
    halves,
    kernel_distance_between,
    mask_rows,
    probe_rows,
    realism_rows,
    told_apart,
    transfer_row,
)
from tests.evaluate.drawn_pairs import CLASSES, drawn_pairs
from tests.evaluate.fidelity.test_scores import Colours


def seen_as(features: np.ndarray, labels: np.ndarray | None = None) -> Seen:
    labels = np.zeros(len(features), np.int64) if labels is None else labels
    return Seen(features, features, labels, np.arange(len(features)))


def test_equal_sets_are_not_told_apart_and_shifted_ones_are() -> None:
    rng = np.random.default_rng(0)
    first, same, shifted = rng.normal(size=(150, 30)), rng.normal(size=(150, 30)), rng.normal(1, 1, size=(150, 30))
    groups = np.arange(150)
    equal = told_apart(first, same, groups, groups + 150)
    other = told_apart(first, shifted, groups, groups + 150)
    assert equal is not None and other is not None and abs(equal - 0.5) < 0.12 and other > 0.95
    assert told_apart(first[:10], same, groups[:10], groups + 150) is None


def test_a_group_on_both_sides_does_not_help_the_classifier() -> None:
    rng = np.random.default_rng(0)
    lesions = rng.normal(size=(60, 80))
    first, second = (lesions + rng.normal(0, 0.01, lesions.shape) for _ in range(2))
    found = told_apart(first, second, np.arange(60), np.arange(60))
    assert found is not None and found < 0.62


def test_kernel_distance_is_that_of_torchmetrics_on_one_subset_of_all() -> None:
    from evaluate.fidelity.scores import kernel_distance
    from evaluate.settings.gates import FidelitySettings

    rng = np.random.default_rng(0)
    first, second = (rng.normal(mean, 1, (40, 8)).astype(np.float32) for mean in (0, 0.4))
    wanted, _ = kernel_distance(first, second, FidelitySettings(kid_subset=40, kid_subsets=1))
    assert kernel_distance_between(first, second) == pytest.approx(wanted, rel=1e-3)
    assert kernel_distance_between(first[:5], second) is None


def test_halves_keep_groups_whole_and_lose_nobody() -> None:
    groups = np.array([0, 0, 1, 2, 2, 3, 4, 5, 6, 6])
    one, two = halves(groups, 0)
    assert sorted([*one, *two]) == list(range(10)) and not set(groups[one]) & set(groups[two])


def test_a_change_of_the_pictures_is_told_beside_the_floor() -> None:
    rng = np.random.default_rng(0)
    features = rng.normal(size=(120, 20))
    rows = list(probe_rows(seen_as(features), seen_as(features + 1.5), ("nv",), "changed", paired=True))
    assert [row.look for row in rows] == ["sharp", "blurred"] and rows[0].count == 60
    assert rows[0].value is not None and rows[0].floor is not None and rows[0].value > 0.9 > 0.65 > rows[0].floor
    same = next(probe_rows(seen_as(features), seen_as(features), ("nv",), "unchanged", paired=True))
    assert same.value == same.floor
    few = next(probe_rows(seen_as(features[:30]), seen_as(features), ("nv",), "few"))
    assert few.value is None and few.floor is None


def test_blur_takes_fine_texture_and_keeps_colour() -> None:
    picture = np.random.default_rng(0).integers(0, 255, (2, 32, 32, 3)).astype(np.uint8)
    soft = blurred(picture)
    assert soft.shape == picture.shape and soft.std() < picture.std() / 2
    assert abs(float(soft.mean()) - float(picture.mean())) < 3


def test_masks_stand_beside_the_real_ones() -> None:
    real, other = drawn_pairs({"nv": 4, "mel": 4, "bkl": 4}, size=32), drawn_pairs({"nv": 3}, seed=1, size=32)
    full = replace(other, masks=np.ones_like(other.masks))
    area, frame = mask_rows(real, full)
    assert (area.dx, area.value, frame.value) == ("nv", 1.0, 1.0)
    assert area.floor == pytest.approx(real.of_class("nv").masks.mean())
    masks = np.zeros((3, 8, 8), bool)
    masks[0, 3, 0] = masks[1, 7, 4] = masks[2, 4, 4] = True
    assert at_frame(masks).tolist() == [True, True, False]


def test_classes_are_learned_from_pictures_that_show_them() -> None:
    rng = np.random.default_rng(0)
    labels = np.repeat([0, 1, 2], 40)
    telling, silent = rng.normal(size=(120, 6)), rng.normal(size=(120, 6))
    telling[np.arange(120), labels] += 3
    row = transfer_row(seen_as(telling, labels), seen_as(silent, labels), seen_as(telling, labels), CLASSES)
    assert row.floor is not None and row.value is not None and row.floor > 0.95 and row.value < 0.75


def test_every_figure_of_a_class_comes_out() -> None:
    real, held = drawn_pairs({"nv": 50, "mel": 50}, size=32), drawn_pairs({"nv": 20, "mel": 20}, seed=1, size=32)
    drawn = drawn_pairs({"nv": 30, "mel": 30}, seed=2, size=32)
    rows = realism_rows(real, held, drawn, real.images, Colours())
    figures = {(row.figure, row.dx, row.look) for row in rows}
    assert len(figures) == len(rows)
    for dx in ("mel", "nv"):
        own = {row.figure: row for row in rows if row.dx == dx}
        assert all(row.value is not None and row.floor is not None for row in own.values()) and len(own) == 5


def test_the_packaged_network_knows_what_imagenet_shows() -> None:
    import cv2
    import torch
    from sklearn.datasets import load_sample_image

    network = lite0_network()
    # A Chinese palace and a flower; palace and daisy are ImageNet's 698 and 985.
    for name, wanted in (("china.jpg", 698), ("flower.jpg", 985)):
        picture = cv2.resize(load_sample_image(name)[:, 100:527], (224, 224), interpolation=cv2.INTER_AREA)
        with torch.inference_mode():
            scores = network(torch.from_numpy(picture).permute(2, 0, 1)[None].float() / 127.5 - 1)
        assert int(scores.argmax()) == wanted
    extractor = lite0_features(64)
    assert extractor.num_features == 1280 and "ImageNet" in extractor.name
