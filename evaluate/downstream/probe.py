"""The linear probe that the last layer of a pretrained network starts from.

Source: Kumar et al., "Fine-Tuning can Distort Pretrained Features and Underperform Out-of-Distribution" (2022).
"""

from __future__ import annotations

from typing import TYPE_CHECKING

from evaluate.downstream.training import Regime, draw_plan

if TYPE_CHECKING:
    import numpy as np
    from torch import Tensor, nn

SHRINKAGE = 0.1
"""Penalty of squared weights, for features of unit variance."""
_ITERATIONS = 100


def probe_plan(regime: Regime, draws: int, batch_size: int, seed: int) -> np.ndarray:
    """Indices of the pairs whose features a probe sees, (batches, batch_size), drawn as the arm draws them."""
    return draw_plan(regime, max(1, round(draws / batch_size)), batch_size, seed)


def fit_probe(layer: nn.Linear, features: Tensor, targets: Tensor, class_weights: Tensor | None = None) -> None:
    """Set `layer` to the ridge-penalised softmax regression of targets (N, C) on features (N, D), in place."""
    import torch
    from torch.nn.functional import cross_entropy

    with torch.no_grad():
        layer.weight.zero_()
        layer.bias.zero_()
    mean, scale = features.mean(dim=0), features.std().clamp(min=1e-6)
    scaled = (features - mean) / scale
    optimiser = torch.optim.LBFGS(layer.parameters(), max_iter=_ITERATIONS, line_search_fn="strong_wolfe")

    def loss() -> Tensor:
        optimiser.zero_grad()
        value = cross_entropy(layer(scaled), targets, weight=class_weights) + SHRINKAGE * layer.weight.square().sum()
        value.backward()
        return value

    optimiser.step(loss)
    optimiser.zero_grad(set_to_none=True)
    with torch.no_grad():
        layer.weight.div_(scale)
        layer.bias.sub_(layer.weight @ mean)
