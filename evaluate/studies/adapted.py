"""What a run's adapters earn, class by class: beside the base alone, and adapters that no domain stage led to."""

from __future__ import annotations

from collections.abc import Iterator, Mapping
from typing import TYPE_CHECKING

import numpy as np

from augment.ways.plan import FROM_TEXT
from evaluate.studies.ablation import Variant
from evaluate.studies.transfer import dices_of, in_equal_numbers
from evaluate.studies.ways import (
    LookedAt,
    WayBench,
    draw_in_way,
    pairs_of_class,
    segmenters_of,
    way_figures,
    write_sheet,
)
from manifests.progress import Progress, no_progress

if TYPE_CHECKING:
    from augment.adapters import AdapterFile
    from augment.settings import AdaptSettings
    from evaluate.studies.quality import BaseStudy

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
    `own_class`, `agreement`, `kid`, `copies` and `vendi`; beside real pairs, own class and copies are those of
    validation pairs. Contact sheets lie in the subject's work folder.
    """
    measured = WayBench(subject, segmenters_of(subject.train, subject, progress))
    size = pairs_of_class(subject)
    all_pairs: dict[str, float | None] = {"train_pairs": len(subject.train)}
    real = measured.looked_at(in_equal_numbers(subject.train, size, subject.seed), None)
    yield Variant("real pairs", way_figures(measured, real, None, size) | all_pairs)
    yield from _by_class(measured, "real pairs", real)
    sets: dict[str, Mapping[str, AdapterFile]] = {BASE: {}, ADAPTED: adapters}
    if straight:
        sets[STRAIGHT] = _trained(subject, [*adapters], straight, progress)
    for name, own in sets.items():
        pairs, origins, seconds = draw_in_way(subject, FROM_TEXT, size, progress, own)
        write_sheet(subject, name, pairs, origins)
        drawn = measured.looked_at(pairs, origins)
        yield Variant(name, way_figures(measured, drawn, seconds, size, progress) | all_pairs)
        yield from _by_class(measured, name, drawn)


def _by_class(measured: WayBench, name: str, looked_at: LookedAt) -> Iterator[Variant]:
    """The figures of each class of one set of pairs."""
    from evaluate.fidelity.realism import kernel_distance_between, linear_probe
    from evaluate.fidelity.variety import vendi_score

    pairs, asked = looked_at.pairs, looked_at.asked
    told = linear_probe("balanced").fit(measured.real.sharp, measured.real.labels).predict(asked.sharp)
    agreement = np.mean([dices_of(segmenter, pairs) for segmenter in measured.segmenters], axis=0)
    counts = np.bincount(measured.subject.train.labels, minlength=len(pairs.classes))
    for label, dx in enumerate(pairs.classes):
        of_asked = asked.labels == label
        own, held = looked_at.own.of(label, "sharp")[0], measured.held_out.of(label, "sharp")[0]
        kid = kernel_distance_between(held, own)
        yield Variant(
            f"{name}: {dx}",
            {
                "train_pairs": int(counts[label]),
                "own_class": float((told[of_asked] == label).mean()),
                "agreement": float(agreement[pairs.labels == label].mean()),
                "kid": None if kid is None else 1000 * kid,
                "copies": float(looked_at.copied[of_asked].mean()),
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
