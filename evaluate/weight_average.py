"""The moving average of a network's weights, and batch statistics that fit it."""

from __future__ import annotations

from collections.abc import Iterable
from typing import TYPE_CHECKING

if TYPE_CHECKING:
    import torch
    from torch import Tensor, nn

    _Tensors = tuple[Tensor, ...] | list[Tensor]

NORM_BATCHES = 8
"""Batches from which the averaged weights get their batch statistics."""


def moving_average(network: nn.Module, decay: float) -> torch.optim.swa_utils.AveragedModel:
    """Exponential moving average of the weights; the decay grows with the updates so that the random start is
    forgotten. Batch statistics are not averaged: `refresh_norms` makes them."""
    import torch

    def blend(averages: _Tensors, values: _Tensors, updates: Tensor | int) -> None:
        now = min(decay, (1.0 + float(updates)) / (10.0 + float(updates)))
        torch._foreach_lerp_(list(averages), list(values), 1 - now)

    return torch.optim.swa_utils.AveragedModel(network, multi_avg_fn=blend)


def refresh_norms(network: nn.Module, batches: Iterable[Tensor]) -> None:
    """Give batch norms the mean statistics of `batches`: those collected along a short training belong to
    weights long gone, and averaged weights have none of their own (Izmailov et al. 2018, section 3.2)."""
    import torch
    from torch.nn.modules.batchnorm import _BatchNorm

    norms = [module for module in network.modules() if isinstance(module, _BatchNorm)]
    if not norms:
        return
    momenta = [norm.momentum for norm in norms]
    for norm in norms:
        norm.reset_running_stats()
        norm.momentum = None  # a plain mean over the batches
    network.train()
    with torch.no_grad():
        for batch in batches:
            network(batch)
    network.eval()
    for norm, momentum in zip(norms, momenta, strict=True):
        norm.momentum = momentum
