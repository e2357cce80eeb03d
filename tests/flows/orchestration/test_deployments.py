"""Deployments on a real server: a schedule fires, a worker runs the flow, and its artifacts can be read back."""

from __future__ import annotations

import json
from collections.abc import Callable, Iterator, Sequence
from datetime import UTC, datetime, timedelta
from pathlib import Path
from typing import Any

import psutil
import pytest
from prefect.client.orchestration import SyncPrefectClient, get_client
from prefect.client.schemas.actions import DeploymentScheduleCreate
from prefect.client.schemas.schedules import IntervalSchedule
from prefect.context import FlowRunContext
from prefect.exceptions import PrefectHTTPStatusError
from prefect.settings import PREFECT_API_URL, temporary_settings
from prefect.task_runners import ThreadPoolTaskRunner

from flows.engine.watch import Watch
from flows.orchestration import rebalance, serving
from flows.orchestration.explain_flow import explain
from flows.run.folder import Job, open_job, save_job
from flows.settings import load_settings, preset_names
from manifests.errors import BadInput, EvendermError
from tests.waiting import until

# How often Prefect's server looks for new schedules, and its worker for runs: every second instead of every tenth.
LOOKS = {"PREFECT_SERVER_SERVICES_SCHEDULER_RECENT_DEPLOYMENTS_LOOP_SECONDS": "1", "PREFECT_WORKER_QUERY_SECONDS": "1"}


@pytest.fixture(scope="module")
def served(phantom_folder: Path, tmp_path_factory: pytest.TempPathFactory) -> Iterator[tuple[Path, Path]]:
    """The home of a server with a worker and the deployments, and the nightly run's folder."""
    home, out = tmp_path_factory.mktemp("served"), tmp_path_factory.mktemp("nightly") / "run"
    with pytest.MonkeyPatch.context() as patch:
        for name, seconds in LOOKS.items():
            patch.setenv(name, seconds)
        address = serving.start(home, phantom_folder, out, port=0, pools=("box",))
    try:
        with temporary_settings({PREFECT_API_URL: address}):
            yield home, out
    finally:
        serving.stop(home)


@pytest.fixture
def client(served: tuple[Path, Path]) -> Iterator[SyncPrefectClient]:
    """A client of the server."""
    with get_client(sync_client=True) as made:
        yield made


def test_every_deployment_has_a_form_typed_by_the_settings(
    client: SyncPrefectClient, served: tuple[Path, Path]
) -> None:
    deployments = {deployment.name: deployment for deployment in client.read_deployments()}
    steps = {"prepare", "adapt", "synthesise", "benchmark", "explain"}
    assert set(deployments) == {"nightly", "on-demand", "gpu", *steps}
    form: dict[str, Any] = deployments["nightly"].parameter_openapi_schema  # type: ignore[assignment]
    assert form["definitions"]["AdaptSettings"]["properties"]["batch"]["minimum"] == 1
    assert deployments["nightly"].schedules[0].schedule.cron == "0 2 * * *"  # type: ignore[union-attr]
    overrides = deployments["nightly"].parameters["overrides"]
    assert load_settings("tiny", None, overrides).report.history == str(served[1] / "history.jsonl")


def test_the_form_offers_presets_and_explains_every_parameter() -> None:
    flows = [getattr(rebalance, name) for name in ("rebalance", "prepare", "adapt", "synthesise", "benchmark")]
    for flow in (*flows, explain):
        for name, field in flow.parameters.properties.items():
            assert field.get("description"), f"{flow.name}: {name} is not explained"
            assert name != "preset" or field["enum"] == preset_names()


@pytest.mark.parametrize("wrong", [{"preset": "huge"}, {"data": "lesions"}, {"out": "s3://bucket/run"}])
def test_what_can_be_no_parameter_is_refused_before_a_run_is_made(
    client: SyncPrefectClient, wrong: dict[str, str]
) -> None:
    deployment = client.read_deployment_by_name("rebalance/on-demand")
    given = {"data": "/data/lesions", "out": "/runs/mine", "preset": "tiny"} | wrong
    with pytest.raises(PrefectHTTPStatusError, match=r"409|422"):
        client.create_flow_run_from_deployment(deployment.id, parameters=given)
    assert not [run for run in client.read_flow_runs() if run.deployment_id == deployment.id]


def test_a_busy_server_asks_to_be_tried_again_soon(served: tuple[Path, Path]) -> None:
    pids = json.loads((served[0] / "serving.json").read_text())["pids"]
    assert "flows.orchestration.server" in psutil.Process(pids[0]).cmdline()


def test_data_that_are_none_are_told_before_a_server_starts(tmp_path: Path) -> None:
    with pytest.raises(BadInput, match="nowhere"):
        serving.start(tmp_path / "home", tmp_path / "nowhere", tmp_path / "run")
    assert not (tmp_path / "home").exists()


def test_a_gpu_pool_takes_one_run_per_gpu(client: SyncPrefectClient) -> None:
    assert client.read_work_pool("gpu").concurrency_limit == serving.POOLS["gpu"]


def test_a_schedule_fires_and_the_run_tells_its_story(
    client: SyncPrefectClient, served: tuple[Path, Path], phantom_folder: Path
) -> None:
    _, out = served
    deployment = client.read_deployment_by_name("prepare/prepare")
    # Soon, and again and again: a busy server may schedule only after a single moment has passed.
    schedule = IntervalSchedule(interval=timedelta(seconds=20), anchor_date=datetime.now(UTC) + timedelta(seconds=4))
    parameters = {"data": str(phantom_folder), "out": str(out), "preset": "tiny"}
    made = DeploymentScheduleCreate(schedule=schedule, active=True, parameters=parameters)
    # First: the schedule may fire at once.
    client._client.patch(f"/deployments/{deployment.id}", json={"parameters": parameters})
    client.create_deployment_schedules(deployment.id, [(made.schedule, True)])
    run = _finished_run(client, deployment.id)
    for made_schedule in client.read_deployment(deployment.id).schedules:
        client._client.delete(f"/deployments/{deployment.id}/schedules/{made_schedule.id}")
    assert run.state is not None and run.state.is_completed(), run.state
    assert run.auto_scheduled and run.name == f"{phantom_folder.name} tiny"
    assert (out / "real" / "manifest.json").exists()
    found = client._client.post("/artifacts/filter", json={}).json()
    keys = {artifact["key"]: artifact for artifact in found}
    assert json.loads(keys["steps"]["data"])[0]["step"] == "prepare"
    assert str(out) in keys["report"]["data"]
    _wait_for_log(client, "prepare: finished")


def test_a_deployed_flow_has_the_task_runner_that_its_settings_name(
    client: SyncPrefectClient, unfinished: Callable[[str], Path], monkeypatch: pytest.MonkeyPatch
) -> None:
    job = open_job(unfinished("adapt"), ["engine.name=dask"])
    save_job(job)
    runners: list[str] = []

    def seen(job: Job, only: Sequence[str]) -> None:
        context = FlowRunContext.get()
        assert context is not None
        runners.append(type(context.task_runner).__name__)

    monkeypatch.setattr(rebalance, "_run", seen)
    rebalance.adapt(str(job.folder.path))
    assert runners == ["DaskTaskRunner"]


def test_workers_that_do_not_start_are_one_sentence(
    client: SyncPrefectClient, unfinished: Callable[[str], Path], monkeypatch: pytest.MonkeyPatch
) -> None:
    class Broken(ThreadPoolTaskRunner):
        def __enter__(self) -> Any:
            raise RuntimeError("Nanny failed to start.")

    monkeypatch.setattr(rebalance, "task_runner", lambda *_: Broken())
    job = open_job(unfinished("adapt"))
    with pytest.raises(EvendermError, match=r"could not be started \(RuntimeError: Nanny failed to start\.\)"):
        rebalance.run_as_flow(job, Watch(None), ("adapt",))


def test_serving_twice_from_one_folder_is_refused(served: tuple[Path, Path]) -> None:
    home, out = served
    with pytest.raises(BadInput, match="make stop"):
        serving.start(home, out, out)


def _wait_for_log(client: SyncPrefectClient, words: str) -> None:
    """Prefect sends its logs in batches, the last of them after the run's end."""

    def lines() -> list[str]:
        found = [line["message"] for line in client._client.post("/logs/filter", json={}).json()]
        return [line for line in found if words in line]

    until(lines, f"a log line that holds {words!r}")


def _finished_run(client: SyncPrefectClient, deployment_id: object) -> Any:
    def ended() -> list[Any]:
        runs = [run for run in client.read_flow_runs() if run.deployment_id == deployment_id]
        return [run for run in runs if run.state is not None and run.state.is_final()]

    return until(ended, "the end of a run of the deployment")[0]
