"""Markdown tables of every page, card and summary."""

from __future__ import annotations

from collections.abc import Collection, Iterable, Sequence


def markdown_table(headings: Sequence[str], rows: Iterable[Sequence[str]], numeric: Collection[int] = ()) -> str:
    """A Markdown table whose columns `numeric` (counted from 0) are set to the right; no line break at its end.

    Cells are written as they are: whoever takes them from data escapes them for the place where they stand.
    """
    alignment = ["---:" if column in numeric else "---" for column in range(len(headings))]
    return "\n".join(f"| {' | '.join(cells)} |" for cells in (headings, alignment, *rows))
