"""Pairs in memory: the one form in which images, masks and classes travel between the packages."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass, replace
from typing import TYPE_CHECKING

if TYPE_CHECKING:
    import numpy as np


@dataclass(frozen=True)
class PairArrays:
    """N pairs of one size.

    images: uint8 (N, H, W, 3) RGB; masks: bool (N, H, W); labels: int64 (N,), an index into `classes`,
    -1 where the class is unknown; group_ids: the lesion, patient or near-duplicate cluster of each pair.
    The arrays may be memory-mapped and must not be written to.
    """

    pair_ids: list[str]
    images: np.ndarray
    masks: np.ndarray
    labels: np.ndarray
    classes: tuple[str, ...]
    group_ids: list[str]

    def __len__(self) -> int:
        return len(self.pair_ids)

    def dx(self, index: int) -> str:
        """Class code of pair `index`."""
        return self.classes[int(self.labels[index])]

    def select(self, indices: Sequence[int] | np.ndarray) -> PairArrays:
        """The pairs at `indices`, in that order, repeated where an index repeats."""
        chosen = [int(i) for i in indices]
        return replace(
            self,
            pair_ids=[self.pair_ids[i] for i in chosen],
            images=self.images[chosen],
            masks=self.masks[chosen],
            labels=self.labels[chosen],
            group_ids=[self.group_ids[i] for i in chosen],
        )

    def of_class(self, dx: str) -> PairArrays:
        """The pairs of class `dx`, in their order."""
        label = self.classes.index(dx)
        return self.select([i for i in range(len(self)) if self.labels[i] == label])

    def concatenate(self, other: PairArrays) -> PairArrays:
        """These pairs followed by `other`, which must have the same classes and size."""
        import numpy as np

        if other.classes != self.classes:
            raise ValueError(f"classes differ: {self.classes} and {other.classes}")
        return replace(
            self,
            pair_ids=self.pair_ids + other.pair_ids,
            images=np.concatenate([self.images, other.images]),
            masks=np.concatenate([self.masks, other.masks]),
            labels=np.concatenate([self.labels, other.labels]),
            group_ids=self.group_ids + other.group_ids,
        )
