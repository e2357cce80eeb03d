"""What a run makes of masks that are given, found, doubtful or missing: teachers, counts, measured tasks."""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import replace
from pathlib import Path
from types import MappingProxyType
from typing import Any

import pytest

from flows.run.folder import Job, RunFolder
from flows.settings import load_settings
from flows.steps.adapt import masked_counts, train_counts
from flows.steps.prepare import lacking_tasks, served_benchmark
from flows.steps.synthesise import wanted_pairs
from manifests.errors import BadInput
from manifests.format.schema import FOUND_MASKS, SPLITS, UNLABELLED
from manifests.format.writing import ManifestWriter
from tests.manifests.conftest import pair_row


def job_on(
    folder: Path,
    classes: tuple[str, ...],
    origins: dict[str, Any],
    halves: Mapping[str, dict[str, Any]] = MappingProxyType({}),
    **settings: Any,
) -> Job:
    """A run with pairs of each class in each split: per split the confidence of their masks, None for a given one.
    halves: the same of pairs of other names than classes."""
    found = {FOUND_MASKS: {"least_confidence": 0.5}}
    writer = ManifestWriter(folder / "real", classes=classes, provenance={"source": "test", **found})
    for place, dx in enumerate([*classes, *halves]):
        rows = []
        for split in SPLITS:
            for number, told in enumerate(halves.get(dx, origins)[split]):
                changes: dict[str, Any] = {"split": split, "pair_id": f"t:{dx}-{split}-{number}"}
                if told == "missing":
                    changes |= {"mask_png": None}
                elif told is not None:
                    changes |= {"mask_origin": "predicted", "mask_confidence": told}
                rows.append(pair_row(100 * place + number, dx, **changes))
        writer.write_shard(dx, 0, rows)
    writer.commit()
    values = [f"{name}={value}" for name, value in settings.items()]
    return Job(RunFolder(folder), folder, "tiny", load_settings("tiny", overrides=values))


MIXED = {"train": [None, None, None, 0.9, 0.2, "missing"], "validation": [0.9], "test": [None]}


def test_given_and_confident_masks_teach_and_the_rest_counts_for_classes_alone(tmp_path: Path) -> None:
    job = job_on(tmp_path, ("nv", "mel"), MIXED)
    assert masked_counts(job) == {"nv": 4, "mel": 4} and len(job.pairs("train", "nv", masked=True)) == 4
    assert train_counts(job) == {"nv": 6, "mel": 6}
    segmenting = replace(job, settings=load_settings("tiny", overrides=['benchmark.tasks=["segmentation"]']))
    assert train_counts(segmenting) == {"nv": 4, "mel": 4}, "nobody uses a picture without a mask there"


def test_without_given_masks_in_every_split_no_segmenter_is_judged(tmp_path: Path) -> None:
    job = job_on(tmp_path, ("nv", "mel"), MIXED)
    assert served_benchmark(job).tasks == ("classification",)
    assert lacking_tasks(job) == {
        "segmentation": "segmentation is not benchmarked: no masks are given in validation; found masks judge no "
        "segmenter"
    }
    given = job_on(tmp_path / "given", ("nv", "mel"), MIXED | {"validation": [None]})
    assert served_benchmark(given).tasks == ("classification", "segmentation") and not lacking_tasks(given)


def test_masks_alone_run_the_half_that_needs_them(tmp_path: Path) -> None:
    job = job_on(tmp_path, ("lesion",), {"train": [None] * 5, "validation": [None], "test": [None]})
    assert served_benchmark(job).tasks == ("segmentation",)
    assert lacking_tasks(job) == {
        "classification": "classification is not benchmarked: it needs two classes, and there is one"
    }
    assert wanted_pairs(job) == {"lesion": 5}, "there is nothing to even out: as many again as there are"


def test_a_half_with_masks_and_a_half_with_classes_run_both_tasks(tmp_path: Path) -> None:
    found = {"train": [0.9] * 5, "validation": [0.9], "test": [0.9]}
    given = {"train": [None] * 4, "validation": [None], "test": [None]}
    job = job_on(tmp_path, ("nv", "mel"), found, {UNLABELLED: given})
    assert served_benchmark(job).tasks == ("classification", "segmentation") and not lacking_tasks(job)
    assert train_counts(job) == {"nv": 5, "mel": 5}, "pairs without a class are no class to even out"


def test_one_class_without_given_masks_leaves_nothing_to_measure(tmp_path: Path) -> None:
    job = job_on(tmp_path, ("lesion",), {"train": [0.9] * 5, "validation": [0.9], "test": [0.9]})
    with pytest.raises(BadInput, match=r"nothing to benchmark: segmentation is .* classification is "):
        served_benchmark(job)
