"""What one adapter is trained on: which pairs are held out, and what each pair's prompt says."""

from __future__ import annotations

import hashlib
from collections.abc import Sequence

import numpy as np

from augment.prompts import prompt_for
from manifests.pairs import PairArrays


def prompts_of(pairs: PairArrays, attributes: Sequence[str], drawn: bool = False) -> tuple[list[str], np.ndarray]:
    """Every prompt that training needs, the empty one last, and the place (N,) of each pair's own among them.

    attributes: names of those that a pair's prompt tells, where it has them. Each class has its plain prompt too.
    drawn: whether a program drew the pairs.
    """
    own = []
    for index, label in enumerate(pairs.labels):
        known = {name: value for name, value in pairs.attributes_of(index).items() if name in attributes}
        own.append(prompt_for(pairs.classes[label], known, drawn) if label >= 0 else "")
    plain = [prompt_for(dx, drawn=drawn) for dx in pairs.classes]
    every = [*dict.fromkeys(prompt for prompt in [*plain, *own] if prompt), ""]
    places = {prompt: place for place, prompt in enumerate(every)}
    return every, np.array([places[prompt] for prompt in own], dtype=np.int64)


def split_by_group(groups: Sequence[str], holdout: float) -> tuple[np.ndarray, np.ndarray]:
    """Indices to train on and to hold out; a group is on one side only, and always on the same one."""
    ordered = sorted(set(groups), key=lambda group: hashlib.sha256(group.encode()).digest())
    held = ordered[: max(1, round(holdout * len(ordered)))] if len(ordered) > 1 else []
    is_held = np.isin(groups, held)
    training = np.flatnonzero(~is_held)
    return training, np.flatnonzero(is_held) if held else training


def validation_pairs(held_out: np.ndarray) -> np.ndarray:
    """The pairs by which a training is validated, 8 to 32: few are looked at several times, each in other noise."""
    return np.resize(held_out, int(np.clip(len(held_out), 8, 32)))


def prior_places(numbers: np.random.Generator, batch: int, share: float, draws: int) -> tuple[np.ndarray, np.ndarray]:
    """Places in a batch that prior draws take, at random since noise levels rise along it, and which draw each gets."""
    count = max(1, round(share * batch))
    return numbers.choice(batch, count, replace=False), numbers.integers(0, draws, count)
