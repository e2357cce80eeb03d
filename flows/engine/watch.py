"""Watching long work: rate, memory, time left and warnings, in the terminal and in the run's log."""

from __future__ import annotations

import statistics
import time
from collections import deque
from collections.abc import Callable, Iterator, Mapping
from contextlib import contextmanager
from contextvars import ContextVar
from dataclasses import dataclass, field
from pathlib import Path
from typing import TYPE_CHECKING, Any

from flows.engine.stopping import STOP
from flows.engine.tally import Tally, gpu_memory, host_memory
from flows.run.log import append_event
from manifests.errors import printable
from manifests.progress import StopRequested

if TYPE_CHECKING:
    from rich.console import Console
    from rich.progress import TaskID

    from flows.engine.terminal import Bars

LOG_SECONDS = 5.0
LINE_SECONDS = 30.0
SAMPLE_SECONDS = 0.2
RATE_WINDOW = 12
RATE_HISTORY = 5
LOST_SECONDS = 120.0
# Of an event of a task: all but the figures of its work; and the events with which a task ends.
KNOWN = ("time", "event", "task", "unit", "done", "total", "rate", "memory", "gpu_memory")
ENDS = ("finished", "failed", "interrupted")
# By log and step: seconds that tasks lost because they were slower than usual.
_LOST: dict[tuple[Path | None, str], float] = {}
# Hears of every event that goes to the log: its name and fields.
Listener = Callable[[str, dict[str, Any]], None]
_LISTENER: ContextVar[Listener | None] = ContextVar("listener", default=None)


class TimeLimitReached(StopRequested):
    """A task took longer than its limit: it checkpoints as on a stop, then counts as failed."""


@dataclass
class TaskProgress:
    """The progress callback of one task; see `manifests.progress.Progress`."""

    watch: Watch
    title: str
    unit: str
    limit: float
    started: float
    tally: Tally = field(default_factory=Tally)
    _reports: int = 0
    _base: int = 0
    _done: int = 0
    _sampled: float = 0.0
    _logged_done: int = 0
    _logged: float = 0.0
    _rates: deque[float] = field(default_factory=lambda: deque(maxlen=RATE_WINDOW))
    _usual: float = 0.0

    def __call__(self, done: int, total: int, **figures: float | str) -> None:
        """Raises StopRequested once the process was asked to end, TimeLimitReached past the limit."""
        now = self.watch.clock()
        if self._reports == 0:
            self._base, self._logged_done, self._logged = 0, done, self.started
        elif done < self._done:
            # A task of several parts that each count from the start: another speed may be usual now.
            self._base, self._logged_done, self._logged = -self.tally.units, done, now
            self._rates.clear()
            self._usual = 0.0
        elif self._reports == 1:
            # The first report came after one unit, or after one on top of what an earlier run had done.
            self._base = max(0, self._done - (done - self._done))
        self._reports += 1
        self._done = done
        self.tally.units = max(0, done - self._base)
        if now - self._sampled >= SAMPLE_SECONDS:
            self._sampled = now
            self.sample_memory()
            self.watch.show(self.title, self.unit, self.rate, done, total, figures)
        if now - self._logged >= LOG_SECONDS:
            self._log(now, done, total, figures)
        if STOP:
            raise StopRequested(f"{self.title}: stopped by {STOP.signal_name}")
        if self.limit and now - self.started > self.limit:
            raise TimeLimitReached(f"{self.title}: took longer than its limit of {self.limit:g} s")

    @property
    def rate(self) -> float:
        """Units per second since the task started here."""
        seconds = self.watch.clock() - self.started
        return self.tally.units / seconds if seconds > 0 else 0.0

    def sample_memory(self) -> None:
        """Raises the peak to the memory in use now."""
        self.tally.memory = max(self.tally.memory, host_memory())
        self.tally.gpu_memory = max(self.tally.gpu_memory, gpu_memory())

    def _log(self, now: float, done: int, total: int, figures: dict[str, float | str]) -> None:
        seconds = now - self._logged
        recent = (done - self._logged_done) / seconds
        self._logged, self._logged_done = now, done
        known = {"rate": round(self.rate, 4), "memory": self.tally.memory} | self._gpu_figure()
        self.watch.event("progress", task=self.title, unit=self.unit, done=done, total=total, **{**figures, **known})
        if len(self._rates) >= RATE_HISTORY:
            self._usual = max(self._usual, statistics.median(self._rates))
        if recent < self._usual / 2:
            self.watch.lose(self, recent, self._usual, seconds * (1 - recent / self._usual))
        self._rates.append(recent)

    def _gpu_figure(self) -> dict[str, float | str]:
        return {"gpu_memory": self.tally.gpu_memory} if self.tally.gpu_memory else {}


class Watch:
    """Where the tasks of one process report: the log of its run, a terminal if there is one, and a voice.

    voice: hears of every event, whatever thread it comes from, and says it in its own way.
    """

    def __init__(
        self,
        log: Path | None,
        console: Console | None = None,
        clock: Callable[[], float] = time.monotonic,
        voice: Listener | None = None,
    ) -> None:
        self.log = log
        self.voice = voice
        self.clock = clock
        self.console = console
        self._bars: Bars | None = None
        self._bar_ids: dict[str, TaskID] = {}
        self._line_at = self.clock()

    @contextmanager
    def task(self, title: str, unit: str = "steps", limit: float = 0) -> Iterator[TaskProgress]:
        """Watches one task; `limit` is in seconds, 0 for none. A task that raises is logged as such."""
        progress = TaskProgress(self, title, unit, limit, self.clock())
        self.event("started", task=title)
        try:
            yield progress
        except BaseException as error:
            self.event("interrupted" if isinstance(error, StopRequested) else "failed", task=title, why=str(error))
            raise
        finally:
            progress.sample_memory()
            progress.tally.seconds = self.clock() - progress.started
            self._drop_bar(title)
        self.event("finished", task=title, **progress.tally.figures())

    @contextmanager
    def step(self, name: str) -> Iterator[Tally]:
        """Watches one step; its tally gets the time that passed."""
        started = self.clock()
        tally = Tally(memory=host_memory())
        self.event("step started", step=name)
        _LOST.pop((self.log, name), None)
        yield tally
        tally.seconds = self.clock() - started

    def lose(self, task: TaskProgress, recent: float, usual: float, seconds: float) -> None:
        """Adds up the seconds that a slow task costs its step; once they are minutes, the step warns, and only once."""
        key = (self.log, task.title.partition(" ")[0])
        before = _LOST.get(key, 0.0)
        _LOST[key] = before + seconds
        if before < LOST_SECONDS <= _LOST[key]:
            rates = f"{recent:.3g} {task.unit}/s, half its usual {usual:.3g} or less"
            self.warn(f"{task.title}: {rates}, has cost {_LOST[key] / 60:.0f} minutes; is something else at work here?")

    def count(self, step: str, done: int, total: int) -> None:
        """Shows how many of a step's calls are done."""
        self.event("calls", step=step, done=done, total=total)
        if self._bars is not None and total > 1:
            if step not in self._bar_ids:
                self._bar_ids[step] = self._bars.add_task(f"{step}: all", figures="", unit="calls")
            self._bars.update(self._bar_ids[step], completed=done, total=total)
            if done == total:
                self._drop_bar(step)

    @contextmanager
    def bars(self, below: Callable[[], str] = str) -> Iterator[None]:
        """Shows progress bars while it lasts, if the console is a terminal; below: gives a line under them."""
        from flows.engine.terminal import Bars, is_live

        if self.console is None or not is_live(self.console):
            yield
            return
        with Bars(self.console, below) as bars:
            self._bars = bars
            try:
                yield
            finally:
                self._bars = None

    def say(self, line: str) -> None:
        """Prints one line above the bars."""
        if self.console is not None:
            from flows.engine.terminal import print_line

            print_line(self.console, line, "yellow" if line.startswith("warning: ") else "")

    def warn(self, message: str) -> None:
        """Prints and logs a warning."""
        self.say(f"warning: {message}")
        self.event("warning", message=message)

    def event(self, event: str, **fields: Any) -> None:
        """Adds an event to the run's log and tells the listener and the voice."""
        if self.log is not None:
            append_event(self.log, event, **fields)
        for hear in (_LISTENER.get(), self.voice):
            if hear is not None:
                hear(event, fields)

    def follow(self, event: Mapping[str, Any]) -> None:
        """Shows what a worker process logged of its task, and tells the voice of it; the listener hears of warnings."""
        name, title = str(event["event"]), str(event.get("task"))
        if name == "progress":
            figures = {key: value for key, value in event.items() if key not in KNOWN}
            self.show(title, event["unit"], event["rate"], event["done"], event["total"], figures)
        elif name in ENDS:
            self._drop_bar(title)
        elif name == "warning":
            self.say(f"warning: {event['message']}")
            if (listener := _LISTENER.get()) is not None:
                listener(name, {"message": event["message"]})
        if self.voice and name in ("started", "progress", "warning", *ENDS):
            self.voice(name, {key: value for key, value in event.items() if key not in ("time", "event")})

    def show(
        self, title: str, unit: str, rate: float, done: int, total: int, figures: Mapping[str, float | str]
    ) -> None:
        """Brings the terminal up to date: a bar, or a line now and then where bars cannot be drawn."""
        described = ", ".join(f"{name} {_short(value)}" for name, value in figures.items())
        if self._bars is not None:
            if title not in self._bar_ids:
                self._bar_ids[title] = self._bars.add_task(printable(title), figures="", unit=unit)
            self._bars.update(self._bar_ids[title], completed=done, total=total, figures=printable(described))
        elif self.clock() - self._line_at >= LINE_SECONDS:
            self._line_at = self.clock()
            ending = f", {described}" if described else ""
            self.say(f"  {title}: {done} of {total}, {rate:.3g} {unit}/s{ending}")

    def _drop_bar(self, title: str) -> None:
        bar = self._bar_ids.pop(title, None)
        if self._bars is not None and bar is not None:
            self._bars.remove_task(bar)


@contextmanager
def listening(listener: Listener) -> Iterator[None]:
    """While it lasts, `listener` alone hears of every event of the work done in this context."""
    token = _LISTENER.set(listener)
    try:
        yield
    finally:
        _LISTENER.reset(token)


# The watch of each run that this process shows in its terminal.
_WATCHES: dict[Path, Watch] = {}


@contextmanager
def watched_run(watch: Watch) -> Iterator[Watch]:
    """While it lasts, `watch_of` gives this watch for its log."""
    assert watch.log is not None
    outer = _WATCHES.get(watch.log)
    _WATCHES[watch.log] = watch
    try:
        yield watch
    finally:
        _WATCHES.pop(watch.log)
        if outer is not None:
            _WATCHES[watch.log] = outer


def watch_of(log: Path) -> Watch:
    """The watch that this process shows for a run's log; in a worker process one that only logs."""
    return _WATCHES.get(log) or Watch(log)


def _short(value: float | str) -> str:
    return value if isinstance(value, str) else f"{value:.3g}"
