"""Engines: how the calls of a step become Prefect tasks, and where those run."""

from __future__ import annotations

import contextlib
from collections.abc import Iterator, Sequence
from concurrent.futures import ThreadPoolExecutor
from contextvars import copy_context
from functools import partial
from typing import Any

from prefect import Task
from prefect.cache_policies import NO_CACHE
from prefect.task_runners import TaskRunner, ThreadPoolTaskRunner

from flows.engine.calls import Call, Engine, Perform, Result, results_of, retry_delays
from flows.engine.machine import has_gpu
from flows.engine.stopping import STOP
from flows.engine.watch import watch_of
from flows.engine.workers import Workers, waited
from flows.orchestration.server import is_own_server
from flows.orchestration.story import perform_beside, perform_in_prefect
from flows.run.folder import Job
from flows.run.log import LogTail
from flows.settings import EngineSettings
from flows.steps import CALL_KINDS, time_limit
from manifests.errors import BadInput, EvendermError
from manifests.progress import StopRequested

# Those whose tasks run in other processes.
SPREAD = ("dask", "ray")
# Prefect's own limit comes after the task's, which leaves a checkpoint behind.
GRACE_SECONDS = 60.0
POLL_SECONDS = 1.0


def engine_of(settings: EngineSettings, workers: Workers) -> Engine:
    """The engine that the settings name; on this machine alone it has `workers`."""
    return spread_engine if settings.name in SPREAD else partial(local_engine, workers)


def task_runner(settings: EngineSettings, workers: int) -> TaskRunner[Any]:
    """Prefect's task runner for the engine; dask and ray start so many workers, unless the settings give an address.

    Raises BadInput if its package is not installed.
    """
    if settings.name == "local":
        return ThreadPoolTaskRunner(max_workers=1)
    try:
        return _dask(settings, workers) if settings.name == "dask" else _ray(settings, workers)
    except ImportError as error:
        raise BadInput(f"engine.name={settings.name}: {error.name} is not installed; install evenderm[scale]") from None


def _dask(settings: EngineSettings, workers: int) -> TaskRunner[Any]:
    from prefect_dask import DaskTaskRunner

    if settings.address:
        return DaskTaskRunner(address=settings.address)
    if settings.gpus_per_task:
        raise BadInput(
            "engine.gpus_per_task with dask: start one worker per GPU and give engine.address (see flows/README.md)"
        )
    # Processes of one thread each: a task brings its own threads, and torch its own state.
    cluster = {
        "n_workers": workers,
        "threads_per_worker": 1,
        "processes": True,
        "dashboard_address": None,
    }
    return DaskTaskRunner(cluster_kwargs=cluster)


def _ray(settings: EngineSettings, workers: int) -> TaskRunner[Any]:
    from prefect_ray import RayTaskRunner

    if settings.address:
        return RayTaskRunner(address=settings.address)
    if settings.gpus_per_task and not has_gpu():
        raise BadInput("engine.gpus_per_task: this machine has no GPU; leave the setting at 0")
    return RayTaskRunner(init_kwargs={"num_cpus": workers, "include_dashboard": False})


@contextlib.contextmanager
def reserved(settings: EngineSettings, kind: str) -> Iterator[None]:
    """Tasks of `kind` that are submitted inside wait for a worker whose GPU is free, where they need one."""
    if not settings.gpus_per_task or not CALL_KINDS[kind].uses_gpu:
        yield
    elif settings.name == "dask":
        import dask

        with dask.annotate(resources={"GPU": settings.gpus_per_task}):
            yield
    else:
        from prefect_ray.context import remote_options

        with remote_options(num_gpus=settings.gpus_per_task):
            yield


def local_engine(workers: Workers, job: Job, calls: Sequence[Call]) -> list[Result]:
    """Tasks whose calls run side by side in worker processes, where there may be several, else in this process."""
    out = str(job.folder.path)
    if workers.count == 1 or len(calls) == 1:
        return results_of(job, calls, lambda call: prefect_task(job, call)(out, call))
    tail, watch = LogTail(job.folder.log), watch_of(job.folder.log)
    with ThreadPoolExecutor(workers.count, thread_name_prefix="task") as threads:
        futures = []
        for call in calls:
            task = prefect_task(job, call, partial(perform_beside, workers))
            futures.append(threads.submit(copy_context().run, task, out, call))
        try:
            begun = iter(futures)
            return results_of(job, calls, lambda call: waited(next(begun), tail, watch.follow))
        except BaseException:
            workers.stop()
            threads.shutdown(wait=False, cancel_futures=True)
            raise


def spread_engine(job: Job, calls: Sequence[Call]) -> list[Result]:
    """Tasks side by side on the workers of the flow's task runner."""
    with reserved(job.settings.engine, calls[0].kind), _workers_of(job.settings.engine.name):
        futures = iter([prefect_task(job, call).submit(str(job.folder.path), call) for call in calls])
    return results_of(job, calls, lambda call: _waited(next(futures)))


@contextlib.contextmanager
def _workers_of(engine: str) -> Iterator[None]:
    """The first task starts the workers; what goes wrong with that is one sentence."""
    try:
        yield
    except (EvendermError, StopRequested):
        raise
    except Exception as error:
        said = " ".join(str(error).split())[:200]
        raise EvendermError(
            f"engine.name={engine}: no worker could be started or reached ({type(error).__name__}: {said}); "
            "the same command goes on from here"
        ) from None


def prefect_task(job: Job, call: Call, perform: Perform = perform_in_prefect) -> Task[..., Result]:
    """The Prefect task that performs `call`, named after it; `perform` itself tries again after passing faults."""
    limit, delays = time_limit(job, call), retry_delays(job)
    classes = [str(call.arguments[name]) for name in ("dx", "name", "arm") if name in call.arguments]
    # Of each tag Prefect asks the server for a concurrency limit before the task may start. A run's own server has
    # none, and its SQLite file may be busy for seconds, once in a while for a minute.
    tags = [] if is_own_server() else [job.data.name, job.preset, *classes]
    return Task(
        perform,
        name=call.kind,
        task_run_name=call.title.replace("{", "(").replace("}", ")"),
        tags=tags,
        timeout_seconds=limit * (len(delays) + 1) + sum(delays) + GRACE_SECONDS if limit else None,
        cache_policy=NO_CACHE,
        persist_result=False,
    )


def _waited(future: Any) -> Result:
    """The result of a submitted task, looking out for a request to stop meanwhile."""
    while not future.state.is_final():
        if STOP:
            raise StopRequested(f"stopped by {STOP.signal_name}")
        try:
            future.wait(timeout=POLL_SECONDS)
        except TimeoutError:
            pass
    result: Result = future.result(raise_on_failure=True)
    return result
