"""Tables of the page: cells with their sort value, and the builders that many sections share."""

from __future__ import annotations

from collections.abc import Callable, Iterator, Mapping, Sequence
from dataclasses import dataclass, field
from typing import Any

from evaluate.pages import wording


@dataclass(frozen=True)
class Cell:
    """One cell. sort: what it is ordered by where its text is not; note: a second, smaller line; series: the
    symbol of an arm before the text; kind: a class of the style sheet; numeric: set to the right."""

    text: str
    sort: float | str | None = None
    note: str = ""
    series: int | None = None
    kind: str = ""
    numeric: bool = False


@dataclass(frozen=True)
class Table:
    """A table whose first column names its rows."""

    caption: str
    columns: tuple[str, ...]
    rows: tuple[tuple[Cell, ...], ...]
    notes: tuple[str, ...] = field(default=())

    @property
    def numeric(self) -> tuple[bool, ...]:
        """Which columns hold figures, and are set to the right with their heading."""
        return tuple(any(row[place].numeric for row in self.rows) for place in range(len(self.columns)))


def figure_cell(metric: Mapping[str, Any] | None, unit: str) -> Cell:
    """Mean and interval of a metric, or a dash with the reason why there is none."""
    if metric is None:
        return Cell(wording.UNKNOWN, numeric=True)
    if metric["mean"] is None:
        return Cell(wording.UNKNOWN, note=metric["reason"] or "cannot be computed", numeric=True)
    note = wording.interval(metric["interval"], unit) if metric["interval"] else "no interval"
    return Cell(wording.number(metric["mean"], unit), metric["mean"], note, numeric=True)


def number_cell(value: float | None, form: Callable[[float | None], str] = wording.count, note: str = "") -> Cell:
    """A number as `form` writes it, a number of things by default, sorted by its value."""
    return Cell(form(value), value, note, numeric=True)


def counts_table(caption: str, counts: Mapping[str, Mapping[str, int]], classes: Sequence[str]) -> Table:
    """Pairs by row (split or arm) and class, with totals; a class that no row names is left out."""
    named = [dx for dx in classes if any(dx in row for row in counts.values())]
    named += sorted({dx for row in counts.values() for dx in row} - set(named))
    rows = []
    for name, row in counts.items():
        figures = [number_cell(row.get(dx, 0)) for dx in named]
        rows.append((Cell(name), *figures, number_cell(sum(row.values()))))
    return Table(caption, ("", *named, "all"), tuple(rows))


def settings_table(caption: str, values: Mapping[str, Any]) -> Table:
    """Every leaf of nested values by its dotted name."""
    rows = tuple((Cell(name), Cell(wording.plain(value))) for name, value in leaves(values))
    return Table(caption, ("name", "value"), rows)


def leaves(values: Mapping[str, Any], prefix: str = "") -> Iterator[tuple[str, Any]]:
    """Dotted names and values of what is not itself a mapping; empty mappings count as values."""
    for name, value in values.items():
        if isinstance(value, Mapping) and value:
            yield from leaves(value, f"{prefix}{name}.")
        else:
            yield f"{prefix}{name}", value


def records_table(caption: str, records: Sequence[Mapping[str, Any]]) -> Table:
    """Rows of like mappings, one column per key in the order of first mention."""
    columns = tuple(dict.fromkeys(key for record in records for key in record))
    rows = tuple(tuple(_value_cell(record.get(column)) for column in columns) for record in records)
    return Table(caption, tuple(wording.title(column) for column in columns), rows)


def _value_cell(value: Any) -> Cell:
    numeric = isinstance(value, (int, float)) and not isinstance(value, bool)
    return Cell(wording.plain(value), value if numeric else None, numeric=numeric)
