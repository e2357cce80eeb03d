"""Candidates drawn in the ways of their plan: each from its own random numbers, a batch of one kind at a time."""

from __future__ import annotations

from collections import defaultdict
from collections.abc import Sequence
from dataclasses import dataclass, replace

import numpy as np
import torch

from augment.fine_detail import FineDetail, with_fine_band
from augment.sampling import Drawn, Known, PairSampler
from augment.training.latents import DIHEDRAL, dihedral
from augment.ways.outlines import turned_and_bent
from augment.ways.painting import drawn_region, joined, lesion_over_skin, placed, touches_frame
from augment.ways.plan import OUTLINE, SKIN, TEXT, VARIATION, Origin, WayPlan, candidate_numbers
from manifests.pairs import PairArrays
from manifests.progress import Progress, no_progress

_OUTLINES = 8  # outlines of the class among which one is taken that lies within the frame
_ROUNDS = 2  # through each noise level of a painted lesion: with one it runs over its outline
_BACKGROUNDS = 8  # pictures of other classes among which the one is taken that keeps most of its own skin


@dataclass(frozen=True)
class WaySources:
    """Real training pairs with masks at the sampler's side: of the class itself, and of all other classes."""

    own: PairArrays
    others: PairArrays

    @classmethod
    def of(cls, pairs: PairArrays, dx: str) -> WaySources:
        """Those of class `dx` among the training pairs of every class."""
        label = pairs.classes.index(dx)
        own = np.flatnonzero(pairs.labels == label)
        others = np.flatnonzero((pairs.labels != label) & (pairs.labels >= 0))
        return cls(pairs.select(own), pairs.select(others))


@dataclass(frozen=True)
class Draft:
    """One candidate before it is drawn: where it begins.

    place: of the class's own real pair, None for text; view: its flip or turn; mask: the one to follow, or to begin at
    with a variation; image: the picture to begin at or to paint into; region: what of it is drawn anew; background:
    place of that picture among those of other classes.
    """

    way: str
    level: float = 1.0
    place: int | None = None
    view: int | None = None
    mask: np.ndarray | None = None
    image: np.ndarray | None = None
    region: np.ndarray | None = None
    background: int | None = None


def draft_of(plan: WayPlan, sources: WaySources | None, seed: int, dx: str, index: int) -> Draft:
    """Where candidate `index` of class `dx` begins: it follows from seed, class and index alone."""
    numbers = candidate_numbers(seed, dx, index)
    way = plan.way(numbers)
    if way == TEXT or sources is None:
        return Draft(TEXT)
    own = sources.own
    # In an order of the run's own, in which a way that draws all candidates takes every pair before one comes again.
    order = np.random.default_rng((seed, len(own))).permutation(len(own))
    place = int(order[index % len(own)])
    if way == VARIATION:
        view, level = int(numbers.integers(DIHEDRAL)), plan.levels[int(numbers.integers(len(plan.levels)))]
        image, mask = (dihedral(np.asarray(part[place]), view) for part in (own.images, own.masks))
        return Draft(way, level, place, view, mask, image)
    mask = turned_and_bent(np.asarray(own.masks[place]), numbers)
    if way == OUTLINE:
        return Draft(way, 1.0, place, None, mask)
    for further in range(1, _OUTLINES):
        if not touches_frame(mask):
            break
        place = int(order[(index + further) % len(own)])
        mask = turned_and_bent(np.asarray(own.masks[place]), numbers)
    return _painted(sources.others, mask, place, plan.skin_level, numbers)


def _painted(others: PairArrays, mask: np.ndarray, place: int, level: float, numbers: np.random.Generator) -> Draft:
    tried: list[tuple[int, int, np.ndarray, np.ndarray]] = []
    for background in numbers.permutation(len(others))[:_BACKGROUNDS]:
        old = np.asarray(others.masks[background])
        moved = placed(mask, old)
        region = drawn_region(moved, old)
        tried.append((int(region.sum()), int(background), moved, region))
    _, background, moved, region = min(tried, key=lambda one: one[:2])
    return Draft(SKIN, level, place, None, moved, np.asarray(others.images[background]), region, background)


def draw_candidates(
    sampler: PairSampler,
    drafts: Sequence[Draft],
    prompts: Sequence[str],
    seeds: Sequence[int],
    batch: int,
    progress: Progress = no_progress,
) -> Drawn:
    """One pair for each draft, in their order; those of one way and noise level are drawn together."""
    kinds: dict[tuple[str, float], list[int]] = defaultdict(list)
    for number, draft in enumerate(drafts):
        kinds[draft.way, draft.level].append(number)
    images: dict[int, np.ndarray] = {}
    masks: dict[int, np.ndarray] = {}
    for kind in sorted(kinds):
        for start in range(0, len(kinds[kind]), batch):
            part = kinds[kind][start : start + batch]
            chosen = [drafts[number] for number in part]
            found = sampler.draw([prompts[n] for n in part], [seeds[n] for n in part], _known(sampler, chosen))
            for row, number in enumerate(part):
                images[number] = found.images[row]
                given = drafts[number].mask
                masks[number] = found.masks[row] if given is None or kind[0] == VARIATION else given
            progress(len(images), len(drafts))
    order = range(len(drafts))
    return Drawn(np.stack([images[n] for n in order]), np.stack([masks[n] for n in order]))


def _known(sampler: PairSampler, drafts: Sequence[Draft]) -> Known | None:
    """What the sampler holds fixed of drafts of one way and level."""
    way, level = drafts[0].way, drafts[0].level
    if way == TEXT:
        return None
    masks = np.stack([draft.mask for draft in drafts if draft.mask is not None])
    if way == OUTLINE:
        return sampler.given_mask(masks)
    images = np.stack([draft.image for draft in drafts if draft.image is not None])
    if way == SKIN:
        regions = np.stack([draft.region for draft in drafts if draft.region is not None])
        return sampler.inside_mask(images, masks, level, regions, _ROUNDS)
    latents = sampler.encode_pair(images, masks)
    return Known(latents, torch.zeros_like(latents), level)


def origin_of(draft: Draft, sources: WaySources | None) -> Origin:
    """What is kept of where a draft begins."""
    if sources is None or draft.place is None:
        return Origin()
    own = sources.own.pair_ids[draft.place]
    if draft.background is not None:
        background = sources.others.pair_ids[draft.background]
        return Origin(SKIN, background, own, noise_level=draft.level, region="lesion")
    if draft.way == OUTLINE:
        return Origin(OUTLINE, mask_pair_id=own, region="image")
    return Origin(VARIATION, own, noise_level=draft.level)


def finished(
    drawn: Drawn,
    drafts: Sequence[Draft],
    indices: Sequence[int],
    names: Sequence[str],
    sources: WaySources | None = None,
    detail: FineDetail | None = None,
) -> tuple[np.ndarray, list[Origin], list[str]]:
    """Images uint8 (B, S, S, 3) with their fine detail, painted ones joined to their skin; origins; groups.

    A pair joins the group of the real one that its picture or, where it has none, its outline or fine detail comes
    from. names: the groups of those that no real pair has a part in.
    """
    images, groups = np.array(drawn.images), list(names)
    origins = [origin_of(draft, sources) for draft in drafts]
    if detail is not None:
        taken = detail.sources(drawn.masks, indices, [(draft.place, draft.view) for draft in drafts])
        images = detail.blended(images, taken)
        groups = [detail.pairs.group_ids[place] for place, _ in taken]
        ids = [detail.pairs.pair_ids[place] for place, _ in taken]
        origins = [replace(origin, detail_pair_id=own) for origin, own in zip(origins, ids, strict=True)]
    for number, draft in enumerate(drafts):
        if sources is None or draft.place is None:
            continue
        groups[number] = sources.own.group_ids[draft.place]
        if draft.background is not None and draft.region is not None and draft.image is not None:
            groups[number] = sources.others.group_ids[draft.background]
            painted = images[number]
            if detail is not None:
                lesions = draft.mask | sources.others.masks[draft.background]
                skin = with_fine_band(drawn.images[number], draft.image, detail.share)
                painted = lesion_over_skin(painted, skin, lesions)
            images[number] = joined(draft.image, painted, draft.region)
    return images, origins, groups
