"""A full GPU costs time, not pairs: fewer at once, the same ones."""

from __future__ import annotations

import numpy as np
import pytest
import torch

from augment.base.memory import MemoryBatch
from manifests.errors import EvendermError


def doubled_in(memory: MemoryBatch, values: np.ndarray, largest: int) -> np.ndarray:
    def work(part: np.ndarray) -> np.ndarray:
        if len(part) > largest:
            raise torch.OutOfMemoryError("CUDA out of memory")
        return 2 * part

    return np.concatenate(memory.fit(lambda: [work(values[part]) for part in memory.parts(len(values))]))


@pytest.mark.parametrize("count", [1, 5, 16, 33])
@pytest.mark.parametrize("largest", [1, 3, 40])
def test_what_does_not_fit_at_once_is_made_in_parts(count: int, largest: int) -> None:
    memory = MemoryBatch("vae", "do something")
    assert np.array_equal(doubled_in(memory, np.arange(count), largest), 2 * np.arange(count))


def test_nothing_is_parted_where_all_fits() -> None:
    assert MemoryBatch("vae", "do something").parts(50) == [slice(0, 50)]
    assert MemoryBatch("unet", "do something", 32).parts(50) == [slice(0, 32), slice(32, 64)]


def test_halving_is_said_once_and_remembered(caplog: pytest.LogCaptureFixture) -> None:
    memory = MemoryBatch("vae", "do something")
    for _ in range(3):
        doubled_in(memory, np.arange(8), 4)
    assert len(caplog.records) == 1 and "4 pairs at a time, same samples" in caplog.text


def test_one_pair_that_does_not_fit_is_one_sentence() -> None:
    with pytest.raises(EvendermError, match="vae: one pair does not fit the GPU's memory; take a smaller base"):
        doubled_in(MemoryBatch("vae", "take a smaller base"), np.arange(8), 0)
