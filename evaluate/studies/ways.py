"""What each way to draw a pair earns: the same number of pairs of every class, judged and learned from alike."""

from __future__ import annotations

import hashlib
import json
import time
from collections.abc import Iterator, Mapping
from dataclasses import dataclass, replace
from functools import cached_property, reduce
from typing import TYPE_CHECKING, Any

import numpy as np

from augment.ways.plan import FROM_TEXT, OUTLINE, SKIN, VARIATION, WayPlan
from evaluate.studies.ablation import Variant
from manifests.pairs import PairArrays
from manifests.progress import Progress, no_progress

if TYPE_CHECKING:
    from augment.adapters import AdapterFile
    from augment.ways.plan import Origin
    from evaluate.copies.index import CopyIndex
    from evaluate.downstream.segmenter import Segmenter
    from evaluate.fidelity.realism import Seen
    from evaluate.studies.quality import BaseStudy

_LEVELS = (0.8, 0.85, 0.9)
WAY_VARIANTS: Mapping[str, WayPlan] = {
    "text": FROM_TEXT,
    **{f"variation from {level:g}": WayPlan(((VARIATION, 1.0),), (level,), source_digest="-") for level in _LEVELS},
    "skin": WayPlan(((SKIN, 1.0),), source_digest="-"),
    "outline": WayPlan(((OUTLINE, 1.0),), source_digest="-"),
}
_BATCH = 16
_SHOWN = 8  # pairs of each class on a contact sheet


@dataclass(frozen=True)
class LookedAt:
    """A set of pairs. own: how the eye sees them; asked: those that are asked for class and copies; copied: bool, which
    of the latter copy a training picture."""

    pairs: PairArrays
    own: Seen
    asked: Seen
    copied: np.ndarray


@dataclass(frozen=True)
class WayBench:
    """What every way is measured with: U-Nets of real pairs, copy indices, and an eye from outside (ImageNet)."""

    subject: BaseStudy
    segmenters: tuple[Segmenter, ...]

    @cached_property
    def indices(self) -> tuple[CopyIndex, CopyIndex]:
        """The copy index of the training pictures, and that of their lesions."""
        from evaluate.copies.drawn import lesion_squares
        from evaluate.copies.index import CopyIndex

        train, copies = self.subject.train, self.subject.settings.copies
        shown = (np.asarray(train.images), lesion_squares(train.images, train.masks))
        first, second = (
            CopyIndex.build(images, train.pair_ids, train.group_ids, copies).calibrated(images) for images in shown
        )
        return first, second

    def looked_at(self, pairs: PairArrays, origins: list[Origin] | None) -> LookedAt:
        """Pairs with what the eye and the copy indices see. Without origins they are real ones, in whose place
        validation pairs are asked for their class and for copies."""
        from evaluate.copies.drawn import nearest_drawn

        pictures, lesions = self.indices
        own, asked = self.seen(pairs), pairs if origins is not None else self.subject.validation
        nearest = nearest_drawn(pictures, lesions, asked, origins or [])
        copied = np.array([pictures.is_copy(similarity) for _, similarity in nearest])
        return LookedAt(pairs, own, self.held_out if origins is None else own, copied)

    def seen(self, pairs: PairArrays) -> Seen:
        """The ImageNet features of pairs."""
        from evaluate.fidelity.realism import seen

        return seen(pairs, self._eye)

    @cached_property
    def _eye(self) -> Any:
        from evaluate.fidelity.extractors import lite0_features

        return lite0_features()

    @cached_property
    def real(self) -> Seen:
        return self.seen(self.subject.train)

    @cached_property
    def held_out(self) -> Seen:
        return self.seen(self.subject.validation)


def ablate_ways(subject: BaseStudy, progress: Progress = no_progress) -> Iterator[Variant]:
    """Each way alone, beside as many real training pairs: figures on the validation split, before any gate.

    Of each class as many pairs are taken as `quality.share` of the smallest has. Figures: `own_class` (recall of an
    ImageNet classifier of real pairs), `agreement` (Dice of U-Nets of real pairs), `classes_learned` and
    `classes_half` (macro AUROC of an ImageNet classifier of these pairs alone, and of half of them with half of the
    real ones), `dice_learned` (of U-Nets that learned from these pairs), `kid` (x 1000, in ImageNet features),
    `copies` (share), `vendi` (effective number of different pairs, a share) and `seconds` of processor time a pair.
    Beside real pairs, own class and copies are those of validation pairs.
    """
    from evaluate.studies.transfer import in_equal_numbers

    measured = WayBench(subject, segmenters_of(subject.train, subject, progress))
    size = pairs_of_class(subject)
    real = measured.looked_at(in_equal_numbers(subject.train, size, subject.seed), None)
    yield Variant("real pairs", way_figures(measured, real, None, size))
    for name, plan in WAY_VARIANTS.items():
        pairs, origins, seconds = draw_in_way(subject, plan, size, progress)
        write_sheet(subject, name, pairs, origins)
        yield Variant(name, way_figures(measured, measured.looked_at(pairs, origins), seconds, size, progress))


def pairs_of_class(subject: BaseStudy) -> int:
    """How many pairs of each class are compared: the study's share of the smallest class."""
    smallest = int(np.bincount(subject.train.labels, minlength=len(subject.train.classes)).min())
    return max(2, round(subject.settings.share * smallest))


def way_figures(
    measured: WayBench,
    looked_at: LookedAt,
    seconds: float | None,
    size: int,
    progress: Progress = no_progress,
) -> dict[str, float | None]:
    """The figures of `ablate_ways` of one set of pairs."""
    from evaluate.fidelity.realism import kernel_distance_between
    from evaluate.fidelity.variety import vendi_score
    from evaluate.studies.transfer import dice_of, mean_over

    subject, pairs, own = measured.subject, looked_at.pairs, looked_at.own
    learned = segmenters_of(pairs, subject, progress)
    distances, variety = [], []
    for label in range(len(pairs.classes)):
        features, held = own.of(label, "sharp")[0], measured.held_out.of(label, "sharp")[0]
        distances.append(kernel_distance_between(held, features))
        variety.append(vendi_score(features) / len(features))
    known = [distance for distance in distances if distance is not None]
    return {
        "own_class": _recognised(measured.real, looked_at.asked),
        "agreement": mean_over(measured.segmenters, pairs, dice_of),
        "classes_learned": _learned(measured, own, None, size),
        "classes_half": _learned(measured, own, measured.real, size),
        "dice_learned": mean_over(learned, subject.validation, dice_of),
        "kid": 1000 * float(np.mean(known)) if known else None,
        "copies": float(looked_at.copied.mean()),
        "vendi": float(np.mean(variety)),
        "seconds": seconds,
    }


def segmenters_of(pairs: PairArrays, subject: BaseStudy, progress: Progress) -> tuple[Segmenter, ...]:
    """A U-Net of `pairs` for each seed of the study."""
    from evaluate.downstream.segmenter import Segmenter

    found = []
    for seed in range(subject.settings.seeds):
        segmenter = Segmenter(subject.settings.segmenter)
        segmenter.fit(pairs, seed=seed, progress=progress)
        found.append(segmenter)
    return tuple(found)


def _recognised(real: Seen, drawn: Seen) -> float:
    """Mean recall over classes of generated pictures by a linear classifier of the real ones' features."""
    from evaluate.fidelity.realism import linear_probe

    found = linear_probe("balanced").fit(real.sharp, real.labels).predict(drawn.sharp)
    return float(np.mean([(found[drawn.labels == label] == label).mean() for label in np.unique(drawn.labels)]))


def _learned(measured: WayBench, own: Seen, beside: Seen | None, size: int, repeats: int = 5) -> float:
    """Macro AUROC on validation pictures; with `beside`, half of the pairs of each class are taken from there."""
    from sklearn.metrics import roc_auc_score

    from evaluate.fidelity.realism import linear_probe

    held, scores = measured.held_out, []
    for seed in range(repeats):
        random, features, labels = np.random.default_rng(seed), [], []
        for label in np.unique(own.labels):
            halves = ((own, size),) if beside is None else ((own, size - size // 2), (beside, size // 2))
            for side, count in halves:
                chosen = random.permutation(np.flatnonzero(side.labels == label))[:count]
                features.append(side.sharp[chosen])
                labels.append(np.full(len(chosen), label))
        probe = linear_probe("balanced").fit(np.concatenate(features), np.concatenate(labels))
        found = probe.predict_proba(held.sharp)
        scores += [roc_auc_score(held.labels == label, found[:, n]) for n, label in enumerate(np.unique(own.labels))]
    return float(np.mean(scores))


def draw_in_way(
    subject: BaseStudy,
    plan: WayPlan,
    size: int,
    progress: Progress = no_progress,
    adapters: Mapping[str, AdapterFile] | None = None,
) -> tuple[PairArrays, list[Origin], float]:
    """`size` pairs of each class by a plan, their origins, and seconds a pair; kept in the subject's work folder.

    adapters: by class; the base alone draws those without.
    """
    adapters = adapters or {}
    from augment.ways.shard import origins_in, pack, unpack, verdicts_in
    from manifests.files import replace_file

    train, folder = subject.train, subject.work / "ways"
    sampling = subject.sampling.model_dump(mode="json")
    key = [subject.base.digest, sampling, subject.seed, subject.detail, size, repr(plan), train.pair_ids]
    key += [{dx: adapter.digest for dx, adapter in adapters.items()}] if adapters else []
    name = hashlib.sha256(json.dumps(key).encode()).hexdigest()[:16]
    parts: list[PairArrays] = []
    origins: list[Origin] = []
    took = []
    for number, dx in enumerate(train.classes):
        path = folder / f"{name}-{number}.safetensors"
        if not path.exists():
            pairs, own, seconds = _drawn(subject, plan, dx, size, adapters.get(dx))
            path.parent.mkdir(parents=True, exist_ok=True)
            replace_file(path, pack(pairs, [{"seconds": seconds}], own))
        content = path.read_bytes()
        found = unpack(content, dx)
        parts.append(replace(found, labels=found.labels + number, classes=train.classes))
        origins += origins_in(content)
        took.append(verdicts_in(content)[0]["seconds"])
        progress(number + 1, len(train.classes), part=f"drawing {dx}")
    return reduce(PairArrays.concatenate, parts), origins, float(np.mean(took))


def _drawn(
    subject: BaseStudy, plan: WayPlan, dx: str, size: int, adapter: AdapterFile | None
) -> tuple[PairArrays, list[Origin], float]:
    from augment.fine_detail import FineDetail
    from augment.prompts import prompt_for
    from augment.sampling import PairSampler
    from augment.synthesis import pair_seed
    from augment.ways.drawing import WaySources, draft_of, draw_candidates, finished

    sampler = PairSampler(subject.base, adapter, subject.sampling, "bfloat16")
    sources = WaySources.of(subject.train, dx)
    detail = FineDetail.of(sources.own, subject.detail, subject.seed) if subject.detail else None
    drafts = [draft_of(plan, sources, subject.seed, dx, index) for index in range(size)]
    seeds = [pair_seed(subject.seed, dx, index) for index in range(size)]
    ids, started = [f"{dx}-{index:06d}" for index in range(size)], time.process_time()
    drawn = draw_candidates(sampler, drafts, [prompt_for(dx)] * size, seeds, _BATCH)
    images, origins, groups = finished(drawn, drafts, range(size), ids, sources, detail)
    seconds = (time.process_time() - started) / size
    return PairArrays(ids, images, drawn.masks, np.zeros(size, np.int64), (dx,), groups), origins, seconds


def write_sheet(subject: BaseStudy, name: str, pairs: PairArrays, origins: list[Origin]) -> None:
    """A contact sheet: for every class its first pairs with outlines, and above them the real pairs of their origin."""
    from evaluate.studies.contact_sheet import sheet_beside
    from manifests.png import encode_png

    places = {pair_id: place for place, pair_id in enumerate(subject.train.pair_ids)}
    rows = [
        (pairs.images[n], pairs.masks[n], _source_image(subject.train, places, origins[n]))
        for label in range(len(pairs.classes))
        for n in np.flatnonzero(pairs.labels == label)[:_SHOWN]
    ]
    path = subject.work / "ways" / f"{name.replace(' ', '-')}.png"
    path.write_bytes(encode_png(sheet_beside(rows, _SHOWN), level=6))


def _source_image(train: PairArrays, places: Mapping[str, int], origin: Origin) -> np.ndarray | None:
    source = origin.source_pair_id or origin.mask_pair_id or origin.detail_pair_id
    return None if source is None else np.asarray(train.images[places[source]])
