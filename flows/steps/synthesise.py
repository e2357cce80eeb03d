"""The synthesise step: shard ranges are drawn and judged until every class is balanced, then committed."""

from __future__ import annotations

import time
from collections.abc import Collection, Mapping, Sequence
from dataclasses import dataclass
from functools import lru_cache
from pathlib import Path
from typing import TYPE_CHECKING, Any

from evaluate.gates.judge import COPY
from flows.engine.calls import Call
from flows.run.folder import Job, RunFolder
from flows.run.records import Step, unfinished_steps, write_record
from flows.settings import flat_groups
from flows.steps.adapt import adapter_digest, base_facts, masked_counts, train_counts, trained_classes
from flows.steps.digests import settings_of_gates
from flows.steps.prepare import open_real, real_digest
from flows.steps.review import readers_digest, readers_of
from manifests.errors import BadInput
from manifests.progress import Progress

if TYPE_CHECKING:
    from augment.balance import ClassOutcome
    from augment.fine_detail import FineDetail
    from augment.sampling import PairSampler
    from augment.settings import CheckpointSettings, SamplingSettings
    from augment.synthesis import ClassJob, Settlement
    from augment.ways.drawing import WaySources
    from manifests.storage.base import Storage

VERSION = 3

_COPIES = 8  # below so many nothing is said


def steps(job: Job) -> list[Step]:
    """What the synthetic manifest would be made from now."""
    settings: dict[str, Any] = {"seed": job.settings.seed, "threads": job.settings.engine.threads}
    settings |= flat_groups(job.settings, "base", "sampling", "synthesis") | settings_of_gates(job)
    inputs = {"real": real_digest(job), "base": str(base_facts(job)["digest"])}
    inputs |= {f"adapter {dx}": adapter_digest(job, dx) for dx, wanted in wanted_pairs(job).items() if wanted}
    inputs |= {"readers": digest} if (digest := readers_digest(job)) else {}
    return [Step("synthesise", VERSION, settings, inputs)]


def next_calls(job: Job, failed: Sequence[Call]) -> list[Call]:
    """A round of shard ranges, as many as the acceptance rate so far asks for; where none is missing, the commit.

    A class without an adapter, or one whose range fails, is left out.
    """
    if not unfinished_steps(job.folder, steps(job)):
        return []
    classes = {dx for dx, wanted in wanted_pairs(job).items() if wanted}
    left_out = {dx for dx in classes if not adapter_digest(job, dx)}
    if left_out and left_out == classes:
        raise BadInput(f"{job.folder.adapters}: no adapter yet; run evenderm adapt, or evenderm run, first")
    left_out |= {str(call.arguments["dx"]) for call in failed if call.kind == "synthesise"}
    outcomes = class_outcomes(job, classes - left_out)
    ranges = [(dx, shard) for dx, outcome in outcomes.items() for shard in outcome.missing_shards]
    calls = [Call("synthesise", f"synthesise {dx} {shard}", {"dx": dx, "shard": shard}) for dx, shard in ranges]
    return calls or [Call("commit", "commit", {"without": sorted(left_out)})]


def fill_range(job: Job, progress: Progress, dx: str, shard: int) -> Mapping[str, Any]:
    """Draws and judges one range of candidates of class `dx`."""
    from augment.synthesis import draw_shard

    folder, settings = job.folder, job.settings
    sampler = _sampler(folder.adapter(dx), adapter_digest(job, dx), settings.base, folder.bases, settings.sampling)
    judge = _judge(job.folder.judge) if job.settings.synthesis.gates else None
    detail = _fine_detail(job, dx, sampler.side)
    people = _people(job.folder, real_digest(job), dx, sampler.attributes)
    made_of = class_job(job, dx)
    sources = _sources(job.folder, real_digest(job), dx, sampler.side) if made_of.plan.source_digest else None
    draw_shard(made_of, shard, sampler, judge, _candidates(job), progress, detail, people, sources)
    return {}


def commit_pairs(job: Job, progress: Progress, without: Sequence[str]) -> Mapping[str, Any]:
    """Writes the settled candidates of every class but those in `without` as the synthetic manifest."""
    from augment.synthesis import write_class
    from manifests.format.writing import ManifestWriter

    started = time.monotonic()
    release_models()
    (step,) = steps(job)
    wanted = wanted_pairs(job)
    classes = [dx for dx, number in wanted.items() if number and dx not in without]
    outcomes = class_outcomes(job, classes)
    outputs: list[Path] = []
    if any(outcome.candidates for outcome in outcomes.values()):
        provenance = {"inputs": dict(step.inputs), "settings": dict(step.settings), "without": list(without)}
        writer = ManifestWriter(
            job.folder.synthetic, classes=open_real(job).classes, kind="synthetic", provenance=provenance
        )
        shards = []
        for number, dx in enumerate(classes):
            count = write_class(_SETTLEMENTS[job.folder.work, dx].settlement, writer)
            shards += [(dx, index) for index in range(count)]
            progress(number + 1, len(classes))
        writer.commit(shards)
        outputs = [job.folder.synthetic / "manifest.json"]
    figures = {
        "accepted": {dx: outcome.accepted for dx, outcome in outcomes.items()},
        "candidates": {dx: outcome.candidates for dx, outcome in outcomes.items()},
        "rejected": {dx: dict(outcome.rejected) for dx, outcome in outcomes.items()},
        "given_up": [line for outcome in outcomes.values() for line in (outcome.given_up, copied(outcome)) if line],
    }
    if not without:
        write_record(job.folder, step, outputs, figures, time.monotonic() - started)
    _SETTLEMENTS.clear()
    return figures


def wanted_pairs(job: Job) -> dict[str, int]:
    """The balance plan: pairs to generate by class."""
    from augment.balance import balance_plan

    counts, rule = train_counts(job), job.settings.synthesis.balance
    if len(counts) == 1 and rule in ("max", "median"):
        rule = 1.0  # nothing to even out: as many generated pairs as real ones
    plan = balance_plan(counts, rule, job.settings.synthesis.cap)
    trained = trained_classes(job)
    return {dx: number if dx in trained else 0 for dx, number in plan.items()}


def class_outcomes(job: Job, classes: Collection[str]) -> dict[str, ClassOutcome]:
    """How far each class is with the candidates that are there; a pair that repeats one of a class before is rejected.

    A class is settled anew when one before it has gone on, so that what comes out depends on the candidates alone.
    """
    from augment.synthesis import Settlement

    outcomes: dict[str, ClassOutcome] = {}
    before: list[_Settled] = []
    for dx in sorted(classes):
        own = class_job(job, dx)
        made_of = (own, *((done.made_of[0], outcomes[done.dx]) for done in before))
        known = _SETTLEMENTS.get((job.folder.work, dx))
        if known is None or known.made_of != made_of:
            seen = _seen(job, [done.seen for done in before])
            known = _Settled(dx, made_of, seen, Settlement(own, _candidates(job), seen, readers_of(job)))
            _SETTLEMENTS[job.folder.work, dx] = known
        outcomes[dx] = known.settlement.outcome()
        before.append(known)
    return outcomes


def class_job(job: Job, dx: str) -> ClassJob:
    """What the pairs of class `dx` are made from."""
    import math

    from augment.synthesis import ClassJob
    from augment.ways.plan import plan_of
    from flows.steps.digests import judge_digest

    settings, wanted = job.settings, wanted_pairs(job)[dx]
    real = open_real(job)
    return ClassJob(
        dx=dx,
        label=real.classes.index(dx),
        wanted=wanted,
        limit=math.ceil(wanted * settings.synthesis.candidate_limit),
        seed=settings.seed,
        shard_size=settings.synthesis.shard_size,
        sampling=settings.sampling,
        base_digest=str(base_facts(job)["digest"]),
        adapter_digest=adapter_digest(job, dx),
        judge_digest=judge_digest(job) if settings.synthesis.gates else "",
        licence=", ".join(sorted(real.header["licences"])),
        detail=settings.synthesis.detail,
        detail_digest=real.digest if settings.synthesis.detail else "",
        readers_digest=readers_digest(job),
        plan=plan_of(settings.synthesis, dx, masked_counts(job), real.digest),
        drawn=real.all_drawn,
    )


def copied(outcome: ClassOutcome) -> str | None:
    """A sentence if most pairs of a class that passed every other gate were copies of real ones."""
    copies = outcome.rejected.get(COPY, 0)
    if copies < _COPIES or copies <= outcome.accepted:
        return None
    return (
        f"class {outcome.dx} can only be copied: {copies} of {copies + outcome.accepted} pairs that passed the other "
        "gates repeat a real one; add training pairs, or lower adapt.steps and adapt.rank"
    )


def has_synthetic(job: Job) -> bool:
    """Whether a synthetic manifest has been committed."""
    return (job.folder.synthetic / "manifest.json").exists()


@lru_cache(maxsize=1)
def _sampler(
    adapter: Path, digest: str, checkpoint: CheckpointSettings, bases: Path, sampling: SamplingSettings
) -> PairSampler:
    """The sampler of one adapter, kept for the next range; `digest` tells versions of the file apart."""
    from augment.adapters import read_adapter
    from augment.base.folder import open_base
    from augment.sampling import PairSampler

    base = open_base(checkpoint, bases)
    return PairSampler(base, read_adapter(adapter, base), sampling, checkpoint.dtype)


def _fine_detail(job: Job, dx: str, side: int) -> FineDetail | None:
    """Where fine detail of class `dx` is taken from; None where none is."""
    share = job.settings.synthesis.detail
    return _detail_of(job.folder, real_digest(job), dx, side, share, job.settings.seed) if share else None


@lru_cache(maxsize=1)
def _detail_of(folder: RunFolder, digest: str, dx: str, side: int, share: float, seed: int) -> FineDetail:
    """Kept for the next range; `digest` tells versions of the real manifest apart."""
    from augment.fine_detail import FineDetail

    return FineDetail.of(folder.pairs("train", side, dx).masked(), share, seed)


@lru_cache(maxsize=1)
def _sources(folder: RunFolder, digest: str, dx: str, side: int) -> WaySources:
    """The real pairs that ways other than text begin at; kept for the next range."""
    from augment.ways.drawing import WaySources

    return WaySources.of(folder.pairs("train", side).masked(), dx)


@lru_cache(maxsize=1)
def _people(folder: RunFolder, digest: str, dx: str, names: tuple[str, ...]) -> list[Mapping[str, str]]:
    """The attributes `names` of the real training pairs of `dx`, in their order; kept for the next range."""
    from manifests.format.reading import open_manifest

    if not names:
        return []
    rows = open_manifest(folder.real).table(names, split="train", dx=dx).to_pylist()
    return [{name: value for name, value in row.items() if value is not None} for row in rows]


@lru_cache(maxsize=1)
def _judge(folder: Path) -> Any:
    from evaluate.gates.judge import load_judge

    return load_judge(folder)


@dataclass(frozen=True)
class _Settled:
    """The settled candidates of a class, and what they depend on: its job, and how the classes before it stood."""

    dx: str
    made_of: tuple[Any, ...]
    seen: Any
    settlement: Settlement


# By run and class, kept for the next round of this process: telling repeats takes time.
_SETTLEMENTS: dict[tuple[Path, str], _Settled] = {}


def release_models() -> None:
    """Lets go of the models that ranges of this process kept."""
    _sampler.cache_clear()
    _detail_of.cache_clear()
    _people.cache_clear()
    _sources.cache_clear()
    _judge.cache_clear()


def _candidates(job: Job) -> Storage:
    from manifests.storage import storage_at

    return storage_at(job.folder.work / "candidates")


def _seen(job: Job, earlier: Sequence[Any]) -> Any:
    """What recognises a generated pair that repeats an earlier one of its class or of `earlier` ones; None without
    gates."""
    if not job.settings.synthesis.gates:
        return None
    from evaluate.copies.index import CopyIndex
    from evaluate.copies.seen import SeenIndex

    return SeenIndex(CopyIndex.load(job.folder.copies), earlier)
