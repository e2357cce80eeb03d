"""A server, a worker and the deployments on this machine: `python -m flows.orchestration.serving start|stop`."""

from __future__ import annotations

import json
import os
import subprocess
import sys
import time
from pathlib import Path

from flows.engine.process import set_up_process
from flows.orchestration.server import free_port_or, wait_until_ready
from manifests.errors import BadInput, EvendermError
from manifests.files import write_json

REPOSITORY = Path(__file__).resolve().parents[2]
PORT = 4200
POOLS = {"box": 1, "gpu": 1}
PATIENCE_SECONDS = 10.0


def start(home: Path, data: Path, out: Path, port: int = PORT, pools: tuple[str, ...] = ("box", "gpu")) -> str:
    """Starts server and workers in the background and registers the deployments; gives the API address.

    The server keeps its SQLite file in `home`, unless PREFECT_SERVER_DATABASE_CONNECTION_URL names another
    database. Raises BadInput if something is being served from `home` already.
    """
    notes = home / "serving.json"
    if _alive(notes):
        raise BadInput(f"{notes}: a server is running already; make stop ends it")
    _check_data(data, out)
    home.mkdir(parents=True, exist_ok=True)
    address = f"http://127.0.0.1:{free_port_or(port)}/api"
    environment = {
        **os.environ,
        "PREFECT_HOME": str(home.resolve()),
        "PREFECT_API_URL": address,
        "EVENDERM_DATA": str(data.resolve()),
        "EVENDERM_OUT": str(out.resolve()),
    }
    pids = [_spawn(home / "server.log", environment, "flows.orchestration.server", _port(address), "0")]
    write_json(notes, {"address": address, "pids": pids})
    try:
        wait_until_ready(address)
        _make_pools(address)
        _prefect(environment, "--no-prompt", "deploy", "--all")
        for pool in pools:
            pids.append(_spawn(home / f"worker-{pool}.log", environment, "prefect", "worker", "start", "--pool", pool))
            write_json(notes, {"address": address, "pids": pids})
    except BaseException:
        stop(home)
        raise
    return address


def stop(home: Path) -> int:
    """Ends what `start` started from `home`, workers first; gives the number of processes ended."""
    notes = home / "serving.json"
    pids = _alive(notes)
    for pid in reversed(pids):
        _end(pid)
    notes.unlink(missing_ok=True)
    return len(pids)


def _check_data(data: Path, out: Path) -> None:
    """Reads what the data of the nightly run are, before anything starts. Raises BadInput where they are none."""
    from flows.run.folder import new_job
    from flows.settings import load_settings
    from manifests.prepare.understanding import understand

    job = new_job(data, out, "embedded", load_settings("embedded"))
    understand(job.data, job.settings.prepare)


def _spawn(log: Path, environment: dict[str, str], module: str, *arguments: str) -> int:
    with log.open("ab") as stream:
        return subprocess.Popen(
            [sys.executable, "-m", module, *arguments],
            cwd=REPOSITORY,
            env=environment,
            stdin=subprocess.DEVNULL,
            stdout=stream,
            stderr=stream,
            start_new_session=True,
        ).pid


def _make_pools(address: str) -> None:
    """Makes the work pools of processes, or brings their limits up to date."""
    from prefect.client.orchestration import get_client
    from prefect.client.schemas.actions import WorkPoolCreate
    from prefect.settings import PREFECT_API_URL, temporary_settings
    from prefect.workers.process import ProcessWorker

    template = ProcessWorker.get_default_base_job_template()
    with temporary_settings({PREFECT_API_URL: address}), get_client(sync_client=True) as client:
        for name, limit in POOLS.items():
            pool = WorkPoolCreate(
                name=name, type=ProcessWorker.type, base_job_template=template, concurrency_limit=limit
            )
            client.create_work_pool(pool, overwrite=True)


def _prefect(environment: dict[str, str], *arguments: str) -> None:
    """Runs one prefect command to its end. Raises EvendermError with its last line if it fails."""
    done = subprocess.run(
        [sys.executable, "-m", "prefect", *arguments],
        cwd=REPOSITORY,
        env=environment,
        stdin=subprocess.DEVNULL,
        capture_output=True,
        text=True,
    )
    if done.returncode:
        last = (done.stderr.strip() or done.stdout.strip() or "no message").splitlines()[-1]
        raise EvendermError(f"prefect {' '.join(arguments)}: {last}")


def _alive(notes: Path) -> list[int]:
    """Those of the noted processes that still run and are ours."""
    import psutil

    try:
        pids = [int(pid) for pid in json.loads(notes.read_text(encoding="utf-8"))["pids"]]
    except (OSError, ValueError, KeyError, TypeError):
        return []
    alive = []
    for pid in pids:
        try:
            # A pid may have gone to another program since.
            if {"prefect", "flows.orchestration.server"} & set(psutil.Process(pid).cmdline()):
                alive.append(pid)
        except psutil.Error:
            continue
    return alive


def _end(pid: int) -> None:
    """Ends a process and its children: asked first, then made to."""
    import psutil

    try:
        process = psutil.Process(pid)
        family = [process, *process.children(recursive=True)]
    except psutil.NoSuchProcess:
        return
    for member in family:
        try:
            member.terminate()
        except psutil.NoSuchProcess:
            continue
    _, left = psutil.wait_procs(family, timeout=PATIENCE_SECONDS)
    for member in left:
        try:
            member.kill()
        except psutil.NoSuchProcess:
            continue


def _port(address: str) -> str:
    return address.rpartition(":")[2].partition("/")[0]


def main(arguments: list[str]) -> int:
    """start HOME DATA OUT, or stop HOME."""
    set_up_process()
    started = time.monotonic()
    try:
        if arguments[:1] == ["start"] and len(arguments) == 4:
            home, data, out = (Path(argument) for argument in arguments[1:])
            address = start(home, data, out)
            page = address.removesuffix("/api")
            print(f"serving after {time.monotonic() - started:.0f} s: {page} (make stop ends it)")
            return 0
        if arguments[:1] == ["stop"] and len(arguments) == 2:
            print(f"ended {stop(Path(arguments[1]))} processes")
            return 0
        raise BadInput("flows.orchestration.serving: write start HOME DATA OUT, or stop HOME")
    except EvendermError as error:
        print(f"evenderm: {error}", file=sys.stderr)
        return error.exit_code


if __name__ == "__main__":
    sys.exit(main(sys.argv[1:]))
