"""How a run looks in the terminal."""

from __future__ import annotations

from collections.abc import Callable, Iterator

from rich.console import Console, RenderableType
from rich.progress import (
    BarColumn,
    MofNCompleteColumn,
    Progress,
    ProgressColumn,
    TextColumn,
    TimeRemainingColumn,
)
from rich.progress import Task as RichTask
from rich.table import Column, Table
from rich.text import Text

from manifests.errors import printable

NAME_WIDTH, TIME_WIDTH = 10, 10


class RateColumn(ProgressColumn):
    """Units per second, in the unit of the task."""

    def render(self, task: RichTask) -> Text:
        speed = task.finished_speed or task.speed
        return Text(f"{speed:.3g} {task.fields['unit']}/s" if speed else "", style="cyan")


class Bars(Progress):
    """Bars that vanish when their task is done, and a line below them."""

    def __init__(self, console: Console, below: Callable[[], str]) -> None:
        self.below = below
        super().__init__(
            TextColumn("  {task.description}", markup=False),
            BarColumn(bar_width=24),
            MofNCompleteColumn(),
            RateColumn(),
            TextColumn("{task.fields[figures]}", style="dim", markup=False, table_column=Column(ratio=1, no_wrap=True)),
            TimeRemainingColumn(compact=True),
            console=console,
            transient=True,
            refresh_per_second=4,
            expand=True,
        )

    def get_renderables(self) -> Iterator[RenderableType]:
        """The bars and the line."""
        yield from super().get_renderables()
        if line := self.below():
            yield Text(f"  {line}", style="dim")


def is_live(console: Console) -> bool:
    """Whether bars can be drawn there."""
    return console.is_terminal and not console.is_dumb_terminal


def print_row(console: Console, name: str, took: str, told: str, aside: str = "") -> None:
    """One line of three columns: a step, its time, what it found, with a word aside at its end.

    A terminal wraps the third within itself; elsewhere a line stays one.
    """
    name, told = printable(name), printable(told)
    ending = f"; {aside}" if aside and told else aside
    if is_live(console):
        row = Table.grid(padding=(0, 2, 0, 0), pad_edge=False)
        row.add_column(width=NAME_WIDTH, style="bold", no_wrap=True)
        row.add_column(width=TIME_WIDTH, style="cyan", justify="right", no_wrap=True)
        row.add_column(overflow="fold")
        row.add_row(name, took, Text.assemble(told, (ending, "dim")))
        console.print(row, markup=False, highlight=False)
    else:
        print_line(console, f"{name:<{NAME_WIDTH}}  {took:>{TIME_WIDTH}}  {told}{ending}".rstrip())


def print_line(console: Console, line: str, style: str = "", whole: bool = False) -> None:
    """One line, whatever is in it; a terminal wraps it between words, unless it is to stay whole, as a path."""
    console.print(Text(printable(line), style, overflow="fold"), soft_wrap=whole or not is_live(console))


def about(seconds: float) -> str:
    """A guess of a time, no finer than it is: 40 s, 12 min, 2 h 5 min."""
    if seconds < 55:
        return f"{max(10, 10 * round(seconds / 10))} s"
    minutes = max(1, round(seconds / 60))
    return f"{minutes} min" if minutes < 60 else f"{minutes // 60} h {minutes % 60} min"


def duration(seconds: float) -> str:
    """Seconds as people say them: 4.2 s, 3 min 20 s, 2 h 5 min."""
    if seconds < 60:
        return f"{seconds:.1f} s"
    minutes, rest = divmod(round(seconds), 60)
    if minutes < 60:
        return f"{minutes} min {rest} s"
    return f"{minutes // 60} h {minutes % 60} min"
