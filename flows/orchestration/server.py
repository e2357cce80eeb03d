"""A Prefect server for one run: started with it, quiet, and gone when it is gone.

Prefect would start one by itself, but that one outlives a killed run, writes into the terminal and is not
shared with worker processes.
"""

from __future__ import annotations

import os
import socket
import subprocess
import sys
import threading
import time
import urllib.error
import urllib.request
from collections.abc import Awaitable, Callable, Iterator, MutableMapping
from contextlib import AbstractContextManager, contextmanager, nullcontext
from pathlib import Path
from typing import Any

from flows.engine.process import set_up_process
from flows.engine.stopping import STOP, end_now
from manifests.errors import EvendermError
from manifests.progress import StopRequested

START_SECONDS = 120.0
WATCH_SECONDS = 1.0
# Tasks talk to the server when they start and end. It must not have hung up meanwhile, as it would after five seconds:
# Prefect's client notices by a failed call, and waits for two seconds before the next try.
KEEP_ALIVE_SECONDS = 24 * 3600
BUSY, RETRY_SECONDS = 503, b"0.1"
# On loopback an answer that takes longer was lost, and is asked for again.
ANSWER_SECONDS = 20
# Names the server of the run to itself and its workers, where it is nobody else's.
OWN_SERVER = "EVENDERM_OWN_SERVER"
# What a task has to write its checkpoint in.
GRACE_SECONDS = 10.0
# An ASGI application.
App = Callable[[Any, Any, Any], Awaitable[None]]


@contextmanager
def prefect_server(home: Path) -> Iterator[str]:
    """While it lasts, this process and its children use a Prefect server; gives its API address.

    A server that the caller named (PREFECT_API_URL, or a Prefect profile) is used as it is. Otherwise one
    is started on loopback with its files in `home`.
    """
    named = os.environ.get("PREFECT_API_URL") or _profile_server()
    if named:
        yield named
        return
    home.mkdir(parents=True, exist_ok=True)
    before = dict(os.environ)
    os.environ["PREFECT_HOME"] = str(home)
    process, address = _start(home)
    os.environ["PREFECT_API_URL"] = os.environ[OWN_SERVER] = address
    os.environ.setdefault("PREFECT_API_REQUEST_TIMEOUT", str(ANSWER_SECONDS))
    over = threading.Event()
    threading.Thread(target=_mind, args=(process, over), daemon=True).start()
    try:
        with _settings_of(address, home):
            yield address
    finally:
        over.set()
        _stop(process)
        os.environ.clear()
        os.environ.update(before)


def is_own_server() -> bool:
    """Whether the Prefect server of this process is one that a run started for itself."""
    return os.environ.get("PREFECT_API_URL", "") == os.environ.get(OWN_SERVER)


def _settings_of(address: str, home: Path) -> AbstractContextManager[Any]:
    """The same for a Prefect that was loaded before, and with it the settings of its time."""
    if "prefect" not in sys.modules:
        return nullcontext()
    from prefect.settings import PREFECT_API_URL, PREFECT_HOME, temporary_settings

    return temporary_settings({PREFECT_API_URL: address, PREFECT_HOME: home})


def wait_until_ready(address: str) -> None:
    """Waits for a server to answer. Raises EvendermError if it does not."""
    deadline = time.monotonic() + START_SECONDS
    while time.monotonic() < deadline:
        if STOP:
            raise StopRequested(f"stopped by {STOP.signal_name}")
        try:
            with urllib.request.urlopen(f"{address}/health", timeout=5):
                return
        except (urllib.error.URLError, OSError):
            time.sleep(0.1)
    raise EvendermError(f"{address}: the Prefect server did not start; see its server.log")


def _start(home: Path) -> tuple[subprocess.Popen[bytes], str]:
    port = free_port_or(0)
    address = f"http://127.0.0.1:{port}/api"
    environment = {
        **os.environ,
        "PREFECT_UI_ENABLED": "false",
        "PREFECT_SERVER_LOGGING_LEVEL": "CRITICAL",
        "PREFECT_API_URL": address,
    }
    command = [sys.executable, "-m", "flows.orchestration.server", str(port), str(os.getpid())]
    with (home / "server.log").open("ab") as log:
        # A session of its own: Ctrl-C in the terminal is for the run, which then stops the server.
        process = subprocess.Popen(
            command, env=environment, stdin=subprocess.DEVNULL, stdout=log, stderr=log, start_new_session=True
        )
    return process, address


def _mind(process: subprocess.Popen[bytes], over: threading.Event) -> None:
    """Ends the run when its server is gone: Prefect would ask it again and again, for minutes."""
    while not over.wait(WATCH_SECONDS):
        if process.poll() is not None:
            STOP.set("the loss of the Prefect server")
            if not over.wait(GRACE_SECONDS):
                end_now()
            return


def _stop(process: subprocess.Popen[bytes]) -> None:
    process.terminate()
    try:
        process.wait(timeout=3)
    except subprocess.TimeoutExpired:
        process.kill()
        process.wait()


def free_port_or(port: int) -> int:
    """`port` if nothing listens there, else one that is free; 0 for any."""
    with socket.socket() as probe:
        probe.setsockopt(socket.SOL_SOCKET, socket.SO_REUSEADDR, 1)
        try:
            probe.bind(("127.0.0.1", port))
        except OSError:
            return free_port_or(0)
        return int(probe.getsockname()[1])


def _profile_server() -> str | None:
    """The API address of the caller's Prefect profile, if there is one."""
    home = Path(os.environ.get("PREFECT_HOME", "~/.prefect")).expanduser()
    if not (home / "profiles.toml").exists():
        return None
    from prefect.settings import PREFECT_API_URL

    return PREFECT_API_URL.value()


def _end_with(parent: int) -> None:
    """Ends this process once its parent is gone."""
    while os.getppid() == parent:
        time.sleep(WATCH_SECONDS)
    os._exit(0)


def _serve(port: int, parent: int) -> None:
    """parent: the process whose end ends the server, which then has no page and no schedules; 0 for none."""
    if parent:
        threading.Thread(target=_end_with, args=(parent,), daemon=True).start()
    import uvicorn
    from prefect.server.api.server import create_app

    uvicorn.run(
        with_short_waits(create_app(ephemeral=bool(parent), final=True)),
        host="127.0.0.1",
        port=port,
        log_level="error",
        timeout_keep_alive=KEEP_ALIVE_SECONDS,
    )


def with_short_waits(app: App) -> App:
    """The server `app`, which asks to be tried again soon where its SQLite file is busy.

    That happens at the start of most tasks, and by itself the client waits for two seconds then.
    """

    async def answer(scope: Any, receive: Any, send: Any) -> None:
        async def send_with_short_wait(message: MutableMapping[str, Any]) -> None:
            if message["type"] == "http.response.start" and message["status"] == BUSY:
                message["headers"] = [*message.get("headers", ()), (b"retry-after", RETRY_SECONDS)]
            await send(message)

        await app(scope, receive, send_with_short_wait)

    return answer


if __name__ == "__main__":
    set_up_process()
    _serve(int(sys.argv[1]), int(sys.argv[2]))
