"""The adapt step: a domain adapter where the base needs one, then one adapter per class."""

from __future__ import annotations

import time
from collections import Counter
from collections.abc import Mapping, Sequence
from dataclasses import asdict
from typing import TYPE_CHECKING, Any

from flows.engine.calls import Call
from flows.run.folder import Job
from flows.run.records import Step, Values, file_digest, listing_digest, noted, unfinished_steps, write_record
from flows.settings import flat_groups
from flows.steps.domain import DOMAIN, changed_classes, domain_reason
from flows.steps.prepare import open_real, real_digest
from manifests.errors import BadInput
from manifests.format.schema import path_name
from manifests.progress import Progress

if TYPE_CHECKING:
    from augment.base.folder import BaseFolder

VERSION = 4


def steps(job: Job) -> list[Step]:
    """What each adapter would be made from now, the domain adapter first. BadInput if no class has enough pairs."""
    check_counts(job)
    settings: dict[str, Any] = {"seed": job.settings.seed, "threads": job.settings.engine.threads}
    settings |= flat_groups(job.settings, "adapt", "base")
    base = base_facts(job)
    inputs = {"real": real_digest(job), "base": str(base["digest"])}
    classes = trained_classes(job)
    domain = [Step(f"adapt:{DOMAIN}", VERSION, settings, inputs)] if domain_reason(job, base, classes) else []
    if domain:
        inputs = {**inputs, DOMAIN: adapter_digest(job, DOMAIN)}
    return domain + [Step(f"adapt:{dx}", VERSION, settings, inputs) for dx in classes]


def announced(job: Job) -> list[str]:
    """What the training will do, before it begins: why a domain adapter comes first, each adapter's budget, the time.

    The time is told for the shipped base on a processor, whose speed is known.
    """
    from augment.budget.plan import budgeted, minutes_of, told

    unfinished = unfinished_steps(job.folder, steps(job))
    if not unfinished:
        return []
    base, counts, settings = base_facts(job), masked_counts(job), job.settings.adapt
    classes = trained_classes(job)
    reason = domain_reason(job, base, classes)
    lines = changed_classes(job, classes)
    lines += [f"a domain adapter comes first: {reason}"] if reason else []
    joint, minutes = bool(base["joint"]), 0.0
    domain = budgeted(settings, sum(counts.values()), True, joint)
    for step in unfinished:
        name = step.name.partition(":")[2]
        start = {"r": domain.rank, "lora_alpha": domain.alpha} if DOMAIN in step.inputs else None
        own = domain if name == DOMAIN else budgeted(settings, counts[name], False, joint, start)
        lines.append(told(name, own, sum(counts.values()) if name == DOMAIN else counts[name]))
        minutes += minutes_of(own)
    if job.settings.base.path == "shipped":
        lines.append(f"about {max(1, round(minutes))} min on one idle core, less where an adapter stops early")
    return lines


def next_calls(job: Job, failed: Sequence[Call]) -> list[Call]:
    """A call for the domain adapter; once that is there, one for each class."""
    names = [step.name.partition(":")[2] for step in unfinished_steps(job.folder, steps(job))]
    failures = {call.arguments["name"] for call in failed}
    wanted = [DOMAIN] if DOMAIN in names else names
    return [Call("adapt", f"adapt {name}", {"name": name}) for name in wanted if name not in failures]


def check_counts(job: Job) -> None:
    """BadInput where no class has enough training pairs, or benchmark.low_data names no part of them."""
    from evaluate.benchmark.arms import part_counts

    for part in job.settings.benchmark.low_data:
        part_counts(open_real(job).counts().get("train", {}), part)
    if not trained_classes(job):
        counts, least = masked_counts(job), job.settings.adapt.min_pairs
        poor = ", ".join(f"{dx} has {count}" for dx, count in counts.items())
        unmasked = "" if any(counts.values()) else "no training picture has a mask, and adapters learn pairs; "
        raise BadInput(
            f"{job.data}: too few training pairs for an adapter ({poor or 'no class'}, {least} are needed); {unmasked}"
            "add pairs, merge classes with prepare.classes, or lower adapt.min_pairs"
        )


def train_one(job: Job, progress: Progress, name: str) -> Mapping[str, Any]:
    """Trains the adapter of the class `name`, or the domain adapter, on the training split."""
    from augment.adapters import read_adapter
    from augment.training.adapt import train_adapter, write_model_card
    from augment.training.adapter import AdaptTask

    started = time.monotonic()
    (step,) = (step for step in steps(job) if step.name == f"adapt:{name}")
    base = job.base()
    start = read_adapter(job.folder.adapter(DOMAIN), base) if DOMAIN in step.inputs else None
    task = AdaptTask(name, job.settings.seed, real_digest(job), start, open_real(job).all_drawn)
    pairs = job.pairs("train", None if name == DOMAIN else name, masked=True)
    out, work = job.folder.adapter(name), job.folder.work / "adapt" / path_name(name)
    report = train_adapter(pairs, task, base, job.settings.adapt, out, work, progress)
    write_model_card(out.parent)
    found = asdict(report).items()
    figures: dict[str, Any] = {key: value for key, value in found if isinstance(value, int | float | str)}
    if name == DOMAIN:
        figures["classes"] = trained_classes(job)
    elif start is None:
        job.folder.adapter(DOMAIN).unlink(missing_ok=True)  # of an earlier training, which no adapter begins at now
    write_record(job.folder, step, [out], figures, time.monotonic() - started)
    return {**figures, "given_up": untrained_classes(job)}


def train_counts(job: Job) -> dict[str, int]:
    """Real training pairs by class; those without a mask count only where classification is benchmarked."""
    real = open_real(job)
    if "classification" not in job.settings.benchmark.tasks or len(real.classes) < 2:
        return masked_counts(job)
    counts = real.counts().get("train", {})
    return {dx: int(counts.get(dx, 0)) for dx in real.classes}


def masked_counts(job: Job) -> dict[str, int]:
    """Real training pairs by class that teach adapters: with a mask that is given, or found and not doubtful."""
    real = open_real(job)
    there: Counter[str] = Counter()
    for (dx, origin), count in real.masks_by("train").items():
        there[dx] += count if origin != "doubtful" else 0
    return {dx: there[dx] for dx in real.classes}


def trained_classes(job: Job) -> list[str]:
    """The classes with enough training pairs for an adapter, in the manifest's order."""
    return [dx for dx, count in masked_counts(job).items() if count >= job.settings.adapt.min_pairs]


def untrained_classes(job: Job) -> list[str]:
    """A sentence for each class that has training pairs, and too few of them for an adapter."""
    trained, masked, least = trained_classes(job), masked_counts(job), job.settings.adapt.min_pairs
    return [
        f"{dx} has {masked[dx]} training pairs with a mask and {least} are needed: it gets no adapter and no generated "
        "pairs, and takes part as it is (prepare.classes can merge it)"
        for dx, count in train_counts(job).items()
        if count and dx not in trained
    ]


def adapter_digest(job: Job, name: str) -> str:
    """Digest of an adapter file; empty if it is not there."""
    path = job.folder.adapter(name)
    return file_digest(path) if path.exists() else ""


def base_facts(job: Job) -> Values:
    """The base's digest, side in pixels, whether it is joint, and the digest of what it says that it knows.

    Made again only when its files changed: it may be gigabytes, and checking loads torch. Raises BadInput if the run's
    pictures have another side.
    """
    settings, folder = job.settings.base, job.base_place
    key = [VERSION, settings.path, settings.revision, listing_digest(folder) if folder.exists() else ""]
    facts = noted(job.folder.records / "base.json", key, lambda: _facts(job.base()))
    if facts["side"] != settings.resolution:
        raise BadInput(
            f"base.path={settings.path}: draws {facts['side']} px where base.resolution is {settings.resolution}; set "
            f"base.resolution={facts['side']} and a prepare.size no smaller"
        )
    return facts


def _facts(base: BaseFolder) -> Values:
    knows = base.path / "domain.json"
    return {
        "digest": base.digest,
        "joint": base.codec is not None,
        "side": base.unet_side * base.downscale,
        "knows": file_digest(knows) if knows.is_file() else "",
    }
