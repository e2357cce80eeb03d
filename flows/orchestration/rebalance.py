"""The Prefect flows: `rebalance` over all steps, and each step as a flow of its own."""

from __future__ import annotations

from collections.abc import Sequence
from pathlib import Path

from prefect import flow, runtime
from prefect.artifacts import create_link_artifact, create_markdown_artifact
from prefect.events.worker import EventsWorker
from prefect.logging.handlers import APILogWorker
from prefect.settings import PREFECT_FLOWS_HEARTBEAT_FREQUENCY, temporary_settings

from flows.engine.machine import worker_count
from flows.engine.stopping import take_signals
from flows.engine.watch import Watch, listening, watch_of, watched_run
from flows.engine.workers import Workers
from flows.orchestration.engines import SPREAD, engine_of, task_runner
from flows.orchestration.form import DataPath, OutPath, Overrides, OwnSettings, Preset, RunPath
from flows.orchestration.story import RunStory, quietly
from flows.run.folder import Job, new_job, open_job, save_job
from flows.run.lock import run_lock
from flows.run.records import remove_touched
from flows.settings import load_settings
from flows.steps import JUDGING_STEPS, STEPS, perform
from flows.steps.sequence import Outcome, run_steps
from manifests.errors import EvendermError

SEND_SECONDS = 3
# Their errors are the engine's, not the job's.
ENGINE_PACKAGES = ("httpx", "httpcore", "prefect", "distributed", "dask", "ray")


def _run_name() -> str:
    """Dataset, preset and, for one step, its name: what tells runs apart in Prefect's lists."""
    given = runtime.flow_run.parameters
    folder = Path(str(given.get("data") or given.get("out"))).name
    return " ".join(part for part in (folder, str(given.get("preset") or "")) if part)


@flow(name="rebalance", flow_run_name=_run_name)
def rebalance(
    data: DataPath,
    out: OutPath,
    preset: Preset = "embedded",
    settings: OwnSettings = None,
    overrides: Overrides = (),
) -> Outcome:
    """The whole job on the dataset `data` into the run folder `out`; run again, it resumes.

    `settings`, where given, stand in for those of the preset; `overrides` are `a.b=value`.
    """
    return _spread(new_job(Path(data), Path(out), preset, settings or load_settings(preset, None, overrides)), STEPS)


@flow(name="prepare", flow_run_name=_run_name)
def prepare(data: DataPath, out: OutPath, preset: Preset = "embedded", settings: OwnSettings = None) -> Outcome:
    """The dataset `data` into the real manifest of the run folder `out`."""
    return _spread(new_job(Path(data), Path(out), preset, settings or load_settings(preset)), ("prepare",))


@flow(name="adapt", flow_run_name=_run_name)
def adapt(out: RunPath) -> Outcome:
    """One adapter per class of the run folder `out`."""
    return _spread(open_job(Path(out)), ("adapt",))


@flow(name="synthesise", flow_run_name=_run_name)
def synthesise(out: RunPath) -> Outcome:
    """The synthetic manifest of the run folder `out`."""
    return _spread(open_job(Path(out)), ("gates", "synthesise"))


@flow(name="benchmark", flow_run_name=_run_name)
def benchmark(out: RunPath) -> Outcome:
    """Results and report of the run folder `out`."""
    return _spread(open_job(Path(out)), JUDGING_STEPS)


def run_as_flow(job: Job, watch: Watch, only: Sequence[str]) -> Outcome:
    """Runs the steps `only` of a job whose lock is held, as the flow that stands for them.

    If Prefect's server is lost after the work is done, the work counts. Raises EvendermError where the engine
    could not be started or was lost.
    """
    outcomes: list[Outcome] = []
    begun: list[bool] = []

    @flow(
        name=_flow_name(only), flow_run_name=job.name, task_runner=task_runner(job.settings.engine, worker_count(job))
    )
    def steps(out: str) -> None:
        begun.append(True)
        outcomes.append(_run(job, only))

    try:
        # The heartbeat thread would cost a second at the end of the flow.
        with temporary_settings({PREFECT_FLOWS_HEARTBEAT_FREQUENCY: None}):
            steps(str(job.folder.path))
    except Exception as error:
        if not outcomes:
            if isinstance(error, EvendermError) or (begun and not _of_the_engine(error)):
                raise
            what = "was lost" if begun else "could not be started"
            said = " ".join(str(error).split())[:200]
            raise EvendermError(
                f"engine.name={job.settings.engine.name} {what} ({type(error).__name__}: {said}); "
                "the same command goes on from here"
            ) from None
        watch.warn(f"the Prefect server was lost ({type(error).__name__}); the run's own files are complete")
    finally:
        _send_rest()
    return outcomes[0]


def _of_the_engine(error: Exception) -> bool:
    return type(error).__module__.partition(".")[0] in ENGINE_PACKAGES


def _spread(job: Job, only: Sequence[str]) -> Outcome:
    """The body of a deployed flow: tasks for Dask or Ray need a flow inside that has their task runner."""
    if job.settings.engine.name not in SPREAD:
        return _run(job, only)
    name = f"{_flow_name(only)} on {job.settings.engine.name}"
    outcomes: list[Outcome] = []

    @flow(name=name, flow_run_name=job.name, task_runner=task_runner(job.settings.engine, worker_count(job)))
    def steps(out: str) -> None:
        outcomes.append(_run(job, only))

    steps(str(job.folder.path))
    return outcomes[0]


def _send_rest() -> None:
    """Sends what is still on its way to the server, before that is stopped."""
    for worker in (APILogWorker, EventsWorker):
        worker.drain_all(timeout=SEND_SECONDS)


def _flow_name(only: Sequence[str]) -> str:
    return "rebalance" if tuple(only) == STEPS else only[-1] if "benchmark" not in only else "benchmark"


def _run(job: Job, only: Sequence[str]) -> Outcome:
    """The body of every flow."""
    take_signals()
    watch = watch_of(job.folder.log)
    with run_lock(job.folder.lock), watched_run(watch), listening(RunStory(job)):
        save_job(job)
        for line in remove_touched(job.folder, only):
            watch.warn(f"{line}; it is made again")
        with Workers(perform, worker_count(job)) as workers:
            outcome = run_steps(job, watch, engine_of(job.settings.engine, workers), only)
    quietly(lambda: _tell_end(job, outcome))
    return outcome


def _tell_end(job: Job, outcome: Outcome) -> None:
    summary = job.folder.report.with_suffix(".md")
    lines = [f"# {job.name}", "", f"Run folder: `{job.folder.path}`", ""]
    lines += [f"- {failure.call.title} failed: {failure.error}" for failure in outcome.failures]
    lines += [summary.read_text(encoding="utf-8")] if summary.exists() else []
    create_markdown_artifact("\n".join(lines), key="report", description=job.name)
    if job.folder.report.exists():
        page = job.folder.report.as_uri()
        create_link_artifact(page, f"Report of {job.name}", key="report-page", description=job.name)
