"""How long work reports itself: a callback that is told where it stands and may ask it to stop."""

from __future__ import annotations

from typing import Protocol


class StopRequested(Exception):
    """Raised by a progress callback: checkpoint, then let it propagate."""


class Progress(Protocol):
    """Called after each unit of work with the units done, the total and named figures (rates, losses)."""

    def __call__(self, done: int, total: int, **figures: float | str) -> None: ...


def no_progress(done: int, total: int, **figures: float | str) -> None:
    """A progress callback that shows nothing and never stops."""
