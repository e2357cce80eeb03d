"""What strategies are compared, at which ranks, and the figures that tell them apart."""

from __future__ import annotations

from pathlib import Path
from xml.etree import ElementTree

import numpy as np
import pytest
import torch

from augment.adapters import AdapterFile
from augment.mask_codec import SignedDistanceCodec
from evaluate.settings.explain import ExplainSettings
from evaluate.studies.strategies import strategies_of
from evaluate.studies.strategy_figures import at_rank, best_strategy, feature_distance, interval_of
from evaluate.studies.strategy_report import strategies_plot
from flows.studies.strategies import evenly


def test_every_strategy_has_a_name_of_its_own_and_differs_from_the_first_in_one_thing() -> None:
    found = strategies_of(ExplainSettings())
    assert len({strategy.name for strategy in found}) == len(found)
    assert {strategy.kind for strategy in found} == {"text", "image", "inpainting"}
    assert {strategy.rank for strategy in found} >= {None, 0, 4}
    assert any(strategy.tries > 1 for strategy in found) and any(not strategy.contrast for strategy in found)
    for strategy in found[1:]:
        changed = [name for name in ("guidance", "rank", "contrast", "tries")
                   if getattr(strategy, name) != getattr(found[0], name)]  # fmt: skip
        assert len(changed) <= 1


def test_without_adapters_none_is_compared() -> None:
    assert {strategy.rank for strategy in strategies_of(ExplainSettings(), adapters=False)} == {0}


def adapter(rank: int) -> AdapterFile:
    torch.manual_seed(0)
    tensors = {"a.lora_A.weight": torch.randn(rank, 12), "a.lora_B.weight": torch.randn(9, rank),
               "conv_in.weight": torch.randn(3, 3)}  # fmt: skip
    return AdapterFile(Path("mel.safetensors"), tensors, {}, SignedDistanceCodec(0.125), "0" * 64, {})


def product(found: AdapterFile) -> torch.Tensor:
    return found.tensors["a.lora_B.weight"] @ found.tensors["a.lora_A.weight"]


@pytest.mark.parametrize("rank", [1, 2, 4, 8])
def test_an_adapter_at_a_lower_rank_is_its_best_approximation(rank: int) -> None:
    whole = adapter(8)
    lower = at_rank(whole, rank)
    assert torch.linalg.matrix_rank(product(lower)) == min(rank, 8)
    left_out = torch.linalg.svdvals(product(whole))[rank:]
    assert torch.dist(product(lower), product(whole)) == pytest.approx(float(left_out.norm()), abs=1e-3)
    assert {name: value.shape for name, value in lower.tensors.items()} == {
        name: value.shape for name, value in whole.tensors.items()
    }
    assert torch.equal(lower.tensors["conv_in.weight"], whole.tensors["conv_in.weight"])


def test_intervals_hold_their_mean_and_distances_tell_sets_apart() -> None:
    rng = np.random.default_rng(0)
    found = interval_of(rng.normal(1, 1, 200), 0)
    assert found["interval"][0] < found["mean"] < found["interval"][1]
    assert interval_of(np.array([np.nan]), 0)["mean"] is None
    one, other = rng.normal(0, 1, (80, 8)), rng.normal(0, 1, (80, 8))
    assert feature_distance(one, other) < 0.1 < feature_distance(one + 2, other)


def test_the_best_strategy_moves_most_among_those_that_keep_the_skin() -> None:
    def row(name: str, kind: str, gain: float, psnr: float) -> dict[str, object]:
        return {"name": name, "kind": kind, "gain": {"mean": gain}, "psnr": {"mean": psnr}, "mask_dice": {"mean": 0.9}}

    rows = [row("a", "text", 0.9, 12), row("b", "image", 0.5, 20), row("c", "inpainting", 0.2, 99)]
    rows.append(row("d", "inpainting", 0.3, 99))
    assert best_strategy(rows, 30)["name"] == "d"
    assert best_strategy(rows[:2], 30) is None
    elsewhere = row("e", "inpainting", 0.8, 99) | {"mask_dice": {"mean": 0.4}}
    assert best_strategy([*rows, elsewhere], 30)["name"] == "d"


def test_the_same_number_of_every_class_is_taken() -> None:
    labels = np.array([0] * 50 + [1] * 4 + [2] * 9)
    taken = labels[evenly(labels, 18)]
    assert [int((taken == label).sum()) for label in range(3)] == [6, 4, 6]


def test_the_plot_names_every_strategy_the_best_in_bold_and_says_its_figures(tmp_path: Path) -> None:
    known, none = {"mean": 0.4, "interval": [0.3, 0.5]}, {"mean": None, "interval": None}
    rows = [{"name": "text <1>", "kind": "text", "gain": known, "agreement": known, "ssim": none},
            {"name": "inpainting", "kind": "inpainting", "gain": known, "agreement": known, "ssim": known}]  # fmt: skip
    strategies_plot(tmp_path / "plot.svg", rows, "inpainting")
    plot = ElementTree.parse(tmp_path / "plot.svg").getroot()
    texts = {element.text: element.get("class") for element in plot.iter() if element.tag.endswith("text")}
    assert texts["text <1>"] == "tick" and texts["inpainting"] == "best"
    labels = [label for element in plot.iter() if (label := element.get("aria-label"))]
    assert any("text <1> 40.00 (30.00 to 50.00); inpainting 40.00 (30.00 to 50.00)" in label for label in labels)
    assert sum("text <1>" in label for label in labels) == 2
