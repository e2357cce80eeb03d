"""The end of the benchmark: results.json from the finished cells, the audits, the timings and the machine."""

from __future__ import annotations

import json
import os
import platform
import time
from collections.abc import Mapping
from importlib.metadata import PackageNotFoundError, version
from typing import TYPE_CHECKING, Any

from evaluate.results import tables_of
from flows.judging.benchmark import (
    benchmark_work,
    budgeted,
    cell_figures,
    settled_benchmark,
    steps,
    synthetic_manifest,
    trained_round,
)
from flows.judging.external import external_manifests
from flows.judging.folds import fold_rounds, split_jobs
from flows.judging.low_data import parts_of, restricted_manifests
from flows.run.folder import Job
from flows.run.log import read_events
from flows.run.records import read_record, write_record
from flows.steps.adapt import untrained_classes
from flows.steps.prepare import lacking_tasks, open_real, unknown_pictures
from manifests.format.reading import Manifest
from manifests.progress import Progress

if TYPE_CHECKING:
    import pyarrow as pa

    from manifests.pairs import PairArrays

LIBRARIES = (
    "evenderm",
    "torch",
    "diffusers",
    "peft",
    "timm",
    "segmentation-models-pytorch",
    "numpy",
    "prefect",
)


def collect_results(job: Job, progress: Progress) -> Mapping[str, Any]:
    """Writes results.json: arms and comparisons, fidelity, copies, gates."""
    from evaluate.benchmark import collect
    from evaluate.benchmark.external import external_results
    from evaluate.results import write_results

    started = time.monotonic()
    (step,) = steps(job)
    real, synthetic = open_real(job), synthetic_manifest(job)
    audits = audit(job, synthetic, progress) if synthetic is not None else {}
    rounds = fold_rounds(job)
    judged = rounds[0].settings.model_copy(update={"folds": len(rounds)}) if rounds else settled_benchmark(job)
    results = collect.collect_results(
        benchmark_work(job),
        real,
        synthetic,
        judged,
        environment(job),
        timings(job),
        arrays=job.folder.arrays,
        restricted=restricted_manifests(job),
        folds=rounds,
        fidelity=audits.get("fidelity"),
        copies=audits.get("copies"),
        gates=audits.get("gates"),
    )
    external = external_manifests(job).items()
    trained = rounds or [trained_round(job)]
    results["external"] = [external_results(name, pairs, trained, results["arms"]) for name, pairs in external]
    _, cuts = budgeted(job)
    results["pilot"] = pilot_reports(job)
    results["data"]["notes"] += [*cuts, *run_notes(job), *mask_notes(audits.get("gates"))]
    results |= tables_of(job.folder.results)
    write_results(job.folder.results, results)
    told = headline(results)
    figures = {**told, **cell_figures(job, job)}
    write_record(job.folder, step, [job.folder.results], figures, time.monotonic() - started)
    return told


def headline(results: Mapping[str, Any]) -> dict[str, Any]:
    """The verdicts by task, those on external sets that are harm or gain, and a sentence for each task."""
    from evaluate.sections.tasks import verdicts_elsewhere

    verdicts = {verdict["task"]: verdict["verdict"] for verdict in results["verdicts"]}
    sentences = [verdict["sentence"] for verdict in results["verdicts"]]
    elsewhere = {task: found for task in verdicts if (found := verdicts_elsewhere(results, task))}
    return {"verdicts": verdicts, "elsewhere": elsewhere, "sentences": sentences}


def pilot_reports(job: Job) -> list[dict[str, Any]]:
    """What the pilot of each split found."""
    from evaluate.benchmark.pilot import pilot_report, pilot_standings

    found: list[dict[str, Any]] = []
    for fold, part in enumerate(split_jobs(job), 1):
        settings, _ = budgeted(part)
        report = pilot_report(settings, pilot_standings(settings, open_real(part), benchmark_work(part)))
        named = {"fold": fold} if job.settings.benchmark.cross_validated else {}
        found += [{**of_task, **named} for of_task in report]
    return found


def audit(job: Job, synthetic: Manifest, progress: Progress) -> dict[str, Mapping[str, Any]]:
    """Fidelity and copies of the generated pairs, and what the gates did where they judged them."""
    from evaluate.fidelity.scores import build_extractor, fidelity_report
    from evaluate.gates.report import gates_report

    settings = job.settings.fidelity
    train, validation = (job.pairs(split, masked=True) for split in ("train", "validation"))
    extractor = build_extractor(settings, train, job.folder.work / "fidelity", progress)
    generated = synthetic.arrays(split="train", size=job.settings.base.resolution, cache=job.folder.arrays)
    candidates = synthetic.table(_judged_columns(synthetic), accepted_only=False)
    found: dict[str, Mapping[str, Any]] = {
        "fidelity": fidelity_report(train, validation, generated, settings, extractor),
        "copies": audit_copies(job, candidates, generated, train, validation, progress),
    }
    if job.settings.synthesis.gates:
        header = json.loads((job.folder.judge / "judge.json").read_text(encoding="utf-8"))
        found["gates"] = gates_report(candidates, header)
    return found


def audit_copies(
    job: Job, candidates: pa.Table, generated: PairArrays, train: PairArrays, validation: PairArrays, progress: Progress
) -> Mapping[str, Any]:
    """The copy audit. The gates have looked up the nearest real pairs; without gates they are looked up here."""
    from evaluate.copies.audit import with_nearest
    from evaluate.copies.index import CopyIndex, copies_report
    from evaluate.gates.fitting import copy_index

    if job.settings.synthesis.gates:
        index = CopyIndex.load(job.folder.copies)
    else:
        index = copy_index(train, job.settings.gates, job.folder.judge, progress)
        candidates = with_nearest(index, candidates, generated)
    return copies_report(index, candidates, validation)


def environment(job: Job) -> dict[str, Any]:
    """The machine and the versions that made the results."""
    import torch

    found: dict[str, Any] = {
        "platform": platform.platform(),
        "processor": platform.processor() or platform.machine(),
        "processors": os.cpu_count(),
        "threads": job.settings.engine.threads,
        "device": torch.cuda.get_device_name() if torch.cuda.is_available() else "cpu",
        "python": platform.python_version(),
        "preset": job.preset,
        "engine": job.settings.engine.name,
    }
    for library in LIBRARIES:
        try:
            found[library] = version(library)
        except PackageNotFoundError:
            found[library] = None
    return found


def timings(job: Job) -> dict[str, Any]:
    """Seconds of each step, as the log has them, and the highest memory of any."""
    found: dict[str, Any] = {}
    peak, begun = 0, time.time()
    for event in read_events(job.folder.log):
        if event["event"] == "step":
            found[str(event["step"])] = event["seconds"]
            peak = max(peak, int(event["memory"]))
        elif event["event"] == "step started":
            begun = float(event["time"])
    # The step that this belongs to is not over yet.
    return found | {"benchmark": round(time.time() - begun, 3), "peak memory": f"{peak / 2**30:.2f} GiB"}


def mask_notes(gates: Mapping[str, Any] | None) -> list[str]:
    """That found masks stand where given ones should, in what the gates learned from."""
    held_out = ((gates or {}).get("judge") or {}).get("held_out", {})
    if held_out.get("masks") != "found":
        return []
    return [
        "the segmenters of the gates learned from found masks, since too few are given: their agreement is with what "
        "another segmenter sees, and says nothing of how good they are"
    ]


def run_notes(job: Job) -> list[str]:
    """What a reader of the results must know of the run: classes left out or that gave up, and what a base has seen."""
    record = read_record(job.folder, "synthesise")
    notes = [str(line) for line in record.figures.get("given_up", [])] if record else []
    try:
        failed = json.loads(job.folder.failures.read_text(encoding="utf-8"))
    except (OSError, ValueError):
        failed = {}
    notes += [f"{title} failed and is left out: {why}" for title, why in sorted(failed.items())]
    prepared = read_record(job.folder, "prepare")
    notes += [str(line) for line in prepared.figures.get("understood", [])] if prepared else []
    notes += [*unknown_pictures(job), *lacking_tasks(job).values(), *untrained_classes(job)]
    if parts_of(split_jobs(job)[0]):
        own = job.settings.base.path == "shipped"
        seen = "all training pairs of ISIC 2017" if own else "whatever it was trained on"
        notes.append(
            "low-data arms: adapters and gates saw the same part of the training pairs as the classifiers; "
            f"the base itself had seen {seen}, so that a gain there is not the gain of a base from elsewhere"
        )
    return list(dict.fromkeys(notes))


def _judged_columns(synthetic: Manifest) -> list[str]:
    """All columns but the pictures."""
    return [name for name in synthetic.columns() if name not in ("image", "mask")]
