"""A class adapter at a lower rank: its best approximation (Eckart and Young 1936), without training another."""

from __future__ import annotations

from dataclasses import replace
from typing import TYPE_CHECKING

if TYPE_CHECKING:
    from torch import Tensor

    from augment.adapters import AdapterFile

_DOWN, _UP = "lora_A", "lora_B"


def at_rank(adapter: AdapterFile, rank: int) -> AdapterFile:
    """The adapter with every LoRA product reduced to `rank` by singular values; all else stays.

    The tensors keep their shapes, filled up with zeros, so that the file's own configuration still fits.
    """
    tensors = dict(adapter.tensors)
    for name in adapter.tensors:
        if _DOWN in name:
            up = name.replace(_DOWN, _UP)
            tensors[name], tensors[up] = _reduced(adapter.tensors[name], adapter.tensors[up], rank)
    return replace(adapter, tensors=tensors)


def _reduced(down: Tensor, up: Tensor, rank: int) -> tuple[Tensor, Tensor]:
    """`up @ down` at `rank`, split again; down: (r, in), up: (out, r)."""
    import torch

    left, values, right = torch.linalg.svd(up @ down, full_matrices=False)
    kept = min(rank, len(down))
    fewer_down, fewer_up = torch.zeros_like(down), torch.zeros_like(up)
    fewer_down[:kept] = right[:kept]
    fewer_up[:, :kept] = left[:, :kept] * values[:kept]
    return fewer_down, fewer_up
