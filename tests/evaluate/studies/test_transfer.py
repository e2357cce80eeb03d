"""What is learned from generated pairs stands beside as many real ones, class by class in equal numbers."""

from __future__ import annotations

import numpy as np
import pytest

from evaluate.settings.training import ClassifierSettings, SegmenterSettings
from evaluate.studies.transfer import TransferSettings, dice_of, in_equal_numbers, mean_over, transfer_rows
from manifests.errors import BadInput
from tests.evaluate.drawn_pairs import drawn_pairs

SMALL = TransferSettings(
    ClassifierSettings(model="test_resnet", updates=3, batch_size=8, size=32, checks=1, device="cpu"),
    SegmenterSettings(encoder="tu-test_resnet", updates=3, batch_size=8, size=32, checks=1, device="cpu"),
    seeds=1,
)


def test_both_sides_are_learned_from_in_equal_numbers() -> None:
    real = drawn_pairs({"nv": 9, "mel": 6, "bkl": 5}, size=32)
    generated = drawn_pairs({"nv": 4, "mel": 4, "bkl": 4}, seed=1, size=32)
    test = drawn_pairs({"nv": 3, "mel": 3, "bkl": 3}, seed=2, size=32)
    rows, of_real = transfer_rows(real, generated, test, SMALL)
    assert [row.figure for row in rows] == ["macro-F1 learned from it", "Dice learned from it"]
    assert all(row.count == 12 and row.value is not None and 0 <= row.value <= 1 for row in rows)
    assert rows[1].floor == mean_over(of_real.segmenters, test, dice_of)
    same, _ = transfer_rows(real, real, real, SMALL)
    assert all(row.value == row.floor for row in same)


def test_a_selection_has_every_class_alike_and_follows_from_its_seed() -> None:
    pairs = drawn_pairs({"nv": 7, "mel": 5, "bkl": 3}, size=32)
    chosen, again, other = (in_equal_numbers(pairs, 3, seed) for seed in (0, 0, 1))
    assert np.bincount(chosen.labels).tolist() == [3, 3, 3]
    assert chosen.pair_ids == again.pair_ids != other.pair_ids


def test_a_class_without_pairs_is_one_sentence() -> None:
    real, none = drawn_pairs({"nv": 3, "mel": 3, "bkl": 3}, size=32), drawn_pairs({"nv": 3, "mel": 3}, size=32)
    with pytest.raises(BadInput, match="no pair to learn from"):
        transfer_rows(real, none, real, SMALL)
