"""How a run looks in the terminal."""

from __future__ import annotations

from rich.console import Console
from rich.progress import (
    BarColumn,
    MofNCompleteColumn,
    Progress,
    ProgressColumn,
    TextColumn,
    TimeRemainingColumn,
)
from rich.progress import Task as RichTask
from rich.text import Text

from flows.engine.tally import Tally


class RateColumn(ProgressColumn):
    """Units per second, in the unit of the task."""

    def render(self, task: RichTask) -> Text:
        speed = task.finished_speed or task.speed
        return Text(f"{speed:.3g} {task.fields['unit']}/s" if speed else "", style="cyan")


def progress_bars(console: Console) -> Progress:
    """Bars that vanish when their task is done; the step's line stays."""
    return Progress(
        TextColumn("  {task.description}"),
        BarColumn(bar_width=24),
        MofNCompleteColumn(),
        RateColumn(),
        TextColumn("{task.fields[figures]}", style="dim"),
        TimeRemainingColumn(compact=True),
        console=console,
        transient=True,
        refresh_per_second=4,
    )


def step_line(name: str, what: str, tally: Tally, unit: str) -> str:
    """One line for a finished step: its time, rate and peak memory."""
    rate = f"{tally.units / tally.seconds:.3g} {unit}/s" if tally.units and tally.seconds else ""
    memory = f"{tally.memory / 2**30:.2f} GiB" if tally.memory else ""
    gpu = f", GPU {tally.gpu_memory / 2**30:.2f} GiB" if tally.gpu_memory else ""
    return f"{name:<11} {what:<42} {duration(tally.seconds):>8}  {rate:>16}  {memory}{gpu}".rstrip()


def duration(seconds: float) -> str:
    """Seconds as people say them: 4.2 s, 3 min 20 s, 2 h 5 min."""
    if seconds < 60:
        return f"{seconds:.1f} s"
    minutes, rest = divmod(round(seconds), 60)
    if minutes < 60:
        return f"{minutes} min {rest} s"
    return f"{minutes // 60} h {minutes % 60} min"
