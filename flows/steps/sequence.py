"""The story of a run: its steps in order, each from what the ones before it left in the run folder."""

from __future__ import annotations

import json
from collections.abc import Callable, Sequence
from dataclasses import dataclass, field

from flows.engine.calls import Call, Engine, Found, Result, retried, retry_delays
from flows.engine.machine import worker_count
from flows.engine.tally import Tally
from flows.engine.watch import Watch
from flows.run.folder import Job
from flows.run.records import Step, reason_to_run, unfinished_steps
from flows.steps import REGISTRY, STEPS, RunStep
from flows.story import found_by
from manifests.errors import BadInput
from manifests.files import write_json


@dataclass
class Outcome:
    """What a run came to: the steps that ran, with their tallies, and the calls that failed alone."""

    ran: dict[str, Tally] = field(default_factory=dict)
    finished_before: list[str] = field(default_factory=list)
    failures: list[Result] = field(default_factory=list)
    ahead: dict[str, list[Result]] = field(default_factory=dict)
    """What calls of steps came to that were made beside an earlier one."""


@dataclass(frozen=True)
class Planned:
    """A step as it stands: why it must run, or None if it is finished."""

    name: str
    reason: str | None


def run_steps(job: Job, watch: Watch, engine: Engine, only: Sequence[str] = STEPS) -> Outcome:
    """Runs the unfinished ones of the steps `only`, in order. Raises what ends a run."""
    outcome = Outcome()
    for name in STEPS:
        if name in only:
            step = REGISTRY[name]
            run_step(step, job, watch, engine, outcome, step.beside in only and worker_count(job) > 1)
        if name == "prepare" and "folds" in only:
            # Before hours are spent on what comes first.
            _retried(job, "folds", watch, lambda: REGISTRY["folds"].module.check(job))
    return outcome


def run_step(step: RunStep, job: Job, watch: Watch, engine: Engine, outcome: Outcome, together: bool = False) -> None:
    """Runs one step, unless it is finished, and adds what became of it to `outcome`; together: with the step beside."""
    ahead = outcome.ahead.pop(step.name, [])
    unfinished = _retried(job, step.name, watch, lambda: unfinished_steps(job.folder, step.module.steps(job)))
    if not unfinished and not ahead:
        outcome.finished_before.append(step.name)
        tell_finished(job, step.name, watch)
        return
    announced: Callable[[Job], Sequence[str]] = getattr(step.module, "announced", lambda job: ())
    for line in _retried(job, step.name, watch, lambda: announced(job)):
        watch.say(f"  {line}")
    with watch.step(step.name) as tally:
        results, others = _all_results(step, job, watch, engine, ahead, together)
        if others:
            outcome.ahead[step.beside] = others
        for result in results:
            tally.absorb(result.tally)
    tally.seconds += sum(result.tally.seconds for result in ahead)
    failures = [result for result in results if result.error is not None]
    if failures and (not step.by_class or len(failures) == len(results)):
        assert failures[0].error is not None
        raise failures[0].error
    for failure in failures:
        watch.warn(f"{failure.call.title} failed and is left out: {failure.error}")
    for line in dict.fromkeys(line for result in results for line in result.figures.get("given_up", ())):
        watch.warn(line)
    outcome.failures += failures
    note_failures(job, step.name, failures)
    outcome.ran[step.name] = tally
    made = dict(results[-1].figures) if results else {}
    if understood := [line for result in results for line in result.figures.get("understood", ())]:
        made["understood"] = understood
    found = _retried(job, step.name, watch, lambda: found_by(job, step.name, made))
    watch.event("step", step=step.name, **tally.figures(), found=found)


def _retried(job: Job, step: str, watch: Watch, action: Callable[[], Found]) -> Found:
    """What `action` reads of the storage, whose faults may pass."""
    return retried(action, iter(retry_delays(job)), step, watch)


def tell_finished(job: Job, step: str, watch: Watch) -> None:
    """Tells what a step found that was finished before."""
    if found := _retried(job, step, watch, lambda: found_by(job, step)):
        watch.event("finished before", step=step, found=found)


def note_failures(job: Job, step: str, failures: Sequence[Result]) -> None:
    """Keeps what failed alone in `step`, for the report; earlier failures of the step are forgotten."""
    try:
        noted = json.loads(job.folder.failures.read_text(encoding="utf-8"))
    except (OSError, ValueError):
        noted = {}
    kept = {title: why for title, why in noted.items() if not title.startswith(step)}
    kept |= {failure.call.title: str(failure.error) for failure in failures}
    if kept != noted:
        write_json(job.folder.failures, kept)


def _all_results(
    step: RunStep, job: Job, watch: Watch, engine: Engine, ahead: Sequence[Result], together: bool
) -> tuple[list[Result], list[Result]]:
    """What the calls of a step came to, asked for until there are none, after those made `ahead`; and what those of
    the step beside it came to.

    None is made twice: what it left unfinished, as the commit of a step that left a class out, stays so.
    """
    results, others = list(ahead), list[Result]()

    def next_calls() -> tuple[list[Call], list[Call]]:
        made = [result.call for result in results]
        failed = [result.call for result in results if result.error is not None]
        calls = [call for call in step.module.next_calls(job, failed) if call not in made]
        return calls, step.company(job) if together and not results else []

    while (rounds := _retried(job, step.name, watch, next_calls))[0]:
        calls, company = rounds
        # The longest first: a judge takes about as long as two adapters.
        found = engine(job, [*company, *calls])
        others += found[: len(company)]
        results += found[len(company) :]
    return results, others


def plan(job: Job, only: Sequence[str] = STEPS) -> list[Planned]:
    """How each of the steps stands, without running any."""
    planned: list[Planned] = []
    for name in (step for step in STEPS if step in only):
        earlier = [step.name for step in planned if step.reason is not None]
        if earlier and only != (name,):
            # Its inputs are about to be made, so that only running tells whether they change.
            planned.append(Planned(name, f"after {earlier[0].partition(':')[0]}"))
            continue
        try:
            steps: list[Step] = REGISTRY[name].module.steps(job)
        except BadInput as error:
            planned.append(Planned(name, str(error)))
            continue
        planned += [Planned(step.name, reason_to_run(job.folder, step)) for step in steps]
    return planned
