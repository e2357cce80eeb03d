"""Whoever does the work and however many there are: the same bytes."""

from __future__ import annotations

from collections.abc import Callable
from pathlib import Path

import pytest

from flows.engine.calls import Call, is_fatal, is_passing, one_by_one
from flows.engine.watch import TimeLimitReached
from flows.orchestration.engines import reserved, task_runner
from flows.run.folder import open_job, save_job
from flows.settings import load_settings
from flows.steps import perform
from manifests.errors import BadInput, StorageFailed
from manifests.progress import StopRequested
from tests.flows import whole_run
from tests.flows.conftest import FinishedRun


@pytest.mark.parametrize("engine", ["plain", "local", "dask", "ray"])
def test_two_workers_draw_the_bytes_that_one_process_draws(
    engine: str, unfinished: Callable[[str], Path], tiny_run: FinishedRun
) -> None:
    out = unfinished("some of synthesise")
    overrides = [f"engine.name={engine}", "engine.workers=2"]
    words = [*whole_run.command(tiny_run.data, out, *overrides)]
    words[words.index("run") : words.index("--data") + 2] = ["synthesise"]
    words.remove("--preset")
    words.remove("tiny")
    before = whole_run.tasks(out)
    _, imported = whole_run.finish_from_nothing(words)
    assert whole_run.tasks(out) >= before + 2
    name = "synthetic/manifest.json"
    assert (out / name).read_bytes() == (tiny_run.out / name).read_bytes()
    servers = imported & {"prefect", "uvicorn", "fastapi", "sqlalchemy", "http.server"}
    assert ("prefect" in servers) == (engine != "plain") and (engine != "plain" or not servers)


def test_tasks_go_to_the_workers_that_have_what_they_reserve(
    unfinished: Callable[[str], Path], tiny_run: FinishedRun
) -> None:
    from distributed import LocalCluster

    out = unfinished("some of synthesise")
    with LocalCluster(n_workers=1, threads_per_worker=1, dashboard_address=None, resources={"GPU": 1}) as cluster:
        address = cluster.scheduler_address
        overrides = ["engine.name=dask", f"engine.address={address}", "engine.gpus_per_task=1"]
        words = [*whole_run.command(tiny_run.data, out, *overrides)]
        words[words.index("run") : words.index("--data") + 2] = ["synthesise"]
        words.remove("--preset")
        words.remove("tiny")
        whole_run.finish_from_nothing(words)
    assert (out / "synthetic/manifest.json").read_bytes() == (tiny_run.out / "synthetic/manifest.json").read_bytes()


def test_what_a_task_reserves_reaches_dask_and_ray() -> None:
    import dask
    from prefect_ray.context import RemoteOptionsContext

    settings = load_settings("tiny", None, ["engine.name=dask", "engine.gpus_per_task=1"]).engine
    with reserved(settings, "synthesise"):
        assert dask.get_annotations() == {"resources": {"GPU": 1.0}}
    with reserved(settings, "report"):
        assert dask.get_annotations() == {}
    with reserved(settings.model_copy(update={"name": "ray"}), "adapt"):
        assert RemoteOptionsContext.get().current_remote_options == {"num_gpus": 1.0}


@pytest.mark.parametrize("engine", ["dask", "ray"])
def test_a_gpu_that_is_not_there_is_bad_input(engine: str) -> None:
    with pytest.raises(BadInput, match="gpus_per_task"):
        task_runner(load_settings("tiny", None, [f"engine.name={engine}", "engine.gpus_per_task=1"]).engine, 1)


def test_passing_faults_are_tried_again_and_others_are_not(
    unfinished: Callable[[str], Path], monkeypatch: pytest.MonkeyPatch
) -> None:
    job = open_job(unfinished("benchmark"), ["engine.retries=2", "engine.retry_delay=0"])
    save_job(job)
    tries: list[int] = []

    def failing(error: Exception, times: int) -> Callable[..., dict[str, int]]:
        def unit(job: object, progress: object, **arguments: object) -> dict[str, int]:
            tries.append(1)
            if len(tries) <= times:
                raise error
            return {"tries": len(tries)}

        return unit

    monkeypatch.setattr("flows.steps.function_of", lambda kind: failing(StorageFailed("s3://x: 503"), 2))
    (result,) = one_by_one(perform, job, [Call("report", "report", {})])
    assert result.figures == {"tries": 3}
    tries.clear()
    monkeypatch.setattr("flows.steps.function_of", lambda kind: failing(RuntimeError("broken"), 9))
    (result,) = one_by_one(perform, job, [Call("report", "report", {})])
    assert isinstance(result.error, RuntimeError) and len(tries) == 1


def test_only_what_every_call_would_meet_ends_a_run() -> None:
    assert all(map(is_fatal, [StopRequested(), BadInput("x"), StorageFailed("x"), OSError(28, "full")]))
    assert not any(map(is_fatal, [TimeLimitReached("slow"), RuntimeError("NaN"), ValueError("x")]))


def test_only_faults_that_may_pass_are_tried_again() -> None:
    assert all(map(is_passing, [StorageFailed("503"), ConnectionResetError(), TimeoutError()]))
    assert not any(map(is_passing, [BadInput("x"), OSError(28, "full"), RuntimeError("NaN"), StopRequested()]))


def test_an_engine_that_is_not_installed_is_one_sentence(monkeypatch: pytest.MonkeyPatch) -> None:
    import sys

    from flows.orchestration.engines import task_runner

    monkeypatch.setitem(sys.modules, "prefect_ray", None)
    with pytest.raises(BadInput, match=r"evenderm\[scale\]"):
        task_runner(load_settings("tiny", None, ["engine.name=ray"]).engine, 1)
