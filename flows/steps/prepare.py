"""The prepare step: from a source to the run's real manifest."""

from __future__ import annotations

import os
import time
from collections.abc import Mapping, Sequence
from pathlib import Path
from typing import TYPE_CHECKING, Any

from flows.engine.calls import Call
from flows.run.folder import Job
from flows.run.records import Step, file_digest, listing_digest, unfinished_steps, write_record
from flows.settings import flat, flat_groups
from manifests.errors import BadInput
from manifests.format.schema import FINGERPRINTS, FOUND_MASKS
from manifests.progress import Progress

if TYPE_CHECKING:
    from evaluate.settings.benchmark import BenchmarkSettings
    from manifests.duplicates.sketches import TrainingPictures
    from manifests.format.reading import Manifest
    from manifests.settings import PrepareSettings

VERSION = 1


def steps(job: Job) -> list[Step]:
    """What the real manifest would be made from now."""
    known = flat(job.settings.prepare)
    settings = {f"prepare.{name}": value for name, value in known.items() if name != "workers"}
    inputs = {"data": data_digest(job.data, job.settings.prepare), **_kept_digest(job), **pictures_digest(job)}
    if job.settings.prepare.masks.find:
        settings |= {"seed": job.settings.seed, **flat_groups(job.settings, "finder")}
        inputs |= _segmenter_digest()
    return [Step("prepare", VERSION, settings, inputs)]


def pictures_digest(job: Job) -> dict[str, str]:
    """What stands for the pictures that the base was trained on; nothing where it carries no fingerprints."""
    path = job.base_place / FINGERPRINTS
    return {"base pictures": file_digest(path)} if path.is_file() else {}


def base_pictures(job: Job) -> TrainingPictures | None:
    """The pictures that the base was trained on, None where it does not say. Raises BadInput for a damaged file."""
    from manifests.duplicates.sketches import load_training_pictures

    return load_training_pictures(job.base_place)


def unknown_pictures(job: Job) -> list[str]:
    """A sentence where nobody can tell what the base was trained on."""
    if pictures_digest(job):
        return []
    return [
        f"the base {job.settings.base.path} carries no fingerprints of its training pictures: what it has seen is "
        "unknown, and test pairs may be among it"
    ]


def _segmenter_digest() -> dict[str, str]:
    """What stands for the shipped segmenter; nothing where it is not there, which is told once a mask is missing."""
    from evaluate.settings.found_masks import SHIPPED_SEGMENTER, WEIGHTS

    path = SHIPPED_SEGMENTER / WEIGHTS
    return {"shipped segmenter": file_digest(path)} if path.is_file() else {}


def _kept_digest(job: Job) -> dict[str, str]:
    """The manifest whose splits stay; BadInput if it is the one that this step writes."""
    from manifests.format.reading import read_header

    kept = job.settings.prepare.keep_splits_of
    if kept is None:
        return {}
    if "://" not in kept and Path(kept).expanduser().resolve() == job.folder.real:
        raise BadInput(f"{kept}: prepare writes this manifest itself; give --out another run folder to keep its splits")
    return {"kept splits": read_header(kept).digest}


def data_digest(data: Path, settings: PrepareSettings) -> str:
    """What tells whether the source changed; a table alone does not tell of the pictures that it names."""
    from manifests.sources.table import named_files

    if data.is_file():
        return listing_digest(data, named_files(data, settings))
    return listing_digest(data, _linked_files(data) if settings.follow_links else ())


def _linked_files(folder: Path) -> list[str]:
    """Every file below a folder, those in folders that links lead to as well, each such folder once."""
    seen: set[str] = set()
    found: list[str] = []
    for place, inside, names in os.walk(folder, followlinks=True):
        real = os.path.realpath(place)
        if real in seen:
            inside.clear()
            continue
        seen.add(real)
        inside.sort()  # which of two ways to a folder is gone first must not change
        found += [f"{place}/{name}" for name in names]
    return sorted(found)


def next_calls(job: Job, failed: Sequence[Call]) -> list[Call]:
    """The one call of this step."""
    return [Call("prepare", "prepare", {})] if unfinished_steps(job.folder, steps(job)) else []


def prepare_source(job: Job, progress: Progress) -> Mapping[str, Any]:
    """Reads, checks and splits the source into the real manifest."""
    from evaluate.found_masks.finder import FinderMaker
    from manifests.prepare.prepare import prepare

    started = time.monotonic()
    (step,) = steps(job)
    settings = job.settings
    finder = FinderMaker(settings.prepare.masks, settings.finder, settings.seed, job.folder.work / "masks")
    summary = prepare(job.data, job.folder.real, settings.prepare, progress, finder, base_pictures(job))
    figures = {
        "source": summary.source_name,
        "counts": summary.counts,
        "rejected by check": summary.rejected_counts,
        "groups": summary.groups,
        "understood": list(summary.understood),
    }
    write_record(job.folder, step, [_header(job)], figures, time.monotonic() - started)
    return figures


def open_real(job: Job) -> Manifest:
    """The run's real manifest. Raises BadInput if prepare has not made it yet."""
    from manifests.format.reading import open_manifest

    real_digest(job)
    return open_manifest(job.folder.real)


def served_benchmark(job: Job) -> BenchmarkSettings:
    """The benchmark's settings with the tasks that the real pairs serve: given masks in every split for segmentation,
    two classes for classification. Raises BadInput where none is left."""
    settings, lacking = job.settings.benchmark, lacking_tasks(job)
    tasks = tuple(task for task in settings.tasks if task not in lacking)
    if not tasks:
        raise BadInput(f"{job.data}: nothing to benchmark: {'; '.join(lacking.values())}; set benchmark.tasks")
    return settings.model_copy(update={"tasks": tasks})


def lacking_tasks(job: Job) -> dict[str, str]:
    """The benchmark's tasks that the real pairs do not serve, each with a sentence that says why."""
    real, lacking = open_real(job), {}
    there = [split for split, counts in real.counts().items() if any(counts.values())]
    ungiven = [split for split in there if "given" not in {origin for _, origin in real.masks_by(split)}]
    if ungiven:
        where = f" in {' and '.join(ungiven)}" if ungiven != there else ""
        judged = "; found masks judge no segmenter" if FOUND_MASKS in real.header["provenance"] else ""
        lacking["segmentation"] = f"segmentation is not benchmarked: no masks are given{where}{judged}"
    if len(real.classes) < 2:
        lacking["classification"] = "classification is not benchmarked: it needs two classes, and there is one"
    return {task: why for task, why in lacking.items() if task in job.settings.benchmark.tasks}


def real_digest(job: Job) -> str:
    """Digest of the real manifest. Raises BadInput if prepare has not made it yet."""
    if not _header(job).exists():
        raise BadInput(f"{job.folder.real}: no prepared pairs yet; run evenderm prepare, or evenderm run, first")
    return file_digest(_header(job))


def _header(job: Job) -> Path:
    return job.folder.real / "manifest.json"
