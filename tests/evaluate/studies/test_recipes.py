"""Recipes draw the pairs that they name as often as they say, and each is trained once and judged on validation."""

from __future__ import annotations

from pathlib import Path

import numpy as np
import pytest
import torch

from evaluate.downstream.training import expected_draws
from evaluate.settings.arms import TASKS, Task
from evaluate.settings.benchmark import BenchmarkSettings
from evaluate.studies.recipes import CURRICULUM, SMOOTHED, WORTH, Stock, compare_recipes, recipes
from tests.evaluate.drawn_pairs import drawn_pairs
from tests.evaluate.studies.test_transfer import SMALL

SETTINGS = BenchmarkSettings(classifier=SMALL.classifier, segmenter=SMALL.segmenter, seeds=2)
CHOOSES = "generated pairs that it is unsure of"
REAL, GENERATED = {"nv": 6, "mel": 3, "bkl": 3}, {"nv": 2, "mel": 4, "bkl": 4}


def stock_of(task: Task) -> Stock:
    generated = drawn_pairs(GENERATED, seed=1, size=32)
    ways = ["text", "variation", "text", "text"] * 2 + ["text", "variation"]
    return Stock(
        task, drawn_pairs(REAL, size=32), generated, ways, drawn_pairs({"nv": 2, "mel": 2, "bkl": 2}, 2, 32), SETTINGS
    )


def generated_share(stock: Stock, name: str) -> float:
    recipe = recipes(stock)[name]()
    return float(expected_draws(recipe.regime, 1)[len(stock.real) :].sum())


@pytest.mark.parametrize("task", TASKS)
def test_shares_are_those_of_their_names(task: Task) -> None:
    stock = stock_of(task)
    found = [generated_share(stock, f"{share} % generated") for share in (10, 30, 50, 70, 90)]
    assert found == pytest.approx([0.1, 0.3, 0.5, 0.7, 0.9])
    assert generated_share(stock, "ever fewer generated pairs") == pytest.approx(np.mean(CURRICULUM))
    later = recipes(stock)["generated pairs first, real ones for 75 % of the updates"]().regime.stages
    assert later[1].share == 0.75
    assert not later[0].weights[: len(stock.real)].any()
    assert not later[1].weights[len(stock.real) :].any()


def test_ways_alone_are_as_many_as_the_rarest_has_in_each_class() -> None:
    stock = stock_of("classification")
    labels = dict(zip(stock.generated.pair_ids, stock.generated.labels, strict=True))
    for way in ("text", "variation"):
        chosen = recipes(stock)[f"half generated, by {way} alone"]().pairs.pair_ids[len(stock.real) :]
        assert np.bincount([labels[one] for one in chosen]).tolist() == [1, 1, 1]


def test_rare_classes_alone_get_generated_pairs() -> None:
    stock = stock_of("classification")
    pairs = recipes(stock)["half generated in rare classes alone"]().pairs
    assert {pairs.dx(row) for row in range(len(stock.real), len(pairs))} == {"mel", "bkl"}


def test_targets_of_real_pairs_stay_and_those_of_generated_ones_change() -> None:
    stock = stock_of("classification")
    made, rows, sure = recipes(stock), np.array([0, len(stock.real)]), torch.eye(3)[:2]
    for name, target in (
        ("labels of generated pairs smoothed", [SMOOTHED / 3, 1 - SMOOTHED + SMOOTHED / 3, SMOOTHED / 3]),
        (f"generated pairs weigh {WORTH:g} in the loss", [0.0, WORTH, 0.0]),
    ):
        change = made[name]().regime.retarget
        assert change is not None
        changed = change(sure, rows)
        assert torch.equal(changed[0], sure[0])
        assert changed[1].tolist() == pytest.approx(target)


def test_pairs_chosen_by_a_real_model_keep_the_share_of_their_class() -> None:
    stock = stock_of("classification")
    stock.__dict__["right"] = np.linspace(0, 1, len(stock.generated))
    even = recipes(stock)["50 % generated"]().regime.stages[0].weights
    for name in ("generated pairs that a model of real ones knows", CHOOSES):
        weights = recipes(stock)[name]().regime.stages[0].weights
        for label in range(3):
            own = len(stock.real) + np.flatnonzero(stock.generated.labels == label)
            assert weights[own].sum() == pytest.approx(even[own].sum())
            assert weights[own].std() > even[own].std()


@pytest.mark.parametrize("task", TASKS)
def test_every_recipe_is_trained_once_and_has_figures(
    task: Task, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    stock, chosen = stock_of(task), ("real pairs alone", "labels of generated pairs smoothed", CHOOSES)
    made = {name: recipe for name, recipe in recipes(stock).items() if name in chosen}
    monkeypatch.setattr("evaluate.studies.recipes.recipes", lambda _: made)
    rows = list(compare_recipes(stock, tmp_path))
    assert len(rows) == len(chosen)
    decides, other = ("macro_f1", "dice") if task == "classification" else ("dice", "macro_f1")
    assert all(0 <= (row.figures[decides] or 0) <= 1 and row.figures[other] is None for row in rows)
    monkeypatch.setattr("evaluate.studies.recipes.new_model", None)  # What is finished trains nothing.
    assert list(compare_recipes(stock, tmp_path)) == rows
