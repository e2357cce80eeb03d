"""Rows that belong together: a union of source groups (lesions, patients) and near-duplicates."""

from __future__ import annotations

from collections.abc import Iterable, Sequence


def connected(count: int, links: Iterable[tuple[int, int]]) -> list[int]:
    """For each of `count` rows the smallest row that it is linked to, directly or through others."""
    parent = list(range(count))

    def root(row: int) -> int:
        while parent[row] != row:
            parent[row] = parent[parent[row]]
            row = parent[row]
        return row

    for a, b in links:
        one, other = root(a), root(b)
        parent[max(one, other)] = min(one, other)
    return [root(row) for row in range(count)]


def same_group_links(groups: Sequence[str | None]) -> list[tuple[int, int]]:
    """A link from each row to the first one of its group; rows without a group have none."""
    first: dict[str, int] = {}
    links = []
    for row, group in enumerate(groups):
        if group is not None and first.setdefault(group, row) != row:
            links.append((first[group], row))
    return links
