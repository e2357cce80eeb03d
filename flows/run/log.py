"""log.jsonl: what a run did and when, one JSON object per line."""

from __future__ import annotations

import json
import os
import time
from collections.abc import Iterable, Iterator
from pathlib import Path
from typing import Any


def append_event(path: Path, event: str, **fields: Any) -> None:
    """Adds one event with the present time. Processes may append to the same file at once."""
    line = json.dumps({"time": round(time.time(), 3), "event": event, **fields}, ensure_ascii=False)
    descriptor = os.open(path, os.O_WRONLY | os.O_APPEND | os.O_CREAT, 0o644)
    try:
        # A line cut short by a kill must not swallow this one.
        start = "" if _ends_a_line(path) else "\n"
        os.write(descriptor, f"{start}{line}\n".encode("utf-8", "backslashreplace"))
    finally:
        os.close(descriptor)


def read_events(path: Path) -> Iterator[dict[str, Any]]:
    """The events of a log in order; lines that were cut short are left out."""
    if not path.exists():
        return
    with path.open(encoding="utf-8", errors="replace") as stream:
        yield from _events_in(stream)


class LogTail:
    """The events that any process adds to a log from now on."""

    def __init__(self, path: Path) -> None:
        self._path = path
        self._at = path.stat().st_size if path.exists() else 0

    def new_events(self) -> Iterator[dict[str, Any]]:
        """Those since the last call, in order."""
        if not self._path.exists():
            return
        with self._path.open("rb") as stream:
            stream.seek(self._at)
            content = stream.read()
        whole = content[: content.rfind(b"\n") + 1]
        self._at += len(whole)
        yield from _events_in(whole.decode("utf-8", "replace").split("\n"))  # names may hold other ends of lines


def _events_in(lines: Iterable[str]) -> Iterator[dict[str, Any]]:
    for line in lines:
        try:
            event = json.loads(line)
        except ValueError:
            continue
        if isinstance(event, dict) and "event" in event and "time" in event:
            yield event


def _ends_a_line(path: Path) -> bool:
    with path.open("rb") as stream:
        if stream.seek(0, os.SEEK_END) == 0:
            return True
        stream.seek(-1, os.SEEK_END)
        return stream.read(1) == b"\n"
