"""The undisturbed run that runs of a campaign are compared with: some masks found, some pairs refused by readers."""

from __future__ import annotations

import json
import random
import shutil
from collections import Counter
from collections.abc import Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import Any

from evaluate.reading.decisions import REFUSED, Decision, append_decision
from flows.run.records import file_digest
from manifests.format.reading import open_manifest
from manifests.png import pixel_digest
from tests.faults.kinds import Victim

# What says when and where a result was made rather than what was found.
ASIDE = ("timings", "environment")
PAIRS = 60
# As little as keeps every step: one arm with generated pairs and its control.
SETTINGS = (
    "benchmark.classification_arms=real,hybrid", "benchmark.segmentation_arms=real,hybrid", "benchmark.seeds=1",
    "benchmark.pilot=0", "synthesis.balance=0.4", "gates.review=any",
)  # fmt: skip
UNMASKED = 6
"""Of so many training pairs one lacks its mask."""


@dataclass(frozen=True)
class Reference:
    """An uninterrupted run: its data and settings, how much it worked in processor seconds, what readers said of its
    pairs, and what it made after that."""

    data: Path
    settings: tuple[str, ...]
    work: float
    decisions: tuple[Decision, ...]
    made: dict[str, Any]


def made(out: Path) -> dict[str, Any]:
    """What a run made, by name: digests of manifests, shards, adapters and decisions, and the results but times and
    machine."""
    files = [*out.glob("*/manifest.json"), *out.glob("*/data/*/*.parquet"), *out.glob("adapters/*.safetensors")]
    files += out.glob("review/*.jsonl")
    digests: dict[str, Any] = {path.relative_to(out).as_posix(): file_digest(path) for path in sorted(files)}
    results = json.loads((out / "results.json").read_text(encoding="utf-8"))
    return digests | {f"results.{name}": value for name, value in results.items() if name not in ASIDE}


def reference(out: Path) -> Reference:
    """An uninterrupted run on data that are drawn for the campaign."""
    from manifests.phantom.draw import write_phantom

    data, run = out / "phantom", out / "room" / "reference"
    shutil.rmtree(data, ignore_errors=True)
    shutil.rmtree(run, ignore_errors=True)
    write_phantom(data, PAIRS, 0)
    for mask in sorted(data.glob("*Training*GroundTruth*/*.png"))[::UNMASKED]:
        mask.unlink()
    victim = Victim(data, run, out / "printed.txt", SETTINGS, "plain", 0, 0, random.Random(0))
    work = _undisturbed(victim)
    decisions = _decisions(run)
    read_by_readers(run, decisions)
    _undisturbed(victim)
    if not _reasons(run)[REFUSED] or all(how == "given" for _, how in open_manifest(run / "real").masks_by()):
        raise SystemExit("the uninterrupted run has no found mask, or no pair that readers refused")
    whole = Reference(data, SETTINGS, work, decisions, made(run))
    shutil.rmtree(run)
    return whole


def _undisturbed(victim: Victim) -> float:
    """Runs the command to its end; its work in processor seconds."""
    with victim.started() as process:
        before = process.work_of_ended()
        if process.wait() != 0:
            raise SystemExit(f"the uninterrupted run failed: {victim.output()[-2000:]}")
    return process.work_of_ended() - before


def _decisions(run: Path) -> tuple[Decision, ...]:
    """One reader refuses the first pair of each class, and another accepts it."""
    manifest = open_manifest(run / "synthetic")
    first: dict[str, Any] = {}
    for row in manifest.table(["pair_id", "dx", "image"]).to_pylist():
        first.setdefault(row["dx"], row)
    return tuple(
        Decision(row["pair_id"], pixel_digest(row["image"]["bytes"]), reader, choice)
        for row in first.values()
        for reader, choice in (("ann", "refuse"), ("bob", "accept"))
    )


def read_by_readers(run: Path, decisions: Sequence[Decision]) -> None:
    """Readers decide, once, as soon as there is a run."""
    table = run / "review" / "decisions.jsonl"
    if (run / "settings.json").is_file() and not table.exists():
        for decision in decisions:
            append_decision(table, decision)


def _reasons(run: Path) -> Counter[str]:
    """Why generated pairs were rejected."""
    table = open_manifest(run / "synthetic").table(["reject_reason"], accepted_only=False)
    return Counter(table.column("reject_reason").to_pylist())
