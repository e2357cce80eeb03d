"""The steps of a run, each from what the ones before it left in the run folder."""

from __future__ import annotations

from collections.abc import Callable, Mapping
from dataclasses import dataclass
from functools import partial
from importlib import import_module
from pathlib import Path
from typing import Any

from flows.engine.calls import Call, Result, retried, retry_delays
from flows.engine.process import limit_threads, set_up_process
from flows.engine.watch import Watch, watch_of
from flows.run.folder import Job, open_job


@dataclass(frozen=True)
class CallKind:
    """A kind of call: the function of flows that does its work, what it counts, the limit that it obeys."""

    name: str
    function: str
    counts: str
    limit: str
    uses_gpu: bool = False


@dataclass(frozen=True)
class RunStep:
    """A step of a run: the kinds of calls that it makes.

    by_class: its calls stand for a class each and may fail one by one. judging: it only needs the generated pairs.
    beside: a later step that needs nothing of this one, whose calls fill the workers that this one leaves idle.
    """

    name: str
    calls: tuple[CallKind, ...]
    by_class: bool = False
    judging: bool = False
    beside: str = ""

    @property
    def module(self) -> Any:
        """Has `steps(job)`, what would be made now, and `next_calls(job, failed)`, the calls that make it; may have
        `announced(job)`, lines that are said before."""
        # By name, because a step may perform the calls of others.
        return import_module(f"flows.{self.calls[0].function.partition(':')[0]}")

    def company(self, job: Job) -> list[Call]:
        """The calls of the step beside this one, which go with its first."""
        return REGISTRY[self.beside].module.next_calls(job, ()) if self.beside else []


REGISTRY: Mapping[str, RunStep] = {
    step.name: step
    for step in (
        RunStep("prepare", (CallKind("prepare", "steps.prepare:prepare_source", "pairs", "prepare"),)),
        RunStep("external", (CallKind("external", "judging.external:admit_set", "pairs", "prepare"),), judging=True),
        RunStep(
            "adapt",
            (CallKind("adapt", "steps.adapt:train_one", "steps", "adapt", uses_gpu=True),),
            by_class=True,
            beside="gates",
        ),
        RunStep("gates", (CallKind("gates", "steps.gates:fit_gates", "steps", "benchmark", uses_gpu=True),)),
        RunStep(
            "synthesise",
            (
                CallKind("synthesise", "steps.synthesise:fill_range", "pairs", "synthesise", uses_gpu=True),
                CallKind("commit", "steps.synthesise:commit_pairs", "shards", "synthesise"),
            ),
            by_class=True,
        ),
        RunStep(
            "low-data",
            (CallKind("low-data", "judging.low_data:perform_part", "steps", "adapt", uses_gpu=True),),
            judging=True,
        ),
        RunStep(
            "folds",
            (CallKind("folds", "judging.folds:perform_part", "steps", "benchmark", uses_gpu=True),),
            judging=True,
        ),
        RunStep(
            "benchmark",
            (
                CallKind("benchmark", "judging.benchmark:train_cell", "updates", "benchmark", uses_gpu=True),
                CallKind("measure", "judging.benchmark:measure", "updates", "benchmark", uses_gpu=True),
                CallKind("pilot", "judging.benchmark:train_pilot", "updates", "benchmark", uses_gpu=True),
                CallKind("elsewhere", "judging.benchmark:judge_elsewhere", "sets", "benchmark", uses_gpu=True),
                CallKind("collect", "judging.results:collect_results", "figures", "benchmark"),
            ),
            judging=True,
        ),
        RunStep("report", (CallKind("report", "judging.report:make_report", "pages", "benchmark"),), judging=True),
    )
}
STEPS = tuple(REGISTRY)
JUDGING_STEPS = tuple(name for name, step in REGISTRY.items() if step.judging)
CALL_KINDS = {kind.name: kind for step in REGISTRY.values() for kind in step.calls}


def perform(out: str, call: Call) -> Result:
    """Runs one call on the run folder `out`, in whatever process this is; faults that may pass are tried again.

    Raises what the work raises.
    """
    set_up_process()
    job = open_job(Path(out))
    limit_threads(job.settings.engine.threads)
    watch = watch_of(job.folder.log)
    return retried(partial(_perform_once, job, call, watch), iter(retry_delays(job)), call.title, watch)


def _perform_once(job: Job, call: Call, watch: Watch) -> Result:
    with watch.task(call.title, CALL_KINDS[call.kind].counts, time_limit(job, call)) as progress:
        figures = function_of(call.kind)(job, progress, **call.arguments)
    return Result(call, dict(figures), progress.tally)


def time_limit(job: Job, call: Call) -> float:
    """Longest time in seconds that one try of a call may take; 0 for none."""
    return float(getattr(job.settings.limits, CALL_KINDS[call.kind].limit))


def function_of(kind: str) -> Callable[..., Mapping[str, Any]]:
    """What does the work of a kind of call: it reads and writes the run folder, and returns figures worth noting."""
    module, _, name = CALL_KINDS[kind].function.partition(":")
    function: Callable[..., Mapping[str, Any]] = getattr(import_module(f"flows.{module}"), name)
    return function
