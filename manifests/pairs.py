"""Pairs in memory: the one form in which images, masks and classes travel between the packages."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from dataclasses import dataclass, field, replace
from typing import TYPE_CHECKING

if TYPE_CHECKING:
    import numpy as np


@dataclass(frozen=True)
class PairArrays:
    """N pairs of one size.

    images: uint8 (N, H, W, 3) RGB; masks: bool (N, H, W); labels: int64 (N,), an index into `classes`,
    -1 where the class is unknown; group_ids: the lesion, patient or near-duplicate cluster of each pair.
    attributes: what is known of each pair's person and site, by names of manifests.schema.ATTRIBUTES; empty where
    nobody asked. predicted: bool (N,), whether a segmenter found the mask; None where none did. The arrays may be
    memory-mapped and must not be written to.
    """

    pair_ids: list[str]
    images: np.ndarray
    masks: np.ndarray
    labels: np.ndarray
    classes: tuple[str, ...]
    group_ids: list[str]
    attributes: list[Mapping[str, str]] = field(default_factory=list)
    predicted: np.ndarray | None = None

    def __len__(self) -> int:
        return len(self.pair_ids)

    def dx(self, index: int) -> str:
        """Class code of pair `index`."""
        return self.classes[int(self.labels[index])]

    def attributes_of(self, index: int) -> Mapping[str, str]:
        """What is known of the person and site of pair `index`."""
        return self.attributes[index] if self.attributes else {}

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
            attributes=[self.attributes[i] for i in chosen] if self.attributes else [],
            predicted=None if self.predicted is None else self.predicted[chosen],
        )

    def of_class(self, dx: str) -> PairArrays:
        """The pairs of class `dx`, in their order."""
        label = self.classes.index(dx)
        return self.select([i for i in range(len(self)) if self.labels[i] == label])

    def masked(self) -> PairArrays:
        """The pairs that have a mask; one that is missing, or found and doubtful, is empty here."""
        there = [i for i in range(len(self)) if self.masks[i].any()]
        return self if len(there) == len(self) else self.select(there)

    def given(self) -> PairArrays:
        """The pairs whose mask came with the data: those that may judge a segmenter."""
        masked = self.masked()
        if masked.predicted is None or not masked.predicted.any():
            return masked
        return masked.select([i for i in range(len(masked)) if not masked.predicted[i]])

    def concatenate(self, other: PairArrays) -> PairArrays:
        """These pairs followed by `other`, which must have the same classes and size."""
        import numpy as np

        if other.classes != self.classes:
            raise ValueError(f"classes differ: {self.classes} and {other.classes}")
        both = [pairs.attributes_of(i) for pairs in (self, other) for i in range(len(pairs))]
        return replace(
            self,
            pair_ids=self.pair_ids + other.pair_ids,
            images=np.concatenate([self.images, other.images]),
            masks=np.concatenate([self.masks, other.masks]),
            labels=np.concatenate([self.labels, other.labels]),
            group_ids=self.group_ids + other.group_ids,
            attributes=both if self.attributes or other.attributes else [],
            predicted=self._predicted_with(other),
        )

    def _predicted_with(self, other: PairArrays) -> np.ndarray | None:
        import numpy as np

        if self.predicted is None and other.predicted is None:
            return None
        parts = [np.zeros(len(p), bool) if p.predicted is None else p.predicted for p in (self, other)]
        return np.concatenate(parts)
