"""A fault campaign: tiny runs that are killed, starved and cut off at random moments, and must end alike.

Some of their masks are missing and found, and after the first fault readers have refused some of the generated pairs.

`python -m tests.faults.campaign --count 200 --out FOLDER` prints a table of faults and outcomes and
leaves it as faults.md.
"""

from __future__ import annotations

import argparse
import contextlib
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

from flows.execution import LEFTOVER_FOLDERS
from flows.run.log import read_events
from manifests.files import TEMPORARY
from manifests.markdown import markdown_table
from tests.faults.kinds import FAULTS, Strike, Victim
from tests.faults.reference import Reference, made, read_by_readers, reference

ROOM_BYTES = 512 * 2**20
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
        whole = reference(out)
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
        read_by_readers(victim.out, whole.decisions)
    read_by_readers(victim.out, whole.decisions)
    campaign.runs += 1
    with victim.started() as process:
        code = process.wait(timeout=3600)
    difference = _difference(whole.made, victim.out) if code == 0 else f"exit code {code}: {victim.output()[-2000:]}"
    if difference is None:
        campaign.alike += 1
    else:
        campaign.complaints.append(f"run {campaign.runs} after {', '.join(struck)}: {difference}")
    return struck


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
