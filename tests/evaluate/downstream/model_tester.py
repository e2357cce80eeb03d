"""What every model that learns from pairs promises: a new one passes by saying how it is made."""

from __future__ import annotations

from abc import ABC, abstractmethod
from pathlib import Path
from typing import Any

import numpy as np
import pytest

from manifests.errors import BadInput
from manifests.pairs import PairArrays
from tests.evaluate.downstream.small_trainings import TEST


class ModelTester(ABC):
    """weights: the file that damage is done to; refusal: what the sentence about it says."""

    weights: str
    refusal: str

    @abstractmethod
    def fitted(self, seed: int) -> Any:
        """The model after a short training on TRAIN."""

    @abstractmethod
    def load(self, folder: Path) -> Any:
        """What `save` wrote."""

    @abstractmethod
    def answers(self, model: Any, pairs: PairArrays) -> np.ndarray:
        """Probabilities (N, ...) of `pairs`."""

    @abstractmethod
    def score(self, answers: np.ndarray, pairs: PairArrays) -> float:
        """How right the answers are, 1 at best."""

    @abstractmethod
    def losses(self) -> list[float]:
        """Losses from the beginning to the end of a training on TRAIN."""

    def test_it_fits_what_it_has_not_seen(self) -> None:
        found = self.answers(self.fitted(3), TEST)
        assert len(found) == len(TEST) and found.dtype == np.float32
        assert (found >= 0).all() and (found <= 1).all()
        assert self.score(found, TEST) > 0.6

    def test_its_loss_falls(self) -> None:
        losses = self.losses()
        assert losses[-1] < 0.9 * losses[0]

    def test_the_same_seed_gives_the_same_answers_and_another_seed_others(self) -> None:
        first, again, other = (self.answers(self.fitted(seed), TEST) for seed in (3, 3, 4))
        np.testing.assert_array_equal(first, again)
        assert not np.array_equal(first, other)

    def test_it_answers_the_same_after_saving_and_loading(self, tmp_path: Path) -> None:
        model = self.fitted(3)
        model.save(tmp_path)
        np.testing.assert_array_equal(self.answers(self.load(tmp_path), TEST), self.answers(model, TEST))

    def test_missing_and_damaged_weights_are_one_sentence(self, tmp_path: Path) -> None:
        with pytest.raises(BadInput, match=self.refusal):
            self.load(tmp_path)
        self.fitted(3).save(tmp_path)
        (tmp_path / self.weights).write_bytes(b"not weights")
        with pytest.raises(BadInput, match=self.refusal):
            self.load(tmp_path)
