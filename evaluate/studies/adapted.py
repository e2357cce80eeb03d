"""What a run's adapters earn, class by class: beside the base alone, and adapters that no domain stage led to."""

from __future__ import annotations

from collections.abc import Iterator, Mapping
from typing import TYPE_CHECKING

import numpy as np

from augment.ways.plan import FROM_TEXT
from evaluate.studies.ablation import Variant
from evaluate.studies.ways import WayBench, draw_in_way, segmenters_of, way_figures, write_sheet
from manifests.progress import Progress, no_progress

if TYPE_CHECKING:
    from augment.adapters import AdapterFile
    from augment.settings import AdaptSettings
    from augment.ways.plan import Origin
    from evaluate.studies.quality import BaseStudy
    from manifests.pairs import PairArrays

BASE, ADAPTED, STRAIGHT = "base alone", "adapters", "adapters without a domain stage"


def ablate_adapted(
    subject: BaseStudy,
    adapters: Mapping[str, AdapterFile],
    straight: AdaptSettings | None,
    progress: Progress = no_progress,
) -> Iterator[Variant]:
    """Pairs that the base alone draws from text, those of a run's `adapters` by class and, with settings `straight`, of
    adapters trained without a domain stage: the figures of `ablate_ways` over all classes, then those of each class.

    Of each class as many pairs are drawn as `quality.share` of the smallest has. A class has `train_pairs`,
    `own_class`, `agreement`, `kid`, `copies` and `vendi`; beside real pairs, own class, KID and copies are those of
    validation pairs. Contact sheets lie in the subject's work folder.
    """
    from evaluate.studies.transfer import in_equal_numbers

    measured = WayBench(subject, segmenters_of(subject.train, subject, progress))
    smallest = int(np.bincount(subject.train.labels, minlength=len(subject.train.classes)).min())
    size = max(2, round(subject.settings.share * smallest))
    real = in_equal_numbers(subject.train, size, subject.seed)
    yield Variant("real pairs", way_figures(measured, real, None, None, size) | {"train_pairs": len(subject.train)})
    yield from _by_class(measured, "real pairs", real, None)
    sets: dict[str, Mapping[str, AdapterFile]] = {BASE: {}, ADAPTED: adapters}
    if straight:
        sets[STRAIGHT] = _trained(subject, [*adapters], straight, progress)
    for name, own in sets.items():
        pairs, origins, seconds = draw_in_way(subject, FROM_TEXT, size, progress, own)
        write_sheet(subject, name, pairs, origins)
        figures = way_figures(measured, pairs, origins, seconds, size, progress)
        yield Variant(name, figures | {"train_pairs": len(subject.train)})
        yield from _by_class(measured, name, pairs, origins)


def _by_class(measured: WayBench, name: str, pairs: PairArrays, origins: list[Origin] | None) -> Iterator[Variant]:
    """The figures of each class of one set of pairs; without origins they are real ones."""
    from evaluate.fidelity.realism import kernel_distance_between, linear_probe
    from evaluate.fidelity.variety import vendi_score
    from evaluate.metrics.masks import dice

    subject = measured.subject
    shown, look = (subject.validation, measured.held_out) if origins is None else (pairs, measured.seen(pairs))
    told = linear_probe("balanced").fit(measured.real.sharp, measured.real.labels).predict(look.sharp)
    images, drawn = np.asarray(pairs.images), measured.seen(pairs)
    found = np.mean([segmenter.masks(images) for segmenter in measured.segmenters], axis=0) > 0.5
    agreement = dice(found, np.asarray(pairs.masks))
    counts = np.bincount(subject.train.labels, minlength=len(pairs.classes))
    for label, dx in enumerate(pairs.classes):
        of_shown, of_pairs = shown.labels == label, pairs.labels == label
        held, own = measured.held_out.of(label, "sharp")[0], drawn.of(label, "sharp")[0]
        kid = kernel_distance_between(held, measured.real.of(label, "sharp")[0] if origins is None else own)
        copied = measured.copied(
            shown.of_class(dx), [origin for origin, one in zip(origins or [], of_pairs, strict=False) if one]
        )
        yield Variant(
            f"{name}: {dx}",
            {
                "train_pairs": int(counts[label]),
                "own_class": float((told[of_shown] == label).mean()),
                "agreement": float(agreement[of_pairs].mean()),
                "kid": None if kid is None else 1000 * kid,
                "copies": copied,
                "vendi": vendi_score(own) / len(own),
            },
        )


def _trained(
    subject: BaseStudy, names: list[str], settings: AdaptSettings, progress: Progress
) -> dict[str, AdapterFile]:
    """An adapter of each class that begins at the base itself; those that are there are read."""
    from augment.adapters import read_adapter
    from augment.training.adapt import train_adapter
    from augment.training.adapter import AdaptTask
    from manifests.format.schema import path_name

    made = {}
    for dx in names:
        out = subject.work / "straight" / f"{path_name(dx)}.safetensors"
        if not out.exists():
            pairs = subject.train.of_class(dx).masked()
            task = AdaptTask(dx, subject.seed, "ablation")
            train_adapter(pairs, task, subject.base, settings, out, out.with_suffix(""), progress)
        made[dx] = read_adapter(out, subject.base)
    return made
