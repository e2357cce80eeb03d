"""How figures read: numbers, intervals, durations and names, the same in every table, plot and sentence."""

from __future__ import annotations

import re
from collections.abc import Mapping, Sequence
from typing import Any

MINUS = "\N{MINUS SIGN}"
UNKNOWN = "\N{EN DASH}"

TASK_TITLES = {"classification": "Classification", "segmentation": "Segmentation"}
VERDICT_TITLES: dict[str | None, str] = {
    "gain": "gain",
    "no difference": "no difference",
    "harm": "harm",
    None: "not judged",
}
VERDICT_KINDS: dict[str | None, str] = {
    "gain": "gain",
    "no difference": "none",
    "harm": "harm",
    None: "unknown",
}


def number(value: float | None, unit: str = "share") -> str:
    """A figure of a metric: shares in per cent with one decimal, others with as many as they need."""
    if value is None:
        return UNKNOWN
    if unit == "share":
        return _minus(f"{100 * value:.1f}")
    return _minus(f"{value:.2f}" if abs(value) < 10 else f"{value:.1f}")


def score(value: float | None) -> str:
    """A score between 0 and 1, such as a similarity."""
    return UNKNOWN if value is None else _minus(f"{value:.3f}")


def unit_mark(unit: str) -> str:
    """What stands behind a metric's name in a heading."""
    return "%" if unit == "share" else unit


def points(unit: str) -> str:
    """What a difference is counted in."""
    return "points" if unit == "share" else unit


def signed(value: float | None, unit: str = "share") -> str:
    """A difference, with its sign; one that rounds to zero has none."""
    if value is None:
        return UNKNOWN
    text = number(value, unit)
    if not text.strip(f"{MINUS}0."):
        return text.removeprefix(MINUS)
    return text if text.startswith(MINUS) else f"+{text}"


def interval(bounds: Sequence[float] | None, unit: str = "share", with_sign: bool = False) -> str:
    """`57.1 to 65.3`, or a dash where there is no interval."""
    if bounds is None:
        return UNKNOWN
    form = signed if with_sign else number
    return f"{form(bounds[0], unit)} to {form(bounds[1], unit)}"


def p_value(p: float | None) -> str:
    """A p-value as people print it."""
    if p is None:
        return UNKNOWN
    return "< 0.001" if p < 0.001 else f"{p:.3f}"


def percent(share: float | None) -> str:
    """A share as a percentage; small ones keep a decimal."""
    if share is None:
        return UNKNOWN
    value = 100 * share
    return f"{value:.1f}%" if 0 < abs(value) < 10 else f"{value:.0f}%"


def count(value: float | None) -> str:
    """A number of things; means over seeds keep one decimal."""
    if value is None:
        return UNKNOWN
    return f"{value:,.0f}" if float(value).is_integer() else f"{value:,.1f}"


def duration(seconds: float | None) -> str:
    """`4 min 05 s`, `1 h 12 min` or `3.2 s`."""
    if seconds is None:
        return UNKNOWN
    if seconds < 60:
        return f"{seconds:.1f} s"
    whole = round(seconds)
    if whole < 3600:
        return f"{whole // 60} min {whole % 60:02d} s"
    return f"{whole // 3600} h {whole % 3600 // 60:02d} min"


def plain(value: Any) -> str:
    """Any JSON value as a table shows it."""
    if value is None:
        return "none"
    if isinstance(value, bool):
        return "yes" if value else "no"
    if isinstance(value, float):
        return _minus(f"{value:.6g}")
    if isinstance(value, int):
        return _minus(str(value))
    if isinstance(value, Mapping):
        return ", ".join(f"{key} {plain(inner)}" for key, inner in value.items()) or "none"
    if isinstance(value, (list, tuple)):
        return ", ".join(plain(inner) for inner in value) or "none"
    return str(value)


def title(name: str) -> str:
    """A key of a JSON file as a heading: `kid_subset` becomes `KID subset`."""
    words = " ".join(word.upper() if word in ("kid", "fid") else word for word in name.split("_") if word)
    return words[:1].upper() + words[1:]


def listed(items: Sequence[str]) -> str:
    """`a, b and c`."""
    if len(items) < 2:
        return "".join(items)
    return f"{', '.join(items[:-1])} and {items[-1]}"


def times(amount: int, thing: str, things: str | None = None) -> str:
    """`1 pair`, `3 pairs`."""
    return f"{amount:,} {thing if amount == 1 else things or thing + 's'}"


def markdown(text: str) -> str:
    """Text from data inside Markdown, table cells among it: nothing in it can become markup."""
    escaped = re.sub(r"([\\`*_\[\]<>|#~])", r"\\\1", text)
    return " ".join(escaped.split())


def _minus(text: str) -> str:
    return text.replace("-", MINUS)
