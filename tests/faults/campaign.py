"""A fault campaign: tiny runs that are killed, starved and cut off at random moments, and must end alike.

Some of their masks are missing and found, and after the first fault readers have refused some of the generated pairs.

`python -m tests.faults.campaign --count 200 --out FOLDER` prints a table of faults and outcomes and
leaves it as faults.md.
"""

from __future__ import annotations

import argparse
import contextlib
import json
import os
import random
import shutil
import subprocess
import sys
from collections import Counter
from collections.abc import Iterator, Sequence
from dataclasses import dataclass, field
from importlib.util import find_spec
from pathlib import Path
from typing import Any

from evaluate.reading.decisions import REFUSED, Decision, append_decision
from flows.execution import LEFTOVER_FOLDERS
from flows.run.log import read_events
from flows.run.records import file_digest
from manifests.files import TEMPORARY
from manifests.format.reading import open_manifest
from manifests.markdown import markdown_table
from manifests.png import pixel_digest
from tests.faults.kinds import FAULTS, Strike, Victim

# What says when and where a result was made rather than what was found.
ASIDE = ("timings", "environment")
ROOM_BYTES = 512 * 2**20
PAIRS = 60
# As little as keeps every step: one arm with generated pairs and its control.
SETTINGS = (
    "benchmark.classification_arms=real,hybrid", "benchmark.segmentation_arms=real,hybrid", "benchmark.seeds=1",
    "benchmark.pilot=0", "synthesis.balance=0.4", "gates.review=any",
)  # fmt: skip
UNMASKED = 6
"""Of so many training pairs one lacks its mask."""
# Every kind comes up in the first six; those that need Prefect, which are slow, come up less often.
TURNS = ("kill", "term", "disk", "storage", "server", "worker", "kill", "storage", "term", "kill", "disk", "kill")
FAULTS_PER_RUN = 10


@dataclass
class Outcomes:
    """What became of the faults of one kind."""

    struck: int = 0
    ends: Counter[str] = field(default_factory=Counter)
    steps: Counter[str] = field(default_factory=Counter)


@dataclass
class Campaign:
    """What happened so far; `left_out` says which kinds could not be tried here, and why."""

    seed: int = 0
    tallies: dict[str, Outcomes] = field(default_factory=dict)
    complaints: list[str] = field(default_factory=list)
    left_out: dict[str, str] = field(default_factory=dict)
    runs: int = 0
    alike: int = 0

    @property
    def struck(self) -> int:
        """Faults that struck a run before it was over."""
        return sum(tally.struck for tally in self.tallies.values())

    def note(self, name: str, strike: Strike, out: Path) -> None:
        """Counts one fault."""
        if strike.complaint:
            self.complaints.append(f"{FAULTS[name].title}: {strike.complaint}")
        if not strike.struck:
            return
        tally = self.tallies.setdefault(name, Outcomes())
        tally.struck += 1
        tally.steps[step_at_hand(out)] += 1
        ends = {0: "went on", 1: "stopped, exit code 1", None: "hung"}
        tally.ends[ends.get(strike.code, "ended by the signal")] += 1

    def table(self) -> str:
        """The campaign in Markdown."""
        rows = []
        for name, kind in FAULTS.items():
            if name in self.left_out:
                rows.append((kind.title, f"left out: {self.left_out[name]}", "", ""))
            elif tally := self.tallies.get(name):
                rows.append((kind.title, str(tally.struck), _told(tally.steps), _told(tally.ends)))
        lines = [markdown_table(("Fault", "Times", "In step", "The run"), rows, numeric=(1,))]
        lines += [
            "",
            f"{self.struck} faults in {self.runs} runs, seed {self.seed}. "
            "After every fault the same command was given again. ",
        ]
        lines[-1] += f"{self.alike} of {self.runs} runs ended byte-identical to an uninterrupted one."
        return "\n".join([*lines, *(f"- {complaint}" for complaint in self.complaints)]) + "\n"


@dataclass(frozen=True)
class Reference:
    """An uninterrupted run: its data and settings, how much it worked in processor seconds, what readers said of its
    pairs, and what it made after that."""

    data: Path
    settings: tuple[str, ...]
    work: float
    decisions: tuple[Decision, ...]
    made: dict[str, Any]


def run_campaign(out: Path, count: int, seed: int = 0, only: Sequence[str] = ()) -> Campaign:
    """Puts `count` faults, of the kinds `only` if given, to tiny runs in the folder `out`; writes faults.md there.

    Every run must end like an uninterrupted one, which is made first. The same seed gives the same moments.
    """
    out = out.resolve()
    out.mkdir(parents=True, exist_ok=True)
    campaign = Campaign(seed)
    print(f"seed {seed}", flush=True)
    with room(out / "room") as has_quota:
        campaign.left_out = _impossible(has_quota)
        turns = [name for name in TURNS if name not in campaign.left_out and (not only or name in only)]
        if not turns:
            raise SystemExit("none of these faults can be tried on this machine")
        whole = _reference(out)
        queue = [turns[number % len(turns)] for number in range(count)]
        while queue and campaign.runs < 2 * count:
            engine = FAULTS[queue[0]].engine
            chosen = [name for name in queue if FAULTS[name].engine == engine][:FAULTS_PER_RUN]
            # Of its own for each run, so that what became of one does not move the moments of the next.
            moments = random.Random(f"{seed} {campaign.runs}")
            run, printed = out / "room" / "run", out / "printed.txt"
            stride = whole.work / len(chosen)
            victim = Victim(whole.data, run, printed, whole.settings, engine, whole.work, stride, moments)
            for name in _one_run(campaign, victim, chosen, whole):
                queue.remove(name)
            (out / "faults.md").write_text(campaign.table(), encoding="utf-8")
            print(f"{campaign.struck} of {count} faults, {campaign.runs} runs, {campaign.alike} alike", flush=True)
    return campaign


def _one_run(campaign: Campaign, victim: Victim, names: Sequence[str], whole: Reference) -> list[str]:
    """One run through faults to its end, and what it made compared; the faults that struck."""
    shutil.rmtree(victim.out, ignore_errors=True)
    struck: list[str] = []
    for name in names:
        strike = FAULTS[name].strike(victim)
        campaign.note(name, strike, victim.out)
        if not strike.struck:
            break
        struck.append(name)
        _read(victim.out, whole.decisions)
    _read(victim.out, whole.decisions)
    campaign.runs += 1
    with victim.started() as process:
        code = process.wait(timeout=3600)
    difference = _difference(whole.made, victim.out) if code == 0 else f"exit code {code}: {victim.output()[-2000:]}"
    if difference is None:
        campaign.alike += 1
    else:
        campaign.complaints.append(f"run {campaign.runs} after {', '.join(struck)}: {difference}")
    return struck


def made(out: Path) -> dict[str, Any]:
    """What a run made, by name: digests of manifests, shards, adapters and decisions, and the results but times and
    machine."""
    files = [*out.glob("*/manifest.json"), *out.glob("*/data/*/*.parquet"), *out.glob("adapters/*.safetensors")]
    files += out.glob("review/*.jsonl")
    digests: dict[str, Any] = {path.relative_to(out).as_posix(): file_digest(path) for path in sorted(files)}
    results = json.loads((out / "results.json").read_text(encoding="utf-8"))
    return digests | {f"results.{name}": value for name, value in results.items() if name not in ASIDE}


def step_at_hand(out: Path) -> str:
    """The step that the log of a run was last in."""
    steps = [event["step"] for event in read_events(out / "log.jsonl") if event["event"] == "step started"]
    return str(steps[-1]) if steps else "start"


@contextlib.contextmanager
def room(folder: Path) -> Iterator[bool]:
    """A folder for runs, on a small disk of its own where this machine allows that; whether it does."""
    folder.mkdir(exist_ok=True)
    if folder.is_mount():
        _quietly("umount", str(folder))
    has_quota = sys.platform == "linux" and _quietly(
        "mount", "-t", "tmpfs", "-o", f"size={ROOM_BYTES}", "tmpfs", str(folder)
    )
    try:
        yield has_quota
    finally:
        if has_quota:
            _quietly("umount", str(folder))


def _reference(out: Path) -> Reference:
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
    _read(run, decisions)
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


def _read(run: Path, decisions: Sequence[Decision]) -> None:
    """Readers decide, once, as soon as there is a run."""
    table = run / "review" / "decisions.jsonl"
    if (run / "settings.json").is_file() and not table.exists():
        for decision in decisions:
            append_decision(table, decision)


def _reasons(run: Path) -> Counter[str]:
    """Why generated pairs were rejected."""
    table = open_manifest(run / "synthetic").table(["reject_reason"], accepted_only=False)
    return Counter(table.column("reject_reason").to_pylist())


def _difference(wanted: dict[str, Any], out: Path) -> str | None:
    """In what a finished run differs from the uninterrupted one."""
    found = made(out)
    if wanted != found:
        return f"differs in {', '.join(_places(wanted, found)[:8])}"
    patterns = (f"{TEMPORARY}*", *LEFTOVER_FOLDERS)
    left = [path.name for pattern in patterns for path in out.rglob(pattern)]
    return f"left {', '.join(left)} behind" if left else None


def _places(wanted: Any, found: Any, name: str = "") -> list[str]:
    """Where two documents differ, with both values."""
    if isinstance(wanted, dict) and isinstance(found, dict):
        keys = sorted({*wanted, *found})
        return [place for key in keys for place in _places(wanted.get(key), found.get(key), f"{name} {key}".strip())]
    if isinstance(wanted, list) and isinstance(found, list) and len(wanted) == len(found):
        pairs = enumerate(zip(wanted, found, strict=True))
        return [place for number, (one, other) in pairs for place in _places(one, other, f"{name} {number}")]
    return [] if wanted == found else [f"{name} ({str(wanted)[:60]} to {str(found)[:60]})"]


def _impossible(has_quota: bool) -> dict[str, str]:
    """The faults that this machine cannot have, with the reason."""
    reasons = {}
    if not has_quota:
        reasons["disk"] = "a small disk cannot be mounted here"
    if find_spec("prefect_dask") is None:
        reasons["worker"] = "prefect-dask is not installed"
    return reasons


def _quietly(*command: str) -> bool:
    try:
        return subprocess.run(command, capture_output=True, check=False).returncode == 0
    except OSError:
        return False


def _told(counts: Counter[str]) -> str:
    return ", ".join(f"{name} {number}" for name, number in counts.most_common())


def main(arguments: Sequence[str] | None = None) -> int:
    """The campaign from the command line; exit code 1 if a run went wrong."""
    parser = argparse.ArgumentParser(
        prog="python -m tests.faults.campaign", description=(__doc__ or "").splitlines()[0]
    )
    parser.add_argument("--count", type=int, default=200, help="faults in all")
    parser.add_argument("--out", type=Path, required=True, help="folder for the runs and faults.md")
    parser.add_argument("--seed", type=int, default=0, help="of the random moments")
    parser.add_argument("--only", default="", help=f"these kinds: {','.join(FAULTS)}")
    chosen = parser.parse_args(arguments)
    only = [name for name in chosen.only.split(",") if name]
    if chosen.count < 1 or set(only) - set(FAULTS):
        parser.error(f"--count must be at least 1, --only some of {','.join(FAULTS)}")
    os.environ.setdefault("OMP_NUM_THREADS", "1")
    campaign = run_campaign(chosen.out, chosen.count, chosen.seed, only)
    print(campaign.table())
    return 1 if campaign.complaints or campaign.struck < chosen.count else 0


if __name__ == "__main__":
    sys.exit(main())
