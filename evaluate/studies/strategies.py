"""Which way to draw a demonstration is best, and is a demonstration faithful: measured with a witness of its own.

The witness is a classifier of another architecture and seed than the diagnosing ensemble, and of another kind than
the gates' judge; it is trained on the real training split and sees no generated pair before it is asked.
"""

from __future__ import annotations

from collections.abc import Callable, Iterator, Mapping, MutableMapping, Sequence
from dataclasses import dataclass, replace
from typing import TYPE_CHECKING, Any

import numpy as np

from augment.prompts import prompt_for
from evaluate.explain.demonstrations import best_of, seed_for
from evaluate.explain.personal import blended, guided
from evaluate.studies.strategy_figures import Strategy, feature_distance, interval_of, row_of, scores_of
from manifests.progress import Progress, no_progress

if TYPE_CHECKING:
    from augment.fine_detail import FineDetail
    from augment.sampling import Drawn, PairSampler
    from evaluate.copies.index import CopyIndex
    from evaluate.settings.explain import ExplainSettings
    from manifests.pairs import PairArrays

# Images uint8 (N, H, W, 3) to class probabilities (N, C), or to features (N, D).
Witness = Callable[[np.ndarray], np.ndarray]
# Images uint8 (N, H, W, 3) to lesion masks bool (N, H, W).
FindMasks = Callable[[np.ndarray], np.ndarray]
# A class and a strategy to a sampler of its adapter's rank; None where there is none.
SamplerOf = Callable[[str, Strategy], "PairSampler | None"]


@dataclass(frozen=True)
class StrategyMeasures:
    """Who judges: the witness's probabilities and features, a segmenter, the index of training images for copies,
    and the diagnosing ensemble, which picks among tries and is no witness."""

    witness: Witness
    features: Witness
    find: FindMasks
    copies: CopyIndex
    ensemble: Witness


def centre_of(settings: ExplainSettings, adapters: bool = True) -> Strategy:
    """What explain does by its settings, with a single try; adapters: whether the run has class adapters."""
    rank = None if adapters else 0
    return Strategy("inpainting", settings.strength, settings.guidance, rank, detail=settings.detail)


def strategies_of(settings: ExplainSettings, adapters: bool = True) -> list[Strategy]:
    """Every strategy that is compared: the centre, and what differs from it in one thing."""
    centre, ways = centre_of(settings, adapters), settings.strategies
    ranks = (0, *ways.ranks) if adapters else (0,)
    found = [centre, replace(centre, kind="text", strength=1.0, detail=0.0)]
    found += [replace(centre, kind="image", strength=strength, detail=0.0) for strength in ways.strengths]
    found += [replace(centre, strength=strength) for strength in ways.strengths]
    found += [replace(centre, guidance=guidance) for guidance in ways.guidances]
    found += [replace(centre, rank=rank) for rank in ranks]
    found += [replace(centre, contrast=False)]
    found += [replace(centre, tries=tries) for tries in sorted({*ways.tries, settings.tries})]
    return list(dict.fromkeys(found))


def draw(
    strategy: Strategy,
    sampler: PairSampler,
    dx: str,
    rival: str,
    images: np.ndarray,
    masks: np.ndarray,
    seeds: Sequence[int],
) -> Drawn:
    """Pairs of class `dx` from images uint8 (N, S, S, 3) of class `rival` and masks (N, S, S) at the sampler's side."""
    from augment.sampling import Drawn

    sampler = guided(sampler, strategy.guidance, rival if strategy.contrast else None)
    prompts = [prompt_for(dx)] * len(images)
    if strategy.kind == "text":
        return sampler.draw(prompts, seeds)
    known = sampler.inside_mask(images, masks, strategy.strength)
    if strategy.kind == "image":
        # Nothing is held: only the start is the image's.
        known = replace(known, region=known.region * 0)
        return sampler.draw(prompts, seeds, known)
    drawn = sampler.draw(prompts, seeds, known, tidy=False)
    pasted = [
        blended(image, new, mask, strategy.detail) for image, new, mask in zip(images, drawn.images, masks, strict=True)
    ]
    return Drawn(np.stack(pasted), masks)


def compare_strategies(
    strategies: Sequence[Strategy],
    pairs: PairArrays,
    sampler_of: SamplerOf,
    judges: StrategyMeasures,
    real_features: Mapping[str, np.ndarray],
    seed: int = 0,
    progress: Progress = no_progress,
    kept: MutableMapping[str, dict[str, Any]] | None = None,
) -> list[dict[str, Any]]:
    """Figures of each strategy, JSON-ready, over held-out `pairs` turned into every class but their own.

    real_features: of real validation pairs by class, for KID; kept: rows by name, which are not measured again, and
    to which new ones are added. A strategy that nobody can draw is left out.
    """
    rows = {} if kept is None else kept
    for number, strategy in enumerate(strategies):
        if strategy.name not in rows:
            row = measured_row(strategy, pairs, sampler_of, judges, real_features, seed)
            if row is not None:
                rows[strategy.name] = row
        progress(number + 1, len(strategies), strategy=strategy.name)
    return [rows[strategy.name] for strategy in strategies if strategy.name in rows]


def measured_row(
    strategy: Strategy,
    pairs: PairArrays,
    sampler_of: SamplerOf,
    judges: StrategyMeasures,
    real_features: Mapping[str, np.ndarray],
    seed: int,
) -> dict[str, Any] | None:
    """The figures of one strategy, JSON-ready; None if nobody can draw it. See `compare_strategies`."""
    scores, kids = [], []
    for label, dx in enumerate(pairs.classes):
        sampler = sampler_of(dx, strategy)
        others = pairs.select(np.flatnonzero((pairs.labels != label) & (pairs.labels >= 0)))
        if sampler is None or not len(others):
            continue
        drawn, own = turned(strategy, sampler, label, others, judges.ensemble, seed)
        both = judges.witness(own.images), judges.witness(drawn.images)
        scores.append(scores_of(drawn.images, drawn.masks, own, both, label, judges.find(drawn.images)))
        near = judges.copies.search(drawn.images).similarity
        scores[-1]["copy"] = np.array([judges.copies.is_copy(value) for value in near])
        if dx in real_features:
            kids.append(feature_distance(judges.features(drawn.images), real_features[dx]))
    return row_of(strategy, scores, kids, seed) if scores else None


def faithfulness(
    pairs: PairArrays,
    sampler_of: SamplerOf,
    judges: StrategyMeasures,
    strategy: Strategy,
    references: int,
    draws: int = 1,
    seed: int = 0,
    progress: Progress = no_progress,
    detail_of: Callable[[str], FineDetail | None] = lambda dx: None,
) -> list[dict[str, Any]]:
    """Per class: how often its references are recognised, and whether changed pictures move towards it. JSON-ready.

    Each reference is the best of `draws` to the diagnosing ensemble, as the page shows them; detail_of: where the
    references of a class have their fine detail from.
    Recognised: the witness ranks the class first. Moved: its probability rises from the picture to the changed one.
    """
    rows = []
    for label, dx in enumerate(pairs.classes):
        sampler = sampler_of(dx, strategy)
        if sampler is None:
            rows.append({"dx": dx, "missing": f"no generator for {dx}"})
            continue
        seeds = [seed_for("faithfulness", seed, dx, index) for index in range(references * draws)]
        drawn = _in_batches(sampler, prompt_for(dx), seeds, detail_of(dx))
        kept = drawn[best_of(judges.ensemble(drawn)[:, label], draws)]
        recognised = (judges.witness(kept).argmax(1) == label).astype(float)
        row: dict[str, Any] = {"dx": dx, "references": references, "recognised": interval_of(recognised, seed)}
        own_class = pairs.select(np.flatnonzero(pairs.labels == label))
        if len(own_class):
            real = (judges.witness(own_class.images).argmax(1) == label).astype(float)
            row["real_recognised"] = interval_of(real, seed)
        others = pairs.select(np.flatnonzero((pairs.labels != label) & (pairs.labels >= 0)))
        if len(others):
            changed, own = turned(strategy, sampler, label, others, judges.ensemble, seed)
            gain = judges.witness(changed.images)[:, label] - judges.witness(own.images)[:, label]
            row |= {"changed": len(others), "moved": interval_of((gain > 0).astype(float), seed)}
            row["gain"] = interval_of(gain, seed)
        rows.append(row)
        progress(label + 1, len(pairs.classes), dx=dx)
    return rows


def turned(
    strategy: Strategy, sampler: PairSampler, label: int, pairs: PairArrays, ensemble: Witness, seed: int
) -> tuple[Drawn, PairArrays]:
    """Pairs turned into class `label`, and the pairs that they started from at the sampler's side, in their order."""
    from augment.sampling import Drawn
    from manifests.images import resize_pair

    both = [resize_pair(image, mask, sampler.side) for image, mask in zip(pairs.images, pairs.masks, strict=True)]
    own = replace(pairs, images=np.stack([image for image, _ in both]), masks=np.stack([mask for _, mask in both]))
    images, masks = np.empty_like(own.images), np.empty_like(own.masks)
    best = np.full(len(own), -np.inf)
    for number in range(strategy.tries):
        for places in _alike(own.labels, sampler.settings.batch):
            part, rival = own.select(places), own.classes[own.labels[places[0]]]
            seeds = [seed_for("strategy", seed, pair_id, number) for pair_id in part.pair_ids]
            drawn = draw(strategy, sampler, own.classes[label], rival, part.images, part.masks, seeds)
            like = ensemble(drawn.images)[:, label] if strategy.tries > 1 else np.zeros(len(places))
            better = like > best[places]
            chosen = places[better]
            images[chosen], masks[chosen], best[chosen] = drawn.images[better], drawn.masks[better], like[better]
    return Drawn(images, masks), own


def _in_batches(sampler: PairSampler, prompt: str, seeds: Sequence[int], detail: FineDetail | None) -> np.ndarray:
    size = sampler.settings.batch
    parts = [seeds[start : start + size] for start in range(0, len(seeds), size)]
    drawn = [sampler.draw([prompt] * len(part), part) for part in parts]
    images, masks = (np.concatenate([getattr(part, name) for part in drawn]) for name in ("images", "masks"))
    return detail.onto(images, masks, range(len(seeds)))[0] if detail else images


def _alike(labels: np.ndarray, size: int) -> Iterator[np.ndarray]:
    """Places of pairs of one class, at most `size` together: one batch has one rival."""
    for label in np.unique(labels):
        places = np.flatnonzero(labels == label)
        for start in range(0, len(places), size):
            yield places[start : start + size]
