"""How many pairs go through a model at once: halved, and said, when a GPU's memory is full."""

from __future__ import annotations

import logging
from collections.abc import Callable, Sequence
from typing import TypeVar

import torch
from torch import Tensor

from manifests.errors import EvendermError

_LOG = logging.getLogger(__name__)
Made = TypeVar("Made")


class MemoryBatch:
    """The largest number of pairs at once that has fitted so far.

    size: to begin with, None for as many as there are; what: is in the way when a single pair does not fit, and
    remedy: what to do then.
    """

    def __init__(self, what: str, remedy: str, size: int | None = None) -> None:
        self.size = size
        self._what, self._remedy = what, remedy
        self._at_once = size or 1

    def parts(self, count: int) -> list[slice]:
        """Slices of range(count), none longer than what fits; one for all where nothing was ever halved."""
        self._at_once = min(self.size or count, count)
        return [slice(start, start + self._at_once) for start in range(0, count, self._at_once)]

    def fit(self, attempt: Callable[[], Made]) -> Made:
        """What `attempt` gives, which asks `parts` what to do at once; repeated with half of it until it fits.

        An attempt must draw the same samples and seeds however often it is made. EvendermError if one pair does
        not fit.
        """
        while True:
            try:
                return attempt()
            except torch.OutOfMemoryError:
                if self._at_once == 1:
                    sentence = f"{self._what}: one pair does not fit the GPU's memory; {self._remedy}"
                    raise EvendermError(sentence) from None
            # After the handler: what the failed attempt held in memory hangs on its traceback.
            self.size = self._at_once // 2
            torch.cuda.empty_cache()
            pairs = "one pair" if self.size == 1 else f"{self.size} pairs"
            _LOG.warning("GPU memory is full: going on with %s at a time, same samples", pairs)


def joined(parts: Sequence[Tensor]) -> Tensor:
    """The parts of a batch as one tensor; a single part as it is, memory format and all."""
    return parts[0] if len(parts) == 1 else torch.cat(list(parts))
