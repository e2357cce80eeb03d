"""The balance plan: how many pairs of each class are to be generated."""

from __future__ import annotations

import math
import statistics
from collections.abc import Mapping

from manifests.errors import BadInput

Rule = str | int | float | Mapping[str, int]


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
