"""What the steps of a run found: as figures for programs, and in words for people."""

from __future__ import annotations

import json
from collections.abc import Mapping, Sequence
from typing import Any

from evaluate.gates.reasons import gate_text
from flows.judging.low_data import parts_of
from flows.run.folder import Job
from flows.run.records import read_record, unfinished_steps
from flows.steps import adapt
from flows.steps.domain import DOMAIN
from flows.steps.prepare import unknown_pictures
from manifests.errors import BadInput

Figures = Mapping[str, Any]


def found_by(job: Job, step: str, made: Figures | None = None) -> dict[str, Any]:
    """What a step found, with all its resumptions; empty where it had nothing to do.

    made: what its last call gave; a step that left a class out has it, and no record.
    """
    record = read_record(job.folder, step)
    figures = {**(record.figures if record else {}), **(made or {})}
    if step == "adapt":
        return _adapters(job)
    if step in ("low-data", "folds", "external"):
        return _parts(job, step, figures.get("understood", ()))
    if not figures and record is None:
        return {}
    if step == "prepare":
        return _prepared(job, figures)
    if step == "gates":
        return _judge(job)
    if step == "synthesise":
        return _generated(job, figures)
    if step == "benchmark":
        return {name: figures[name] for name in ("verdicts", "elsewhere", "sentences") if name in figures}
    return {"page": str(job.folder.report)} if step == "report" else {}


def _parts(job: Job, step: str, understood: Sequence[str]) -> dict[str, Any]:
    benchmark = job.settings.benchmark
    if step == "low-data":
        return {"parts": parts} if (parts := parts_of(job)) else {}
    if step == "folds":
        return {"folds": benchmark.folds} if benchmark.cross_validated else {}
    return {"sets": list(benchmark.external), "understood": list(understood)} if benchmark.external else {}


def _prepared(job: Job, figures: Figures) -> dict[str, Any]:
    classes: dict[str, int] = {}
    for by_dx in figures["counts"].values():
        for dx, count in by_dx.items():
            classes[dx] = classes.get(dx, 0) + count
    return {
        "layout": figures["source"],
        "classes": classes,
        "splits": {split: sum(by_dx.values()) for split, by_dx in figures["counts"].items()},
        "groups": figures["groups"],
        "set_aside": figures.get("rejected by check", {}),
        "understood": [*figures.get("understood", []), *unknown_pictures(job)],
    }


def _adapters(job: Job) -> dict[str, Any]:
    try:
        steps, pairs = adapt.steps(job), adapt.masked_counts(job)
    except BadInput:
        return {}
    unfinished = {step.name for step in unfinished_steps(job.folder, steps)}
    found = {}
    for name in (step.name.partition(":")[2] for step in steps if step.name not in unfinished):
        record = read_record(job.folder, f"adapt:{name}")
        taken = record.figures.get("steps") if record else None
        found[name] = {"pairs": sum(pairs.values()) if name == DOMAIN else pairs[name], "steps": taken}
    return {"adapters": found} if found else {}


def _judge(job: Job) -> dict[str, Any]:
    try:
        header = json.loads((job.folder.judge / "judge.json").read_text(encoding="utf-8"))
    except (OSError, ValueError):
        return {}
    return {"held_out": header["held_out"], "left_out": header["skipped"]}


def _generated(job: Job, figures: Figures) -> dict[str, Any]:
    before = adapt.train_counts(job)
    accepted = figures.get("accepted", {})
    return {
        "before": before,
        "after": {dx: count + accepted.get(dx, 0) for dx, count in before.items()},
        "drawn": figures.get("candidates", {}),
        "accepted": accepted,
        "refused": figures.get("rejected", {}),
    }


def words(step: str, found: Figures) -> str:
    """What a step found, in a line."""
    tell = {
        "prepare": _prepared_words,
        "adapt": _adapter_words,
        "gates": _judge_words,
        "synthesise": _generated_words,
        "low-data": lambda found: "generators of " + ", ".join(map(_part_words, found["parts"])),
        "folds": lambda found: f"generators and models of {found['folds']} folds",
        "external": lambda found: f"test pairs of {', '.join(found['sets'])}",
        "benchmark": _verdict_words,
    }.get(step)
    return tell(found) if found and tell else ""


def _prepared_words(found: Figures) -> str:
    understood, aside = found["understood"], found["set_aside"]
    seen = understood[0].removeprefix("layout ") if understood else f"{found['layout']}: {_counts(found['classes'])}"
    most = sorted(aside, key=lambda check: (-aside[check], check))[:3]
    why = f" ({', '.join(f'{check} {aside[check]}' for check in most)})" if most else ""
    return f"{seen}; {sum(found['classes'].values())} pairs, {sum(aside.values())} set aside{why}"


def _adapter_words(found: Figures) -> str:
    return ", ".join(f"{name} {own['steps']} steps on {own['pairs']} pairs" for name, own in found["adapters"].items())


def _judge_words(found: Figures) -> str:
    held_out = found["held_out"]
    dice, right = held_out["mean_dice"], held_out["accuracy"]
    parts = [f"finds masks with Dice {dice:.2f}"] if dice is not None else []
    parts += [f"tells {right:.0%} of classes"] if right is not None and len(held_out["recall"]) > 1 else []
    reached = f"; on held-out ones it {' and '.join(parts)}" if parts else ""
    without: dict[str, list[str]] = {}
    for one in found["left_out"]:
        without.setdefault(one["gate"].replace("_", " "), []).append(one["dx"])
    left_out = "".join(f"; {gate} not judged for {', '.join(classes)}" for gate, classes in without.items())
    return f"a judge of {held_out['pairs']} real pairs{reached}{left_out}"


def _generated_words(found: Figures) -> str:
    drawn, accepted = sum(found["drawn"].values()), sum(found["accepted"].values())
    if not drawn:
        return f"nothing to draw: {_counts(found['before'])}"
    after = found["after"]
    grown = (f"{dx} {n}" + (f" to {after[dx]}" if after[dx] != n else "") for dx, n in found["before"].items())
    refused: dict[str, int] = {}
    for by_reason in found["refused"].values():
        for reason, count in by_reason.items():
            refused[reason] = refused.get(reason, 0) + count
    most = max(refused, key=lambda reason: refused[reason], default=None)
    why = f", most as {gate_text(most).short} ({refused[most]})" if most else ""
    told = f"accepted {accepted} of {drawn} drawn, refused {drawn - accepted}{why}"
    return f"{', '.join(grown)}; {told}"


def _verdict_words(found: Figures) -> str:
    elsewhere = found.get("elsewhere", {})
    return "; ".join(
        f"{task}: {', '.join([word or 'not judged', *elsewhere.get(task, {}).values()])}"
        for task, word in found.get("verdicts", {}).items()
    )


def _part_words(part: float) -> str:
    return f"{100 * part:g} %" if part <= 1 else f"{part:g} pairs"


def details(step: str, found: Figures) -> Sequence[str]:
    """Lines on what a step understood of its data, beside those that its words tell."""
    understood: Sequence[str] = found.get("understood", ())
    return understood[1:] if step == "prepare" else understood


def _counts(counts: Mapping[str, int]) -> str:
    return ", ".join(f"{dx} {count}" for dx, count in counts.items())


def verdicts(found: Figures) -> list[tuple[str, str | None]]:
    """A sentence for each task of a benchmark, and for its harm and gain on external sets, each with its verdict."""
    told: list[tuple[str, str | None]] = []
    for sentence, (task, word) in zip(found.get("sentences", ()), found.get("verdicts", {}).items(), strict=False):
        elsewhere = found.get("elsewhere", {}).get(task, {})
        told.append((sentence, word))
        told += [(f"{task}: {said}.", verdict) for verdict, said in elsewhere.items()]
    return [(f"{sentence[:1].upper()}{sentence[1:]}", word) for sentence, word in told]
