"""The external step: datasets or manifests of other hospitals become test pairs, each in a manifest of its own."""

from __future__ import annotations

import shutil
import time
from collections.abc import Mapping, Sequence
from pathlib import Path
from typing import TYPE_CHECKING, Any

from flows.engine.calls import Call
from flows.run.folder import Job
from flows.run.records import Step, file_digest, read_record, unfinished_steps, write_record
from flows.settings import flat
from flows.steps.prepare import base_pictures, data_digest, open_real, pictures_digest, real_digest, served_benchmark
from manifests.errors import BadInput
from manifests.format.schema import HEADER_NAME
from manifests.progress import Progress
from manifests.settings import PrepareSettings, TableColumns

if TYPE_CHECKING:
    from manifests.format.reading import Manifest

VERSION = 1
PLACE = "place"
"""Among the record's figures: where the set lay."""


def steps(job: Job) -> list[Step]:
    """What the test pairs of each external set would be made from now; nothing where there is no set."""
    settings = {f"prepare.{name}": value for name, value in flat(_prepare_settings(job)).items() if name != "workers"}
    settings["classes"] = job.settings.prepare.model_dump(mode="json")["classes"]
    settings["not a picture of"] = list(_known_splits(job))
    seen = {"real": real_digest(job), **pictures_digest(job)}
    return [
        Step(f"external:{name}", VERSION, settings, {**seen, "set": _digest(job, name)})
        for name in job.settings.benchmark.external
    ]


def next_calls(job: Job, failed: Sequence[Call]) -> list[Call]:
    """A call for each set."""
    names = [step.name.partition(":")[2] for step in unfinished_steps(job.folder, steps(job))]
    return [Call("external", f"external {name}", {"name": name}) for name in names]


def admit_set(job: Job, progress: Progress, name: str) -> Mapping[str, Any]:
    """Prepares an external set, if it is a dataset, and keeps the pairs that may test the models of this run."""
    from evaluate.benchmark.external import admit_pairs, external_notes, untested
    from manifests.format.reading import open_manifest
    from manifests.prepare.prepare import prepare

    started = time.monotonic()
    (step,) = (step for step in steps(job) if step.name == f"external:{name}")
    place, work, settings = _place(job, name), job.folder.work / "external" / name, _prepare_settings(job)
    if not _is_manifest(place):
        prepare(Path(place), work / "prepared", settings, progress)
        place = work / "prepared"
    classes = job.settings.prepare.classes
    renamed = classes if isinstance(classes, Mapping) else {}
    out = job.folder.external / name
    sides, known = (open_manifest(place), open_real(job)), _known_splits(job)
    pairs = admit_pairs(name, *sides, renamed, out, work, known, settings.workers, progress, base_pictures(job))
    shutil.rmtree(work, ignore_errors=True)
    tasks = served_benchmark(job).tasks
    if len(reasons := untested(pairs, tasks)) == len(tasks):
        why = " and ".join(f"no {task}, as {reason}" for task, reason in reasons.items())
        raise BadInput(f"benchmark.external {name}: nothing can be tested: {why}; leave the set out")
    figures = {PLACE: job.settings.benchmark.external[name]}
    write_record(job.folder, step, [out / HEADER_NAME], figures, time.monotonic() - started)
    count = sum(pairs.counts()["test"].values())
    return {"understood": [f"{name}: {line}" for line in (f"{count} pairs to test", *external_notes(pairs, tasks))]}


def external_manifests(job: Job) -> dict[str, Manifest]:
    """The test pairs of each external set. Raises BadInput where the step was not run."""
    from manifests.format.reading import open_manifest

    return {name: open_manifest(job.folder.external / name) for name in job.settings.benchmark.external}


def external_digests(job: Job) -> dict[str, str]:
    """What stands for those pairs in digests."""
    headers = {name: job.folder.external / name / HEADER_NAME for name in job.settings.benchmark.external}
    return {f"external {name}": file_digest(path) if path.exists() else "" for name, path in headers.items()}


def _known_splits(job: Job) -> tuple[str, ...]:
    """The splits whose lesions no external set may show: in a cross-validation all that have folds."""
    benchmark = job.settings.benchmark
    return tuple(dict.fromkeys(("train", "validation", *(benchmark.fold_splits if benchmark.cross_validated else ()))))


def _prepare_settings(job: Job) -> PrepareSettings:
    """As the run's own data are prepared, but for what is about those alone."""
    own = {
        "source": "auto",
        "task": "auto",
        "columns": TableColumns(),
        "classes": (),
        "licence": None,
        "split": "grouped",
        "keep_splits_of": None,
        "strict": False,
    }
    return job.settings.prepare.model_copy(update=own)


def _place(job: Job, name: str) -> str | Path:
    """Where the set lies: a manifest, that of a run, or a dataset. BadInput where there is nothing."""
    told = job.settings.benchmark.external[name]
    if "://" in told:
        return told
    path = Path(told).expanduser()
    if not path.exists():
        raise BadInput(f"benchmark.external {name}: {path}: no such dataset or manifest; check the path")
    return path / "real" if _is_manifest(path / "real") else path


def _is_manifest(place: str | Path) -> bool:
    return isinstance(place, str) or (place / HEADER_NAME).is_file()


def _digest(job: Job, name: str) -> str:
    """What stands for the set; for one whose source is gone that of the pairs that were admitted from it."""
    from manifests.format.reading import read_header

    try:
        place = _place(job, name)
    except BadInput:
        record = read_record(job.folder, f"external:{name}")
        if record is None or record.figures.get(PLACE) != job.settings.benchmark.external[name]:
            raise
        return record.inputs["set"]
    return read_header(place).digest if _is_manifest(place) else data_digest(Path(place), _prepare_settings(job))
