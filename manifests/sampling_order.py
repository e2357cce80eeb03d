"""In which order a dataset is drawn: pure functions of seed and epoch, so workers cannot change it."""

from __future__ import annotations

from collections.abc import Callable, Iterator
from dataclasses import dataclass
from typing import TYPE_CHECKING

import numpy as np
from torch.utils.data import Sampler

if TYPE_CHECKING:
    from collections.abc import Sequence


@dataclass(frozen=True)
class Draw:
    """One draw of a sampler: which pair, and the seed of the random changes made to it."""

    index: int
    seed: int


Order = Callable[[np.random.Generator], np.ndarray]
"""Indices (n,) of one epoch, from the random state of that epoch."""


def shuffled(length: int) -> Order:
    """Every pair once."""
    return lambda random: random.permutation(length)


def weighted(weights: Sequence[float] | np.ndarray, draws: int | None = None) -> Order:
    """Pairs with replacement, in proportion to their weights; as many draws as there are pairs by default.

    Raises ValueError for weights that are negative, not finite or all zero.
    """
    chances = np.asarray(weights, np.float64)
    if chances.ndim != 1 or not np.isfinite(chances).all() or (chances < 0).any() or chances.sum() == 0:
        raise ValueError("weights must be finite, not negative and not all zero")
    chances = chances / chances.sum()
    return lambda random: random.choice(len(chances), draws or len(chances), p=chances)


def balanced(labels: Sequence[int] | np.ndarray, draws: int | None = None) -> Order:
    """Every class equally often, to within one draw; inside a class every pair before any comes again.

    Pairs of unknown class (label -1) are not drawn. Raises ValueError if there is no labelled pair.
    """
    known = np.asarray(labels)
    members = [np.flatnonzero(known == label) for label in np.unique(known[known >= 0])]
    if not members:
        raise ValueError("no pair has a class to balance")
    total = draws or len(known)

    def order(random: np.random.Generator) -> np.ndarray:
        share, extra = divmod(total, len(members))
        favoured = set(random.permutation(len(members))[:extra].tolist())
        chosen = [
            _repeated_permutations(random, rows, share + (number in favoured)) for number, rows in enumerate(members)
        ]
        return random.permutation(np.concatenate(chosen))

    return order


class SeededSampler(Sampler[Draw]):
    """Draws for a DataLoader; call `set_epoch` before each epoch, as with torch's distributed sampler."""

    def __init__(self, order: Order, seed: int) -> None:
        self.order = order
        self.seed = seed
        self.epoch = 0
        self._length: int | None = None

    def set_epoch(self, epoch: int) -> None:
        """Choose the epoch whose draws come next."""
        self.epoch = epoch

    def __len__(self) -> int:
        if self._length is None:
            self._length = len(self._indices(0))
        return self._length

    def __iter__(self) -> Iterator[Draw]:
        for position, index in enumerate(self._indices(self.epoch)):
            yield Draw(int(index), _draw_seed(self.seed, self.epoch, position))

    def _indices(self, epoch: int) -> np.ndarray:
        return self.order(np.random.default_rng([self.seed, epoch]))


def _draw_seed(seed: int, epoch: int, position: int) -> int:
    """A seed of its own for every draw of every epoch."""
    return int(np.random.SeedSequence([seed, epoch, position]).generate_state(1, np.uint64)[0])


def _repeated_permutations(random: np.random.Generator, rows: np.ndarray, draws: int) -> np.ndarray:
    rounds = -(-draws // len(rows))
    return np.concatenate([random.permutation(rows) for _ in range(max(rounds, 1))])[:draws]
