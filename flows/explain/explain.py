"""Explaining images with what a run has learned: with which models, into which files."""

from __future__ import annotations

import hashlib
import json
from collections.abc import Callable, Hashable, Mapping, Sequence
from pathlib import Path
from typing import TYPE_CHECKING, Any

from flows.explain.sources import ImageSource, read_contents
from flows.judging.benchmark import benchmark_work
from flows.run.folder import Job
from flows.run.records import file_digest, values_digest
from flows.settings import flat
from flows.steps.adapt import base_facts
from flows.steps.prepare import open_real, real_digest
from manifests.errors import BadInput
from manifests.files import write_json
from manifests.progress import Progress, no_progress

if TYPE_CHECKING:
    from evaluate.diagnosis.ensemble import ClassifierDiagnoser, DownstreamMembers
    from evaluate.diagnosis.interface import Diagnoser
    from evaluate.explain.demonstrations import ClassSamplers
    from evaluate.explain.explainer import Explainer
    from evaluate.explain.localisation import FindLesion
    from flows.engine.watch import Watch
    from manifests.pairs import PairArrays

VERSION = 3


def explain_chunk(
    job: Job,
    number: int,
    sources: Sequence[ImageSource],
    out: Path,
    mask: Path | None = None,
    wanted: Sequence[str] = (),
    progress: Progress = no_progress,
    load: Callable[[], Explainer] | None = None,
) -> dict[str, Any]:
    """The record (rows, failures, file) of page `number`, which is written, or kept if it is of the same inputs.

    load: gives the run's explainer. An image that cannot be explained is a failure, not an error.
    """
    from evaluate.explain.explanation import to_json
    from evaluate.explain.page import render_page
    from evaluate.parts import finished_record
    from manifests.files import replace_file

    record_path = out / ".pages" / f"{number:05d}.json"
    contents, failures = read_contents(sources)
    digest = _page_digest(job, contents, failures, mask, wanted)
    page = out / ("explain.html" if number == 0 else f"explain-{number + 1}.html")
    finished = finished_record(record_path, digest)
    if finished is not None and page.is_file():
        return finished
    explainer = load() if load else explainer_of(job)
    explanations, rows = [], []
    for place, (source, (content, own_mask)) in enumerate(contents.items()):
        try:
            explanations.append(_explained(explainer, source, content, mask, own_mask, wanted))
        except BadInput as error:
            failures[source.name] = str(error)
            continue
        rows.append({**to_json(explanations[-1]), "truth": source.truth, "page": page.name})
        progress(place + 1, len(contents), image=source.name)
    replace_file(page, render_page(explanations, failures, explainer.ensemble.record).encode())
    record = {"digest": digest, "page": page.name, "rows": rows, "failures": failures}
    record_path.parent.mkdir(parents=True, exist_ok=True)
    write_json(record_path, record)
    return record


def finish(job: Job, out: Path, records: Sequence[Mapping[str, Any]]) -> None:
    """Writes explain.jsonl, and the generated reference pairs as a manifest, from the pages' records."""
    from evaluate.diagnosis.interface import CAUTION
    from manifests.files import replace_file

    lines = [json.dumps(row, ensure_ascii=False, sort_keys=True) for record in records for row in record["rows"]]
    for record in records:
        for name, reason in record["failures"].items():
            row = {"caution": CAUTION, "image": name, "failure": reason}
            lines.append(json.dumps(row, ensure_ascii=False, sort_keys=True))
    replace_file(out / "explain.jsonl", ("\n".join(lines) + "\n").encode())
    explainers = _EXPLAINERS.get(_key(job))
    if explainers is not None and explainers.reference_pairs:
        write_references(job, explainers, out / "references")


def write_references(job: Job, explainer: Explainer, out: Path) -> None:
    """The generated reference pairs as a synthetic manifest; none of them passed a gate, so none is accepted."""
    from manifests.format.schema import PairRow
    from manifests.format.writing import ManifestWriter
    from manifests.png import encode_mask, encode_png

    real = open_real(job)
    provenance = {"made_by": dict(explainer.made_by), "version": VERSION}
    writer = ManifestWriter(out, classes=real.classes, kind="synthetic", provenance=provenance)
    sampling = job.settings.sampling
    for dx, drawn in sorted(explainer.reference_pairs.items()):
        rows = [
            PairRow(
                pair_id=f"reference:{dx}-{index:04d}",
                image_png=encode_png(demo.image),
                mask_png=encode_mask(demo.mask),
                dx=dx,
                split="train",
                group_id=demo.group_id or f"reference:{dx}-{index:04d}",
                source="evenderm",
                licence=", ".join(sorted(real.header["licences"])),
                prompt=demo.prompt,
                seed=demo.seed,
                guidance=sampling.guidance,
                steps=sampling.steps,
                sampler=sampling.sampler,
                base_digest=explainer.samplers.base.digest,
                adapter_digest=demo.adapter_digest,
                accepted=False,
                reject_reason="demonstration",
            )
            for index, demo in enumerate(drawn)
        ]
        if rows:
            writer.write_shard(dx, 0, rows)
    writer.commit()


def explainer_of(job: Job, progress: Progress = no_progress) -> Explainer:
    """The run's explainer, loaded once in a process; its ensemble is trained when it is first asked for."""
    key = _key(job)
    if key not in _EXPLAINERS:
        _EXPLAINERS.clear()
        _EXPLAINERS[key] = _load(job, progress)
    return _EXPLAINERS[key]


def watched_explainer(job: Job, watch: Watch) -> Explainer:
    """The run's explainer; loading it is a task of its own, for the first time it trains for minutes."""
    if _key(job) not in _EXPLAINERS:
        with watch.task("models", "updates") as progress:
            explainer_of(job, progress)
    return explainer_of(job)


# By run folder and settings: the models of one run at a time.
_EXPLAINERS: dict[Hashable, Explainer] = {}


def fit_ensemble(job: Job, progress: Progress = no_progress) -> ClassifierDiagnoser:
    """The run's diagnosing ensemble, from its work folder where it is already there."""
    from evaluate.diagnosis.ensemble import fit_classifier_diagnoser

    settings, seed, folder = job.settings.explain.classifier, job.settings.seed, _folder(job) / "ensemble"
    train, validation = job.pairs("train"), job.pairs("validation")
    return fit_classifier_diagnoser(train, validation, settings, folder, seed, progress, _downstream(job))


def _downstream(job: Job) -> DownstreamMembers | None:
    """The run's own downstream classifiers, once its benchmark has finished."""
    from evaluate.diagnosis.ensemble import downstream_members

    if not job.settings.explain.classifier.downstream:
        return None
    try:
        results = json.loads(job.folder.results.read_text(encoding="utf-8"))
    except (OSError, ValueError):
        return None
    return downstream_members(results, benchmark_work(job) / "models")


def _load(job: Job, progress: Progress) -> Explainer:
    import numpy as np

    from evaluate.explain.demonstrations import ClassSamplers
    from evaluate.explain.explainer import Explainer

    settings, ensemble, train = job.settings.explain, fit_ensemble(job, progress), job.pairs("train")
    base = job.settings.base
    samplers = ClassSamplers(job.base(), job.folder.adapters, job.settings.sampling, base.dtype)
    made_by = {
        "run": job.name,
        "real": real_digest(job),
        "base": samplers.base.digest,
        "ensemble": ensemble.record["digest"],
        "seed": job.settings.seed,
    }
    return Explainer(
        settings,
        job.settings.base.resolution,
        job.settings.seed,
        diagnoser_of(settings.diagnoser, job, ensemble),
        ensemble,
        train.select(np.flatnonzero(train.labels >= 0)) if (train.labels < 0).any() else train,
        _finders(job, train, samplers, progress),
        samplers,
        made_by,
        job.settings.synthesis.detail,
        _drawn_cases(job),
    )


def _drawn_cases(job: Job) -> frozenset[str]:
    """Ids of the run's training pairs that are no photographs."""
    real = open_real(job)
    if not real.drawn:
        return frozenset()
    table = real.table(["pair_id", "origin"], split="train")
    return frozenset(row["pair_id"] for row in table.to_pylist() if row["origin"] == "drawn")


def _finders(job: Job, train: PairArrays, samplers: ClassSamplers, progress: Progress) -> dict[str, FindLesion]:
    """Who is asked where the lesion is, in the order in which they are believed."""
    from augment.prompts import prompt_for
    from evaluate.explain.localisation import SamLocaliser, by_denoiser, by_segmenters, run_segmenters
    from evaluate.gates.fitting import segmenter_pairs

    settings, seed = job.settings.explain.localiser, job.settings.seed
    taught = segmenter_pairs(train.masked(), job.settings.gates)
    finders: dict[str, FindLesion] = {}
    for method in dict.fromkeys((*settings.methods, *(("sam",) if settings.sam else ()))):
        if method == "unet":
            finders[method] = by_segmenters(
                run_segmenters(job.folder.judge, _folder(job), taught, settings, seed, progress)
            )
        elif method == "denoiser":
            prompts = [prompt_for(dx) for dx in train.classes]
            finders[method] = by_denoiser(samplers.any(train.classes), prompts, seed)
        elif not settings.sam:
            raise BadInput("explain.localiser.methods names sam; give explain.localiser.sam a local folder or hub id")
        else:
            finders[method] = SamLocaliser(settings.sam, settings.sam_revision)
    return finders


def diagnoser_of(name: str, job: Job, ensemble: ClassifierDiagnoser | None) -> Diagnoser:
    """The diagnoser that the settings name. Raises BadInput where its own settings are missing."""
    settings, classes = job.settings.explain, open_real(job).classes
    if name == "vlm":
        from evaluate.diagnosis.vlm import VlmDiagnoser

        return VlmDiagnoser(settings.vlm, classes)
    if name == "endpoint":
        from evaluate.diagnosis.endpoint import EndpointDiagnoser

        return EndpointDiagnoser(settings.endpoint, classes)
    return ensemble if ensemble is not None else fit_ensemble(job)


def _explained(
    explainer: Explainer,
    source: ImageSource,
    content: bytes,
    mask: Path | None,
    own: bytes | None,
    wanted: Sequence[str],
) -> Any:
    from evaluate.explain.explainer import read_image, read_mask

    picture = read_image(content, source.name, explainer.settings)
    given = None
    if mask is not None:
        given = read_mask(ImageSource(mask.name, mask).read(), str(mask), explainer.settings)
    elif own is not None:
        given = read_mask(own, f"{source.name}, mask", explainer.settings)
    return explainer.explain(picture, given, wanted)


def _page_digest(
    job: Job,
    contents: Mapping[ImageSource, tuple[bytes, bytes | None]],
    failures: Mapping[str, str],
    mask: Path | None,
    wanted: Sequence[str],
) -> str:
    """What decides a page: images, mask, settings, data, base and adapters."""
    parts: list[Any] = [VERSION, open_real(job).digest, base_facts(job)["digest"], dict(failures), list(wanted)]
    parts += [flat(job.settings.explain), flat(job.settings.sampling), job.settings.synthesis.detail, job.settings.seed]
    parts += [[path.name, file_digest(path)] for path in sorted(job.folder.adapters.glob("*.safetensors"))]
    downstream = _downstream(job)
    parts += [file_digest(mask) if mask else None, downstream.digest if downstream else None]
    for source, pair in contents.items():
        parts.append([source.name, *(hashlib.sha256(part).hexdigest() if part else "" for part in pair)])
    return values_digest(*parts)


def _folder(job: Job) -> Path:
    return job.folder.work / "explain"


def _key(job: Job) -> Hashable:
    own = job.settings
    return job.folder, job.name, own.base, own.sampling, own.explain, own.synthesis.detail, own.seed


def with_diagnoser(overrides: Sequence[str], diagnoser: str | None) -> list[str]:
    """The overrides with the diagnoser that was asked for by its own option."""
    return [*overrides, *([f"explain.diagnoser={diagnoser}"] if diagnoser else [])]
