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
from tests.flows.told_imports import MARK


def drawn_by(run: FinishedRun, out: Path, *overrides: str) -> list[str]:
    """The command that draws what is missing in the unfinished `out`, by other hands than `run` was."""
    words = whole_run.command(run.data, out, *overrides)
    words[words.index("run") : words.index("--data") + 2] = ["synthesise"]
    words.remove("--preset")
    words.remove("tiny")
    return words


def is_as_drawn_before(run: FinishedRun, out: Path) -> bool:
    name = "synthetic/manifest.json"
    return (out / name).read_bytes() == (run.out / name).read_bytes()


def test_two_workers_draw_the_bytes_that_one_process_draws_and_no_server_is_imported(
    unfinished: Callable[[str], Path], tiny_run: FinishedRun
) -> None:
    out = unfinished("some of synthesise")
    before = whole_run.tasks(out)
    words = drawn_by(tiny_run, out, "engine.name=plain", "engine.workers=2")
    words[words.index("flows.command_line")] = "tests.flows.told_imports"
    imported = whole_run.finish(words).rpartition(MARK)[2].split()
    assert whole_run.tasks(out) >= before + 2 and is_as_drawn_before(tiny_run, out)
    assert "torch" in imported and not {*imported} & {"prefect", "uvicorn", "fastapi", "sqlalchemy", "http.server"}


@pytest.mark.parametrize("engine", ["local", "dask", "ray"])
def test_two_workers_of_a_prefect_flow_draw_the_same_bytes(
    engine: str, unfinished: Callable[[str], Path], tiny_run: FinishedRun, prefect_api: str
) -> None:
    out = unfinished("some of synthesise")
    before = whole_run.tasks(out)
    words = drawn_by(tiny_run, out, f"engine.name={engine}", "engine.workers=2")
    whole_run.finish(words, PREFECT_API_URL=prefect_api)
    assert whole_run.tasks(out) >= before + 2 and is_as_drawn_before(tiny_run, out)


def test_tasks_go_to_the_workers_that_have_what_they_reserve(
    unfinished: Callable[[str], Path], tiny_run: FinishedRun, prefect_api: str
) -> None:
    from distributed import LocalCluster

    out = unfinished("some of synthesise")
    one = {"n_workers": 1, "threads_per_worker": 1, "processes": False, "dashboard_address": None}
    with LocalCluster(**one, protocol="tcp", resources={"GPU": 1}) as cluster:
        overrides = ["engine.name=dask", f"engine.address={cluster.scheduler_address}", "engine.gpus_per_task=1"]
        whole_run.finish(drawn_by(tiny_run, out, *overrides), PREFECT_API_URL=prefect_api)
    assert is_as_drawn_before(tiny_run, out)


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
