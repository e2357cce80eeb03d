"""The balance plan: how many pairs of each class are to be generated, and how far a class has come."""

from __future__ import annotations

import math
import statistics
from collections.abc import Mapping
from dataclasses import dataclass

from manifests.errors import BadInput

Rule = str | int | float | Mapping[str, int]
UNREAD = "unread"
"""Reason of a pair that waits for a reader: it is not accepted, and keeps its place in the class."""


def balance_plan(counts: Mapping[str, int], rule: Rule = "max", cap: float | None = None) -> dict[str, int]:
    """Pairs to generate per class, from the real training counts.

    rule: `max` or `median` fills every class to that count; an integer fills every class to that number; a float
    generates that many pairs per real one; a mapping gives the number to generate by class. cap: at most this many
    generated pairs per real one. A class without real pairs is never generated.
    """
    present = {dx: count for dx, count in counts.items() if count > 0}
    if not present:
        raise BadInput("synthesis.balance: no class has a training pair; check the source's labels")
    wanted = {dx: _wanted(dx, count, present, rule) for dx, count in present.items()}
    if cap is not None:
        wanted = {dx: min(number, math.floor(cap * present[dx])) for dx, number in wanted.items()}
    return {dx: max(0, wanted.get(dx, 0)) for dx in counts}


def _wanted(dx: str, count: int, counts: Mapping[str, int], rule: Rule) -> int:
    if isinstance(rule, Mapping):
        unknown = sorted(set(rule) - set(counts))
        if unknown:
            raise BadInput(f"synthesis.balance: {unknown[0]!r} is no class with training pairs ({', '.join(counts)})")
        return int(rule.get(dx, 0))
    if isinstance(rule, str) and rule in ("max", "median"):
        level = max(counts.values()) if rule == "max" else math.ceil(statistics.median(counts.values()))
        return level - count
    if isinstance(rule, int) and rule >= 0:
        return rule - count
    if isinstance(rule, float) and rule >= 0 and math.isfinite(rule):
        return round(rule * count)
    raise BadInput(f"synthesis.balance: {rule!r} is none of max, median, a number, a ratio, or numbers by class")


@dataclass(frozen=True)
class ClassOutcome:
    """How a class stands: candidates looked at, accepted, rejected by reason, and the shards still to draw."""

    dx: str
    wanted: int
    candidates: int
    accepted: int
    rejected: Mapping[str, int]
    missing_shards: tuple[int, ...]

    @property
    def given_up(self) -> str | None:
        """One sentence if pairs wait for a reader, or the candidate limit was reached before the class was filled."""
        if self.missing_shards or self.accepted >= self.wanted:
            return None
        if unread := self.rejected.get(UNREAD, 0):
            return (
                f"class {self.dx}: {unread} of its pairs wait for a reader; read them with evenderm review, then go on"
            )
        worst = max(self.rejected, key=lambda reason: self.rejected[reason], default="no gate")
        return (
            f"class {self.dx}: {self.accepted} of {self.wanted} pairs after {self.candidates} candidates; "
            f"{worst} rejected most ({self.rejected.get(worst, 0)})"
        )
