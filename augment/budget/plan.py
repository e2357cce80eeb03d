"""Steps, rank and rate of an adapter from its number of pairs; what the settings say goes before."""

from __future__ import annotations

import math
from collections.abc import Mapping
from typing import Any

from augment.settings import AdaptSettings

RARE = 60
"""Training pairs below which a class is rare: an adapter of it copies if nothing holds it."""
_RATE, _RANK = 1e-3, 16  # for the shipped base and a class of a hundred pairs or more
_MASKLESS_STEPS = 1000  # of the domain adapter that teaches a base its mask channels
_HELD_OUT = 3  # pairs or so: the loss of one says nothing about when to stop
_STEPS_A_SECOND = 5.0  # of 16 pairs, for the shipped base on one core of a processor


class Budget(AdaptSettings):
    """Settings of one adapter, with a number for each that may be left to the data."""

    steps: int
    learning_rate: float
    rank: int
    alpha: int
    prior_share: float


def budgeted(
    settings: AdaptSettings, pairs: int, domain: bool, joint: bool, start: Mapping[str, Any] | None = None
) -> Budget:
    """`settings` with numbers for what they leave to the data.

    pairs: training pairs; domain: whether this is the domain adapter; joint: whether the base has mask channels;
    start: the LoRA config of the adapter that this one begins as a copy of, whose rank it keeps.
    """
    own, rare = settings.domain_steps if domain else settings.steps, not domain and pairs < RARE
    steps = own or (_domain_steps(pairs, joint) if domain else _rounded(min(20 * math.sqrt(pairs), 300)))
    rank = int(start["r"]) if start else settings.rank or (_RANK if domain or pairs >= 100 else 8 if pairs >= 30 else 4)
    share = settings.prior_share if settings.prior_share is not None else 0.25 if rare else 0.0
    changed: dict[str, Any] = {
        "steps": steps,
        "rank": rank,
        "alpha": int(start["lora_alpha"]) if start else settings.alpha or rank,
        "learning_rate": settings.learning_rate or _RATE * (1.0 if domain else min(1.0, math.sqrt(pairs / 100))),
        "prior_share": share if joint or not domain else 0.0,  # a base without mask channels draws no pairs
    }
    if own is None:  # looked at four times at least, so that it can stop early
        changed["validate_every"] = min(settings.validate_every, max(5, steps // 4))
    if rare and own is None:
        changed["holdout"] = min(0.3, max(settings.holdout, _HELD_OUT / pairs))
    return Budget(**{**settings.model_dump(), **changed})


def _domain_steps(pairs: int, joint: bool) -> int:
    return _rounded(min(max(25 * math.sqrt(pairs), 100), 600)) if joint else _MASKLESS_STEPS


def _rounded(steps: float) -> int:
    return 10 * round(steps / 10)


def told(name: str, settings: Budget, pairs: int) -> str:
    """What the training of one adapter will do."""
    line = f"{name}: {settings.steps} steps at most on {pairs} pairs, rank {settings.rank}, rate "
    line += f"{settings.learning_rate:.2g}"
    return f"{line}, {100 * settings.prior_share:.0f} % of each batch drawn before it" if settings.prior_share else line


def minutes_of(settings: Budget) -> float:
    """About how long these steps take with the shipped base on one core."""
    return settings.steps * settings.batch / 16 / _STEPS_A_SECOND / 60
