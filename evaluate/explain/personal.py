"""A person's own picture as a diagnosis would look: drawn anew inside the lesion's outline, the skin as it was.

Two things make the condition show. The denoiser is guided away from the diagnosis that competes, not from an empty
prompt (contrastive guidance, as in the negative prompts of Ho and Salimans 2022), and of several draws the one is
kept that the run's own diagnosing ensemble finds most like the class.
"""

from __future__ import annotations

import copy
from dataclasses import dataclass
from typing import TYPE_CHECKING

import numpy as np

from augment.prompts import prompt_for
from evaluate.explain.demonstrations import ClassSampler, Demonstration, Likeness, seed_for

if TYPE_CHECKING:
    from augment.sampling import PairSampler
    from evaluate.settings.explain import ExplainSettings

_FINE = 1.25  # pixels of the generator; structure finer than this is beyond what it draws
_GUIDED_ABOVE = 0.4  # a picture that begins in the middle of the noise is guided further down than one from noise alone


@dataclass(frozen=True)
class Manner:
    """How a picture is changed. strength: share of the noise that it starts from; guidance: towards the class;
    tries: draws of which one is kept; detail: share of the picture's own fine structure that is put back."""

    strength: float
    guidance: float = 2.0
    tries: int = 1
    detail: float = 0.0

    @classmethod
    def of(cls, settings: ExplainSettings, strength: float | None = None) -> Manner:
        """The manner of the settings, at another strength where one is given."""
        at = settings.strength if strength is None else strength
        return cls(at, settings.guidance, settings.tries, settings.detail)


def guided(sampler: PairSampler, guidance: float, rival: str | None = None) -> PairSampler:
    """The same networks under another guidance; away from the class `rival` where one is given."""
    changed = copy.copy(sampler)
    away = {} if rival is None else {"negative_prompt": prompt_for(rival)}
    above = min(sampler.settings.guidance_above, _GUIDED_ABOVE)
    changed.settings = sampler.settings.model_copy(update={"guidance": guidance, "guidance_above": above, **away})
    return changed


def personalised(
    chosen: ClassSampler,
    dx: str,
    image: np.ndarray,
    mask: np.ndarray,
    manner: Manner,
    seed: int,
    rival: str | None = None,
    likeness: Likeness | None = None,
) -> Demonstration:
    """The image as `dx` would look: changed inside the mask alone, skin and surroundings as they were.

    image: uint8 (S, S, 3); mask: bool (S, S), not empty; rival: the class that competes with `dx`; likeness: chooses
    among the tries.
    """
    import cv2

    sampler = guided(chosen.sampler, manner.guidance, rival)
    side = (sampler.side, sampler.side)
    small = cv2.resize(image, side, interpolation=cv2.INTER_AREA)
    area = cv2.resize(mask.astype(np.uint8), side, interpolation=cv2.INTER_NEAREST).astype(bool)
    tries = manner.tries if likeness else 1
    seeds = [seed if number == 0 else seed_for("try", seed, number) for number in range(tries)]
    images, areas = (np.repeat(part[None], tries, axis=0) for part in (small, area))
    known = sampler.inside_mask(images, areas, manner.strength)
    drawn = sampler.draw([prompt_for(dx)] * tries, seeds, known, tidy=False).images
    changed = np.stack([blended(image, one, mask, manner.detail) for one in drawn])
    best, probability = 0, None
    if likeness:
        before, *after = likeness(np.concatenate([image[None], changed])).round(4).tolist()
        best = int(np.argmax(after))
        probability = (before, after[best])
    return Demonstration("personalised", dx, changed[best], mask, seeds[best], prompt_for(dx), chosen.adapter_digest,
                         manner.strength, probability=probability)  # fmt: skip


def blended(image: np.ndarray, drawn: np.ndarray, mask: np.ndarray, detail: float = 0.0) -> np.ndarray:
    """`drawn` (side, side, 3) inside the mask (S, S) of `image` uint8 (S, S, 3), its edge feathered inwards.

    Outside the mask every pixel keeps its value. detail: share of the image's own hairs and grain, finer than what
    the generator draws, that stays on the changed part, so that it is as sharp as the skin around it.
    """
    import cv2

    size = image.shape[1::-1]
    inner = cv2.resize(drawn, size, interpolation=cv2.INTER_CUBIC).astype(np.float32)
    before = image.astype(np.float32)
    if detail:
        inner += detail * (before - cv2.GaussianBlur(before, (0, 0), _FINE * image.shape[0] / drawn.shape[0]))
    feather = max(2.0, 0.02 * image.shape[0])
    distance = cv2.distanceTransform(mask.astype(np.uint8), cv2.DIST_L2, cv2.DIST_MASK_PRECISE)
    weight = np.clip(distance / feather, 0, 1)[..., None]
    mixed = before * (1 - weight) + inner * weight
    return np.clip(np.rint(mixed), 0, 255).astype(np.uint8)
