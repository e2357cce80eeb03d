"""How a run speaks while it works: to people in lines, in its last lines alone, or to programs as JSON."""

from __future__ import annotations

import json
import math
import time
from collections.abc import Mapping, Sequence
from typing import Any

from rich.console import Console

from flows.engine.terminal import duration, is_live, print_line, print_row
from flows.engine.watch import Watch
from flows.run.folder import Job
from flows.status import read_status
from flows.story import details, verdicts, words
from flows.time_left import Left
from manifests.errors import BadInput, EvendermError

Fields = Mapping[str, Any]
LOOK_SECONDS = 20.0
LOOK_SHARE = 50
"""The time left is looked up between two tasks of a step, and that costs no more than a fiftieth of the run."""
VERDICT_STYLES = {"gain": "green", "harm": "red"}


class Voice:
    """Hears of every event of a run, keeps what the steps found, and says the last lines alone."""

    def __init__(self, job: Job, only: Sequence[str], console: Console) -> None:
        self.job = job
        self.only = only
        self.console = console
        self.found: dict[str, Fields] = {}
        self.spent: Mapping[str, float] = {}
        self.left: Left | None = None
        self._looked = self._next = -math.inf

    def __call__(self, event: str, fields: Fields) -> None:
        """Hears of an event."""
        if event in ("step", "finished before"):
            self.found[str(fields["step"])] = fields["found"]
        self.tell(event, fields)

    def tell(self, event: str, fields: Fields) -> None:
        """At the end the verdicts, what failed, the time, and where to look."""
        if event != "done":
            return
        for sentence, word in verdicts(self.found.get("benchmark", {})):
            print_line(self.console, sentence, VERDICT_STYLES.get(word or "", ""))
        for title, why in fields["failed"].items():
            print_line(self.console, f"failed: {title}: {why}", "red")
        took = duration(fields["seconds"])
        print_line(self.console, f"done in {took}; run folder {self.job.folder.path}", whole=True)
        if fields["report"]:
            print_line(self.console, f"report: {fields['report']}", "bold", whole=True)

    def time_left(self) -> str:
        """About how long the steps that are left take, counted down since it was last looked up."""
        if self.left is None:
            return ""
        return self.left.words(time.monotonic() - self._looked)

    def look_up(self, event: str) -> None:
        """Brings what the steps took and the time left up to date, where an event may have changed it."""
        begun = time.monotonic()
        if event not in ("run", "step", "cost") and (event != "calls" or begun <= self._next):
            return
        try:
            status = read_status(self.job)
        except (EvendermError, OSError):  # a storage that is away for a moment
            return
        self.spent, self.left = status.spent, status.left.among(self.only)
        self._looked = time.monotonic()
        self._next = self._looked + max(LOOK_SECONDS, LOOK_SHARE * (self._looked - begun))


class Lines(Voice):
    """A line for each step, for people."""

    def tell(self, event: str, fields: Fields) -> None:
        """Says what is to be said of an event."""
        self.look_up(event)
        if event == "run":
            print_line(self.console, f"{self.job.name} into {self.job.folder.path}", whole=True)
        elif event == "step":
            step = str(fields["step"])
            self._row(step, duration(self.spent.get(step, fields["seconds"])), fields["found"], self.time_left())
        elif event == "finished before":
            self._row(str(fields["step"]), "before", fields["found"])
        else:
            super().tell(event, fields)

    def _row(self, step: str, took: str, found: Fields, left: str = "") -> None:
        print_row(self.console, step, took, words(step, found), left)
        for line in details(step, found):
            if is_live(self.console):
                print_row(self.console, "", "", line)
            else:
                print_line(self.console, f"  {line}")


class JsonLines(Voice):
    """Each event as a JSON object on a line of its own, as in the run's log."""

    def tell(self, event: str, fields: Fields) -> None:
        """Says what is to be said of an event."""
        told = {"time": round(time.time(), 3), "event": event, **fields}
        self.look_up(event)
        if event in ("step", "calls") and self.left is not None:
            told |= {"left": round(self.left.seconds, 1), "left_unknown": list(self.left.unknown)}
        print(json.dumps(_finite(told)), flush=True)


def _finite(value: Any) -> Any:
    """The value with null for numbers that JSON has not."""
    if isinstance(value, float) and not math.isfinite(value):
        return None
    if isinstance(value, Mapping):
        return {key: _finite(inner) for key, inner in value.items()}
    return [_finite(inner) for inner in value] if isinstance(value, list | tuple) else value


def watch_of_command(
    job: Job, only: Sequence[str], console: Console | None, quiet: bool, as_json: bool
) -> tuple[Watch, Voice]:
    """What shows a run in the way that its command asks for. Raises BadInput where that is two ways."""
    if quiet and as_json:
        raise BadInput("--quiet and --json: give one of them")
    console = console or Console()
    kind = JsonLines if as_json else Voice if quiet else Lines
    voice = kind(job, only, console)
    return Watch(job.folder.log, None if quiet or as_json else console, voice=voice), voice
