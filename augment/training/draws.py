"""Which pairs the denoiser is trained on, in which view, and what it is told of each."""

from __future__ import annotations

from collections.abc import Callable
from dataclasses import dataclass, field, replace

import numpy as np
import torch
from torch import Tensor

from augment.prompts import ZOOMS, prompt_for, zoomed
from augment.training.latents import DIHEDRAL, LatentCache, zoom_steps

ClassPrompt = Callable[[str | None], str]


def real_prompt(dx: str | None) -> str:
    """The prompt of a photographed class; the empty one for None."""
    return "" if dx is None else prompt_for(dx)


@dataclass(frozen=True)
class PromptedPairs:
    """A latent cache (N pairs, V views) and the prompts that belong to it.

    prompt_of: the prompt of a class, and of no class in particular for None, which a pair gets where its prompt is
    dropped; held: the latents on the device that trains, if they were brought there.
    """

    cache: LatentCache
    prompt_of: ClassPrompt = real_prompt
    held: Tensor | None = None
    chances: np.ndarray = field(init=False)
    zooms: np.ndarray = field(init=False)

    def __post_init__(self) -> None:
        object.__setattr__(self, "chances", class_weights(self.cache.labels, len(self.cache.classes)))
        object.__setattr__(self, "zooms", zoom_steps(*self.cache.latents.shape[:2]))

    def on(self, device: torch.device) -> PromptedPairs:
        """These pairs with their latents on a GPU, where they take less than half of its free memory."""
        if device.type == "cpu" or 2 * self.cache.latents.nbytes > torch.cuda.mem_get_info(device)[0]:
            return self
        return replace(self, held=torch.from_numpy(np.array(self.cache.latents)).to(device))

    @property
    def prompts(self) -> list[str]:
        """Every prompt of these pairs: by step of zoom, the classes in their order and then none."""
        told = [self.prompt_of(dx) for dx in (*self.cache.classes, None)]
        return [zoomed(prompt, zoom) for zoom in range(len(ZOOMS)) for prompt in told]

    def draw(self, numbers: np.random.Generator, count: int, whole: float, dropout: float) -> tuple[Tensor, np.ndarray]:
        """Latents (count, C + M, h, w) and the numbers (count,) of their prompts.

        whole: chance of a whole view; dropout: chance that a class is not told.
        """
        indices = numbers.choice(len(self.chances), count, p=self.chances)
        views = numbers.integers(0, DIHEDRAL, count)
        crops = self.cache.latents.shape[1] - DIHEDRAL
        if crops > 0:
            cropped = DIHEDRAL + numbers.integers(0, crops, count)
            views = np.where(numbers.random(count) < whole, views, cropped)
        views = views % self.cache.latents.shape[1]
        classes = len(self.cache.classes)
        said = np.where(numbers.random(count) < dropout, classes, self.cache.labels[indices])
        if self.held is None:
            latents = self.cache.batch(indices, views)
        else:
            latents = self.held[torch.from_numpy(indices), torch.from_numpy(views)].float()
        return latents, self.zooms[indices, views] * (classes + 1) + said


@dataclass(frozen=True)
class TrainingPairs:
    """Photographed pairs and, as a share of those drawn, pairs of a phantom."""

    real: PromptedPairs
    drawn: PromptedPairs | None = None
    drawn_share: float = 0.0

    def on(self, device: torch.device) -> TrainingPairs:
        """As `PromptedPairs.on`."""
        return replace(self, real=self.real.on(device), drawn=self.drawn.on(device) if self.drawn else None)

    @property
    def prompts(self) -> list[str]:
        """Every prompt, the photographed pairs' first."""
        return self.real.prompts + (self.drawn.prompts if self.drawn else [])

    def draw(self, numbers: np.random.Generator, count: int, whole: float, dropout: float) -> tuple[Tensor, np.ndarray]:
        """As `PromptedPairs.draw`, the numbers into `prompts`."""
        if self.drawn is None:
            return self.real.draw(numbers, count, whole, dropout)
        drawn = int(numbers.binomial(count, self.drawn_share))
        first, said = self.real.draw(numbers, count - drawn, whole, dropout)
        second, more = self.drawn.draw(numbers, drawn, whole, dropout)
        # In random order, since the noise levels of a batch rise along it.
        order = numbers.permutation(count)
        return torch.cat([first, second])[torch.from_numpy(order)], np.concatenate(
            [said, more + len(self.real.prompts)]
        )[order]


def class_weights(labels: np.ndarray, classes: int) -> np.ndarray:
    """Probability (N,) of each pair when classes are drawn by the square root of their size."""
    counts = np.bincount(labels, minlength=classes)
    weight = 1 / np.sqrt(np.maximum(counts, 1))[labels]
    return weight / weight.sum()
