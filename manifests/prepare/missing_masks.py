"""Masks that a source lacks: found by whatever segmenter the caller hands over, once every row has its split."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass, field
from typing import Any, Protocol

import numpy as np

from manifests.format.decoding import decode_pair
from manifests.format.schema import FOUND_MASKS
from manifests.pairs import PairArrays
from manifests.png import encode_mask
from manifests.prepare.assignment import AssignedRow
from manifests.prepare.pipeline import RowSpools
from manifests.progress import Progress

MOST_TAUGHT = 2000
"""Given masks that a segmenter learns from at most, evenly spaced: more make it hardly better, and memory counts."""
TOGETHER = 32


class MaskFinder(Protocol):
    """Finds masks. said: what a manifest tells of it, with `least_confidence`; name: of who finds, in a sentence."""

    @property
    def said(self) -> dict[str, Any]: ...

    @property
    def name(self) -> str: ...

    def __call__(self, images: np.ndarray) -> tuple[np.ndarray, np.ndarray]:
        """Images uint8 (N, S, S, 3) -> masks bool (N, S, S), empty where no lesion is seen, and confidence (N,)."""


class MakeFinder(Protocol):
    """Makes a finder from what is given. side: to which pairs are scaled for it, in pixels."""

    @property
    def side(self) -> int: ...

    def __call__(self, train: PairArrays, validation: PairArrays, progress: Progress) -> MaskFinder:
        """A finder for the masks that are missing beside the given ones of two splits."""


@dataclass(frozen=True)
class FoundMasks:
    """How far each found mask is believed, 0 to 1, by the place of its row; said and name: of the finder."""

    confidence: dict[int, float] = field(default_factory=dict)
    said: dict[str, Any] = field(default_factory=dict)
    name: str = ""

    def provenance(self) -> dict[str, Any]:
        """What a manifest says of them; nothing where none was found."""
        facts = {**self.said, "found": len(self.confidence), "doubtful": self.doubtful}
        return {FOUND_MASKS: facts} if self.confidence else {}

    def notes(self) -> list[str]:
        """The same as a sentence."""
        least = self.said.get("least_confidence", 0.0)
        told = f"{self.doubtful} doubtful ones teach no adapter (mask_confidence below {least:.3f})"
        sentence = f"missing masks were found by {self.name}; {told}, and found ones never judge a segmenter"
        return [sentence] if self.confidence else []

    @property
    def doubtful(self) -> int:
        """Masks of too little confidence to teach an adapter."""
        least = self.said.get("least_confidence", 0.0)
        return sum(value < least for value in self.confidence.values())


def find_missing(
    rows: Sequence[AssignedRow], spools: RowSpools, make_finder: MakeFinder, progress: Progress
) -> FoundMasks:
    """Masks for the rows that have none, kept in `spools`; from which rows is learned depends on their order alone."""
    missing = [row for row in rows if not spools.has_mask(row.place)]
    if not missing:
        return FoundMasks()
    train, validation = (_given(rows, split, spools, make_finder.side) for split in ("train", "validation"))
    finder = make_finder(train, validation, progress)
    believed: dict[int, float] = {}
    for start in range(0, len(missing), TOGETHER):
        together = missing[start : start + TOGETHER]
        images = np.stack([decode_pair(*spools.pair(row.place), None, row.pair_id)[0] for row in together])
        masks, confidence = finder(images)
        for row, mask, value in zip(together, masks, confidence.tolist(), strict=True):
            if mask.any() and not mask.all():
                spools.add_found(row.place, encode_mask(mask))
                believed[row.place] = round(float(value), 4)
        progress(start + len(together), len(missing), step="finding masks")
    return FoundMasks(believed, finder.said, finder.name)


def _given(rows: Sequence[AssignedRow], split: str, spools: RowSpools, side: int) -> PairArrays:
    """The pairs of a split whose masks are given, at `side` px, at most MOST_TAUGHT of them."""
    chosen = [row for row in rows if row.split == split and spools.has_mask(row.place)]
    chosen = chosen[:: -(-len(chosen) // MOST_TAUGHT) or 1]
    classes = tuple(sorted({row.dx for row in chosen}))
    images, masks = np.empty((len(chosen), side, side, 3), np.uint8), np.empty((len(chosen), side, side), bool)
    for place, row in enumerate(chosen):
        images[place], masks[place] = decode_pair(*spools.pair(row.place), side, row.pair_id)
    return PairArrays(
        [row.pair_id for row in chosen],
        images,
        masks,
        np.array([classes.index(row.dx) for row in chosen], np.int64),
        classes,
        [row.group for row in chosen],
    )
