"""What depends on how far a training is: the learning rate, and how much a moving average of weights remembers."""

from __future__ import annotations

import math
from collections.abc import Iterable
from typing import TYPE_CHECKING

import numpy as np

if TYPE_CHECKING:
    from torch import Tensor


def warmed_up_cosine(step: int, steps: int, warmup: int, floor: float = 0.05) -> float:
    """Learning-rate factor: linear warm-up, then a cosine down to `floor` (Loshchilov and Hutter 2017)."""
    if step < warmup:
        return (step + 1) / warmup
    share = (step - warmup) / max(1, steps - warmup)
    return floor + (1 - floor) * 0.5 * (1 + float(np.cos(np.pi * min(share, 1.0))))


def one_cycle(progress: float, warmup: float) -> float:
    """Learning-rate factor after `progress` in [0, 1] of the updates (Smith and Topin 2018): from 1/25 up along a
    cosine for the share `warmup` of them, then down to almost nothing."""
    if progress < warmup:
        return 0.04 + 0.96 * (1 - math.cos(math.pi * progress / warmup)) / 2
    left = (1 - progress) / (1 - warmup)
    return max(1e-4, (1 - math.cos(math.pi * left)) / 2)


def linear_decay(step: int, steps: int) -> float:
    """Learning-rate factor: from 1 down to almost 0 in equal steps."""
    return 1 - step / steps


def update_average(averages: Iterable[Tensor], values: Iterable[Tensor], decay: float, updates: int) -> None:
    """Moves an exponential moving average of weights towards `values`, in place, after `updates` earlier moves.

    Early averages forget faster than by `decay`: they would remember the initial weights (Karras et al. 2024, 3.1).
    """
    move_average(averages, values, min(decay, (1 + updates) / (10 + updates)))


def move_average(averages: Iterable[Tensor], values: Iterable[Tensor], decay: float) -> None:
    """Moves `averages` towards `values`, in place; they keep the share `decay` of what they were."""
    import torch

    torch._foreach_lerp_(list(averages), list(values), 1 - decay)


def power_exponent(length: float) -> float:
    """Exponent of the power-function average whose deviation is `length` of the training (Karras et al. 2024).

    length: in (0, 0.28).
    """
    inverse = length**-2
    return float(np.roots([1, 7, 16 - inverse, 12 - inverse]).real.max())


def power_decay(length: float, seen: int, samples: int) -> float:
    """What such an average keeps of itself when `samples` come after `seen` earlier ones."""
    share: float = (seen / (seen + samples)) ** (power_exponent(length) + 1)
    return share


def warmed_up_inverse_root(step: int, seen: int, hold: int, warmup: int) -> float:
    """Learning-rate factor without a planned end: warm-up, then 1, then an inverse root (Karras et al. 2024, eq. 67).

    seen and hold: in samples; the root begins at `hold`.
    """
    return min(1.0, (step + 1) / warmup) / max(seen / hold, 1.0) ** 0.5
