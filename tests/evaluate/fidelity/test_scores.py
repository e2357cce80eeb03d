"""Fidelity figures agree with their definitions, stand beside their floor, and say when they cannot be had."""

from __future__ import annotations

import json
from dataclasses import replace
from pathlib import Path

import numpy as np
import pytest
import torch
from pydantic import ValidationError
from torch import Tensor, nn

from evaluate.fidelity.scores import (
    FIGURES,
    MASK_FIGURES,
    build_extractor,
    compare_sets,
    describe,
    fidelity_report,
    frechet_distance,
    kernel_distance,
    mixed_as,
    neighbour_figures,
)
from evaluate.settings.gates import FidelitySettings, JudgeClassifierSettings
from manifests.errors import BadInput
from manifests.pairs import PairArrays
from tests.evaluate.drawn_pairs import drawn_pairs

SETTINGS = FidelitySettings(kid_subset=20, kid_subsets=20, neighbours=3)


class Colours(nn.Module):
    """Means and deviations of coarse patches: 24 features without weights."""

    num_features = 24
    name = "colours"

    def forward(self, images: Tensor) -> Tensor:
        patches = nn.functional.adaptive_avg_pool2d(images.float() / 255, 2).flatten(1)
        return torch.cat([patches, nn.functional.adaptive_max_pool2d(images.float() / 255, 2).flatten(1)], 1)


@pytest.fixture(scope="module")
def splits() -> dict[str, PairArrays]:
    return {
        "train": drawn_pairs({"nv": 60, "mel": 30, "bkl": 12}, size=64),
        "validation": drawn_pairs({"nv": 40, "mel": 20, "bkl": 4}, seed=1, size=64),
        "synthetic": drawn_pairs({"mel": 40, "bkl": 20}, seed=2, size=64),
    }


def test_frechet_distance_equals_that_of_torchmetrics() -> None:
    from torchmetrics.image.fid import FrechetInceptionDistance

    rng = np.random.default_rng(0)
    first, second = rng.normal(size=(80, 12)), rng.normal(0.3, 1.4, size=(50, 12))
    identity = nn.Identity()
    identity.num_features = 12
    metric = FrechetInceptionDistance(identity)
    metric.set_dtype(torch.float64)
    metric.update(torch.from_numpy(first), real=True)
    metric.update(torch.from_numpy(second), real=False)
    assert frechet_distance(first, second) == pytest.approx(float(metric.compute()), rel=1e-4)
    assert frechet_distance(first, first) == pytest.approx(0, abs=1e-8)
    few, fewer = rng.normal(size=(9, 30)), rng.normal(size=(6, 30))
    assert frechet_distance(few, fewer) == pytest.approx(frechet_distance(fewer, few))


def test_kernel_distance_is_near_zero_for_one_distribution_and_grows_with_a_shift() -> None:
    rng = np.random.default_rng(0)
    first, second = (rng.normal(size=(100, 16)).astype(np.float32) for _ in range(2))
    state = torch.get_rng_state()
    near, _ = kernel_distance(first, second, SETTINGS)
    far, _ = kernel_distance(first, second + 1, SETTINGS)
    assert abs(near) < 0.2 < far
    assert kernel_distance(first, second, SETTINGS)[0] == near
    assert torch.equal(torch.get_rng_state(), state)


def test_neighbour_figures_follow_their_definitions() -> None:
    line = np.arange(10.0)[:, None]
    same = neighbour_figures(line, line, 1)
    assert same == {"precision": 1, "recall": 1, "density": pytest.approx(2.8), "coverage": 1}
    far = neighbour_figures(line, line + 100, 1)
    assert far == {"precision": 0, "recall": 0, "density": 0, "coverage": 0}
    collapsed = neighbour_figures(line, np.full((10, 1), 4.2), 1)
    assert collapsed["precision"] == 1 and collapsed["recall"] == 0 and collapsed["coverage"] == 0.2


def test_the_report_stands_beside_its_floor(splits: dict[str, PairArrays]) -> None:
    report = fidelity_report(**splits, settings=SETTINGS, extractor=Colours())
    assert (report["extractor"], report["features"], report["kid_subset"]) == ("colours", 24, 20)
    assert report["classes_in_all"] == ["bkl", "mel"]
    for side in ("generated", "floor"):
        figures = report["per_class"]["mel"][side]
        assert all(figures[name] is not None for name in FIGURES)
        assert set(figures["masks"]) == set(MASK_FIGURES)
        assert (figures["images"], figures["reference_images"]) == (30, 20)
    assert json.loads(json.dumps(report, allow_nan=False)) == report
    assert fidelity_report(**splits, settings=SETTINGS, extractor=Colours()) == report


def test_figures_that_too_few_images_allow_are_null_with_a_reason(splits: dict[str, PairArrays]) -> None:
    report = fidelity_report(**splits, settings=SETTINGS, extractor=Colours())
    for dx, side, reason in (
        ("bkl", "generated", "12 images against 4, 10 of each are needed"),
        ("nv", "generated", "0 images against 40, 10 of each are needed"),
    ):
        figures = report["per_class"][dx][side]
        assert all(figures[name] is None for name in FIGURES)
        assert figures["reason"] == reason
    assert report["per_class"]["nv"]["floor"]["kid"] is not None


def test_worse_images_score_worse(splits: dict[str, PairArrays]) -> None:
    nevi = splits["validation"].of_class("nv")
    reference = describe(nevi, Colours(), 100)
    others = splits["train"].of_class("nv")
    figures = [
        compare_sets(reference, describe(pairs, Colours(), 100), SETTINGS)
        for pairs in (others, replace(others, images=others.images // 2), replace(others, masks=others.masks & False))
    ]
    assert figures[1]["fid"] > 2 * figures[0]["fid"]
    assert figures[1]["kid"] > figures[0]["kid"]
    assert figures[1]["coverage"] < figures[0]["coverage"]
    assert figures[2]["masks"] == dict.fromkeys(MASK_FIGURES)
    assert figures[2]["fid"] == figures[0]["fid"]


def test_sets_are_mixed_as_the_reference(splits: dict[str, PairArrays]) -> None:
    train = describe(splits["train"], Colours(), 1000)
    mixed = mixed_as(train, np.repeat([1, 2], [30, 10]))
    assert np.bincount(mixed.labels).tolist() == [0, 30, 10]


def test_an_extractor_of_the_wrong_width_is_refused(splits: dict[str, PairArrays]) -> None:
    wrong = Colours()
    wrong.num_features = 10
    with pytest.raises(BadInput, match=r"colours gives shape \(24,\) but states 10"):
        fidelity_report(**splits, settings=SETTINGS, extractor=wrong)
    chosen = FidelitySettings(extractor="mobilenetv3_small_050", size=64, width=2048)
    with pytest.raises(BadInput, match="1024 features, not the 2048"):
        build_extractor(chosen, splits["train"], Path("unused"))


def test_an_extractor_that_does_not_exist_or_fit_is_refused(splits: dict[str, PairArrays], tmp_path: Path) -> None:
    with pytest.raises(BadInput, match="mobilenetv3_small"):
        build_extractor(FidelitySettings(extractor="mobilenetv3_smal_050"), splits["train"], tmp_path)
    missing = FidelitySettings(extractor="mobilenet_v2", weights=str(tmp_path / "none.safetensors"))
    with pytest.raises(BadInput, match="no such file"):
        build_extractor(missing, splits["train"], tmp_path)
    with pytest.raises(ValidationError, match=r"fidelity\.extractor"):
        FidelitySettings(weights="hub")


def test_the_default_extractor_comes_with_weights_from_outside(splits: dict[str, PairArrays], tmp_path: Path) -> None:
    extractor = build_extractor(FidelitySettings(size=32), splits["train"], tmp_path)
    assert extractor.name == "efficientnet_lite0 (ImageNet)" and extractor.num_features == 1280
    assert not list(tmp_path.iterdir()), "nothing is trained for it"


def test_the_downstream_extractor_is_trained_once(splits: dict[str, PairArrays], tmp_path: Path) -> None:
    chosen = FidelitySettings(
        extractor="downstream", classifier=JudgeClassifierSettings(updates=2, size=32, batch_size=8, probe=8)
    )
    first = build_extractor(chosen, splits["train"], tmp_path)
    stamp = (tmp_path / "extractor" / "classifier.safetensors").stat().st_mtime_ns
    again = build_extractor(chosen, splits["train"], tmp_path)
    assert (tmp_path / "extractor" / "classifier.safetensors").stat().st_mtime_ns == stamp
    images = torch.from_numpy(np.array(splits["train"].images[:4])).permute(0, 3, 1, 2)
    assert torch.equal(first(images), again(images))
    assert first(images).shape == (4, first.num_features)
