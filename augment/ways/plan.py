"""Which way each candidate is drawn, and what is kept of where it came from."""

from __future__ import annotations

import hashlib
from collections.abc import Mapping
from dataclasses import dataclass

import numpy as np

from augment.settings import WAYS, SynthesisSettings
from manifests.errors import BadInput

TEXT, VARIATION, SKIN, OUTLINE = WAYS
Mix = tuple[tuple[str, float], ...]


@dataclass(frozen=True)
class Origin:
    """What a candidate was drawn from.

    source_pair_id: the real pair whose picture it began at or was painted into; mask_pair_id: whose mask it follows;
    detail_pair_id: whose fine detail it bears; noise_level: share of the noise that drawing began at; region: what was
    drawn, the whole `pair`, the `image` alone or the `lesion` alone.
    """

    way: str = TEXT
    source_pair_id: str | None = None
    mask_pair_id: str | None = None
    detail_pair_id: str | None = None
    noise_level: float = 1.0
    region: str = "pair"


@dataclass(frozen=True)
class WayPlan:
    """How the candidates of one class are drawn.

    mix: ways and their shares, which add up to 1; levels: of variations, each as often as the others; skin_level: of
    lesions painted into skin; source_digest: of the real pairs ("" where text is the only way).
    """

    mix: Mix = ((TEXT, 1.0),)
    levels: tuple[float, ...] = ()
    skin_level: float = 1.0
    source_digest: str = ""

    def way(self, numbers: np.random.Generator) -> str:
        """The way of the candidate whose random numbers these are."""
        reached = np.cumsum([share for _, share in self.mix])
        place = int(np.searchsorted(reached, numbers.random() * reached[-1], side="right"))
        return self.mix[min(place, len(self.mix) - 1)][0]


FROM_TEXT = WayPlan()


def candidate_numbers(seed: int, dx: str, index: int) -> np.random.Generator:
    """Random numbers of one candidate, whatever others are drawn beside it: its way first, then its source."""
    digest = hashlib.sha256(f"way/{seed}/{dx}/{index}".encode()).digest()
    return np.random.default_rng(int.from_bytes(digest[:8], "big"))


def takes(ways: Mapping[str, float | Mapping[str, float]], way: str) -> bool:
    """Whether any class is drawn in `way` at all."""
    return any(mix.get(way, 0) for mix in (ways, *ways.values()) if isinstance(mix, Mapping))


def mix_of(ways: Mapping[str, float | Mapping[str, float]], dx: str) -> Mix:
    """The ways of class `dx` with shares that add up to 1: its own mix, else the one that is for every class."""
    own = ways.get(dx)
    found = own if isinstance(own, Mapping) else {way: share for way, share in ways.items() if way in WAYS}
    shares = {way: share for way in WAYS if isinstance(share := found.get(way, 0.0), int | float) and share > 0}
    total = sum(shares.values())
    return tuple((way, share / total) for way, share in shares.items()) if total else ((TEXT, 1.0),)


def plan_of(settings: SynthesisSettings, dx: str, classes: Mapping[str, int], source_digest: str) -> WayPlan:
    """The plan of class `dx`; classes: real training pairs with a mask by class.

    Raises BadInput if `synthesis.ways` names a class that the run has not, or asks for the skin of other classes
    where there is none.
    """
    for name, share in settings.ways.items():
        if isinstance(share, Mapping) and name not in classes:
            raise BadInput(f"synthesis.ways: {name!r} is no class of this run; name one of {', '.join(classes)}")
    mix = mix_of(settings.ways, dx)
    ways = [way for way, _ in mix]
    if SKIN in ways and not any(count for other, count in classes.items() if other != dx):
        raise BadInput(
            f"synthesis.ways: {SKIN} paints {dx} into pictures of other classes, and no other class has a training "
            "pair with a mask; leave it out"
        )
    return WayPlan(
        mix,
        settings.variation_levels if VARIATION in ways else (),
        settings.skin_level if SKIN in ways else 1.0,
        source_digest if ways != [TEXT] else "",
    )
