"""What the steps of a run have taken in all, and how long the rest will take at the rates of this machine."""

from __future__ import annotations

import math
from collections import Counter, defaultdict
from collections.abc import Iterable, Mapping, Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import Any

from evaluate.gates.judge import units_of_judge
from flows.engine.terminal import about
from flows.engine.watch import ENDS
from flows.judging.benchmark import SECONDS, update_rates, updates_left
from flows.run.folder import Job
from flows.run.log import read_events
from flows.steps.digests import paints
from flows.steps.sequence import Planned
from manifests.errors import BadInput

Event = Mapping[str, Any]
USUAL_RATES = {
    "adapt": 0.25,
    "gates": 0.2,
    "synthesise": 0.28,
    "benchmark classification": 0.8,
    "benchmark segmentation": 0.8,
}
"""Seconds by kind of task with the preset `embedded` on two cores, until a machine has rates of its own."""


def time_spent(events: Iterable[Event]) -> dict[str, float]:
    """Seconds of each step, and of each class or share of it (`adapt:mel`), in all runs, killed ones among them."""
    spent: defaultdict[str, float] = defaultdict(float)
    begun: dict[str, float] = {}
    running: Counter[str] = Counter()  # tasks of a part at once
    last = 0.0
    for event in events:
        name, time = event["event"], float(event["time"])
        if name in ("run", "step started", "done"):
            for key, since in begun.items():  # it was killed: until its last word
                spent[key] += max(0.0, last - since)
            begun = {}
            running.clear()
        if name == "step started":
            begun[str(event["step"])] = time
        elif name == "started" and ":" in (part := _part(str(event["task"]))):
            begun.setdefault(part, time)
            running[part] += 1
        elif name == "step" and begun.pop(str(event["step"]), None) is not None:
            spent[str(event["step"])] += float(event["seconds"])
        elif name in ENDS and ":" in (part := _part(str(event["task"]))) and part in begun:
            running[part] -= 1
            spent[part] += 0.0 if running[part] else time - begun.pop(part)
        last = time
    for key, since in begun.items():
        spent[key] += max(0.0, last - since)
    return dict(spent)


def _part(title: str) -> str:
    """The part of a step that a task belongs to, `adapt:mel` of `adapt mel`; the step where it has none."""
    kind, _, rest = title.partition(" ")
    return f"{kind}:{rest.partition(' ')[0]}" if kind in ("adapt", "low-data", "folds") else kind


def rates_of(events: Iterable[Event]) -> dict[str, float]:
    """Seconds for one unit of each kind of task: a step of adapt, a pair of synthesise, an update of a task's model.

    Tasks that ran side by side share the time that passed.
    """
    seconds: defaultdict[str, float] = defaultdict(float)
    units: defaultdict[str, int] = defaultdict(int)
    spans: defaultdict[str, list[tuple[float, float]]] = defaultdict(list)
    for event in events:
        if event["event"] == "finished" and event.get("units"):
            kind, took = _rate_kind(str(event["task"])), float(event["seconds"])
            seconds[kind] += took
            units[kind] += int(event["units"])
            spans[kind.partition(" ")[0]].append((float(event["time"]) - took, float(event["time"])))
    shares = {step: _covered(own) / max(1e-9, sum(end - start for start, end in own)) for step, own in spans.items()}
    return {kind: shares[kind.partition(" ")[0]] * seconds[kind] / units[kind] for kind in units}


def _covered(spans: Iterable[tuple[float, float]]) -> float:
    """Length of the union of spans (start, end)."""
    length, until = 0.0, -math.inf
    for start, end in sorted(spans):
        length += max(0.0, end - max(start, until))
        until = max(until, end)
    return length


def _rate_kind(title: str) -> str:
    words = [word for word in title.split(" ") if word != "pilot"]  # whose trainings are like any other
    return " ".join(words[:2]) if words[0] == "benchmark" else words[0]


def machine_rates(job: Job, events: Iterable[Event]) -> dict[str, float]:
    """Rates of this run by its events and, for what it has not done yet, of runs of the same preset beside it."""
    rates: dict[str, float] = {}
    for log in sorted({*job.folder.path.parent.glob("*/log.jsonl")} - {job.folder.log}, key=_age):
        told = list(read_events(log))
        if any(event["event"] == "run" and event.get("preset") == job.preset for event in told):
            rates |= rates_of(told)
    return rates | rates_of(events)


def _age(path: Path) -> float:
    try:
        return path.stat().st_mtime
    except OSError:
        return 0.0


def units_left(job: Job, steps: Sequence[Planned], calls: Mapping[str, tuple[int, int]]) -> dict[str, dict[str, float]]:
    """By unfinished step: how many units of each kind of task are left, NaN where nothing tells yet."""
    from flows.judging.low_data import parts_of

    left: dict[str, dict[str, float]] = {}
    benchmark = job.settings.benchmark
    folds = benchmark.cross_validated
    wanted = {"report": False, "low-data": bool(parts_of(job)), "gates": job.settings.synthesis.gates}
    wanted |= {"folds": folds, "benchmark": not folds, "external": bool(benchmark.external)}
    for planned in (step for step in steps if step.reason is not None):
        step = planned.name.partition(":")[0]
        if not wanted.get(step, True):
            continue
        units = left.setdefault(step, {})
        if step == "adapt":
            units["adapt"] = units.get("adapt", 0.0) + _adapter_steps(job, planned.name.partition(":")[2])
        elif step == "gates":
            units["gates"] = units_of_judge(job.settings.gates, paints(job))
        elif step == "synthesise":
            units["synthesise"] = _pairs_left(job, calls.get(step))
        else:
            units |= _updates_left(job) if step == "benchmark" else {step: math.nan}
    return left


def _updates_left(job: Job) -> dict[str, float]:
    try:
        return updates_left(job)
    except BadInput:  # of a run that its next command refuses
        return {"benchmark": math.nan}


def less_running(
    units: Mapping[str, dict[str, float]], rates: dict[str, float], running: Mapping[str, Mapping[str, Any]]
) -> None:
    """Takes off `units` what the running tasks have done; a rate that nothing has told yet is theirs, together.

    running: the last progress event by title.
    """
    for title, event in running.items():
        step, kind = title.partition(" ")[0], _rate_kind(title)
        if event["event"] != "progress" or kind not in units.get(step, {}):
            continue
        rest = float(event["total"] - event["done"])
        units[step][kind] = rest if step == "prepare" else units[step][kind] - event["done"]
        if event.get("rate"):
            rates.setdefault(kind, 1 / event["rate"] / len(running))


def _adapter_steps(job: Job, name: str) -> float:
    """Steps of the adapter `name`, of all of classes where it is empty; NaN before prepare has counted pairs."""
    from augment.budget.plan import budgeted
    from flows.steps.adapt import DOMAIN, base_facts, masked_counts, trained_classes

    try:
        counts, names = masked_counts(job), [name] if name else trained_classes(job)
        if name == DOMAIN:
            joint, pairs = bool(base_facts(job)["joint"]), sum(counts.values())
            return float(budgeted(job.settings.adapt, pairs, domain=True, joint=joint).steps or 0)
        own = [budgeted(job.settings.adapt, counts[dx], domain=False, joint=True) for dx in names]
    except BadInput:
        return math.nan
    return float(sum(settings.steps or 0 for settings in own))


def _pairs_left(job: Job, calls: tuple[int, int] | None) -> float:
    """Candidates that are still to be drawn: those of the calls that wait, or one for each pair that is wanted."""
    from flows.steps.synthesise import wanted_pairs

    if calls is not None:
        return (calls[1] - calls[0]) * job.settings.synthesis.shard_size
    try:
        return sum(wanted_pairs(job).values())
    except BadInput:
        return math.nan


@dataclass(frozen=True)
class Left:
    """The time that is left. steps: seconds by step, None where neither this run nor one beside it tells;
    guessed: whether a speed of it is another machine's."""

    steps: Mapping[str, float | None]
    guessed: bool = False

    @property
    def seconds(self) -> float:
        """Of all steps of which it is known."""
        return sum(seconds or 0.0 for seconds in self.steps.values())

    @property
    def unknown(self) -> list[str]:
        """The steps of which nothing is known."""
        return [step for step, seconds in self.steps.items() if seconds is None]

    def among(self, steps: Sequence[str]) -> Left:
        """That of `steps` alone."""
        return Left({step: seconds for step, seconds in self.steps.items() if step in steps}, self.guessed)

    def words(self, passed: float = 0.0) -> str:
        """`about 12 min left`; passed: seconds since it was looked up. Empty where nothing is left or known."""
        if all(seconds is None for seconds in self.steps.values()):
            return ""
        how = "over" if self.unknown else "roughly" if self.guessed else "about"
        return f"{how} {about(self.seconds - passed)} left"


def left_of(job: Job, units: Mapping[str, Mapping[str, float]], rates: Mapping[str, float]) -> Left:
    """The time for `units` at `rates`, or at those of another machine where the base is the shipped one at its usual
    size and nothing else tells."""
    known = {**update_rates(job), **rates, SECONDS: 1.0}
    usual = USUAL_RATES if job.preset == "embedded" else {}
    kinds = {kind for amounts in units.values() for kind, amount in amounts.items() if amount > 0}
    return Left(seconds_left(units, {**usual, **known}), bool((kinds - set(known)) & set(usual)))


def seconds_left(units: Mapping[str, Mapping[str, float]], rates: Mapping[str, float]) -> dict[str, float | None]:
    """Seconds by step; None where neither this run nor one beside it tells."""
    found: dict[str, float | None] = {}
    for step, amounts in units.items():
        total = sum(amount * rates.get(kind, math.nan) for kind, amount in amounts.items() if amount)
        found[step] = None if math.isnan(total) else total
    return found
