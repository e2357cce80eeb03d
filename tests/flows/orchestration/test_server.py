"""The server of one run answers so that tasks do not wait for it."""

from __future__ import annotations

import asyncio
from collections.abc import MutableMapping
from pathlib import Path
from typing import Any

import pytest

from flows.engine.calls import Call
from flows.orchestration.engines import prefect_task
from flows.orchestration.server import OWN_SERVER, with_short_waits
from flows.run.folder import new_job
from flows.settings import load_settings


@pytest.mark.parametrize(("status", "told"), [(503, [(b"retry-after", b"0.1")]), (200, []), (404, [])])
def test_only_a_busy_server_asks_to_be_tried_again_and_soon(status: int, told: list[tuple[bytes, bytes]]) -> None:
    sent: list[MutableMapping[str, Any]] = []

    async def app(scope: Any, receive: Any, send: Any) -> None:
        await send({"type": "http.response.start", "status": status, "headers": [(b"a", b"b")]})
        await send({"type": "http.response.body", "body": b""})

    async def send(message: MutableMapping[str, Any]) -> None:
        sent.append(message)

    asyncio.run(with_short_waits(app)({}, None, send))
    assert sent[0]["headers"] == [(b"a", b"b"), *told] and sent[1]["body"] == b""


def test_tasks_have_tags_where_somebody_may_look_for_them(
    phantom_folder: Path, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    job = new_job(phantom_folder, tmp_path / "run", "tiny", load_settings("tiny"))
    call = Call("adapt", "adapt mel", {"name": "mel"})
    monkeypatch.setenv("PREFECT_API_URL", "http://127.0.0.1:1/api")
    assert prefect_task(job, call).tags == {phantom_folder.name, "tiny", "mel"}
    monkeypatch.setenv(OWN_SERVER, "http://127.0.0.1:1/api")
    assert prefect_task(job, call).tags == set()
