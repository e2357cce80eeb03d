"""Attributes of people as datasets spell them, in the few forms that manifests keep."""

from __future__ import annotations

import math

NOT_TOLD = {"", "unknown", "nan", "none", "na", "n/a", "null", "-"}


def age_group(text: str) -> str | None:
    """The decade of an age in years, as in 40-49; None where it is not told or absurd."""
    try:
        years = float(text)
    except ValueError:
        return None
    if not math.isfinite(years) or not 0 <= years < 120:
        return None
    decade = int(years) // 10 * 10
    return f"{decade}-{decade + 9}"


def plain_value(text: str) -> str | None:
    """A short lower-case value, None where it is not told."""
    value = " ".join(text.split()).lower()
    return None if value in NOT_TOLD else value[:64]


def told(**values: str | None) -> tuple[tuple[str, str], ...]:
    """The attributes that have a value."""
    return tuple((name, value) for name, value in values.items() if value is not None)
