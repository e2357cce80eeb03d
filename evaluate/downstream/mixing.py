"""Mixing the pairs of a batch with each other (mixup, CutMix), and averaging the weights of a network."""

from __future__ import annotations

from collections.abc import Iterable
from typing import TYPE_CHECKING

import numpy as np

from augment.training.schedules import update_average

if TYPE_CHECKING:
    from torch import Tensor, nn
    from torch.nn.modules.batchnorm import _BatchNorm
    from torch.optim.swa_utils import AveragedModel

    _Tensors = tuple[Tensor, ...] | list[Tensor]

NORM_BATCHES = 8
"""Batches from which the averaged weights get their batch statistics."""


def mix_classes(images: Tensor, targets: Tensor, rng: np.random.Generator) -> tuple[Tensor, Tensor]:
    """Mixup in half of the batches and CutMix in the other half; targets: (B, C), class shares."""
    if rng.random() < 0.5:
        return mixup(images, targets, rng)
    rows, columns = _box(images, rng)
    other = _partners(len(images), rng)
    pasted = (rows.stop - rows.start) * (columns.stop - columns.start) / (images.shape[2] * images.shape[3])
    images = images.clone()
    images[:, :, rows, columns] = images[other][:, :, rows, columns]
    return images, (1 - pasted) * targets + pasted * targets[other]


def mix_masks(images: Tensor, targets: Tensor, rng: np.random.Generator) -> tuple[Tensor, Tensor]:
    """CutMix in half of the batches, masks along with their images."""
    if rng.random() < 0.5:
        return images, targets
    rows, columns = _box(images, rng)
    other = _partners(len(images), rng)
    images, targets = images.clone(), targets.clone()
    images[:, :, rows, columns] = images[other][:, :, rows, columns]
    targets[:, :, rows, columns] = targets[other][:, :, rows, columns]
    return images, targets


def mixup(images: Tensor, targets: Tensor, rng: np.random.Generator) -> tuple[Tensor, Tensor]:
    """Blend each pair with another of the batch (Zhang et al. 2018), with Beta(.4, .4) shares."""
    share = float(rng.beta(0.4, 0.4))
    other = _partners(len(images), rng)
    return share * images + (1 - share) * images[other], share * targets + (1 - share) * targets[other]


def _box(images: Tensor, rng: np.random.Generator) -> tuple[slice, slice]:
    """A box that covers a uniformly drawn share of the image, cut at its edges (Yun et al. 2019)."""
    height, width = images.shape[2:]
    side = float(np.sqrt(1 - rng.random()))
    centre_y, centre_x = rng.random() * height, rng.random() * width
    rows = slice(max(0, int(centre_y - side * height / 2)), min(height, int(centre_y + side * height / 2)))
    columns = slice(max(0, int(centre_x - side * width / 2)), min(width, int(centre_x + side * width / 2)))
    return rows, columns


def _partners(count: int, rng: np.random.Generator) -> Tensor:
    import torch

    return torch.from_numpy(rng.permutation(count))


def moving_average(network: nn.Module, decay: float) -> AveragedModel:
    """Exponential moving average of the weights of `network`; its batch statistics come from `refresh_norms`."""
    from torch.optim.swa_utils import AveragedModel

    def blend(averages: _Tensors, values: _Tensors, updates: Tensor | int) -> None:
        update_average(averages, values, decay, int(updates))

    return AveragedModel(network, multi_avg_fn=blend)


def fix_norms(network: nn.Module) -> None:
    """Let batch norms use the statistics that they hold while the rest is in train mode."""
    for norm in _norms(network):
        norm.eval()


def refresh_norms(network: nn.Module, batches: Iterable[Tensor]) -> None:
    """Give batch norms the mean statistics of `batches`: those collected along a short training belong to
    weights long gone, and averaged weights have none of their own (Izmailov et al. 2018, section 3.2)."""
    import torch

    norms = _norms(network)
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


def _norms(network: nn.Module) -> list[_BatchNorm]:
    from torch.nn.modules.batchnorm import _BatchNorm

    return [module for module in network.modules() if isinstance(module, _BatchNorm)]
