"""Sources that are tables beside folders of pictures, each told by the names of its tables and their columns."""

from __future__ import annotations

import os
from collections.abc import Callable, Collection, Iterator, Sequence
from fnmatch import fnmatch
from pathlib import Path

from manifests.listing.csv_table import Table
from manifests.listing.linking import Layout, read_listed
from manifests.listing.names import plain
from manifests.listing.source import Source, SourceListing
from manifests.listing.table_files import header_of, read_table
from manifests.listing.tree import TABLE_ENDINGS, Tree, is_litter, scan
from manifests.settings import PrepareSettings

Tables = Callable[[Tree], Sequence[Table]]


def published_source(
    layout: Layout,
    description: str,
    example: str,
    tables: Sequence[str],
    needed: Sequence[str] = (),
    read_tables: Tables | None = None,
    without: Sequence[str] = (),
    one_of: Collection[str] = (),
) -> Source:
    """A source that is there where a table is named as the first of `tables` and has the columns `needed`, one of
    `one_of` and none of `without`. All files of these names are read, in this order, or as `read_tables` reads them."""

    def fits(path: Path) -> bool:
        known = {plain(name) for name in header_of(path)} if needed or without else set()
        return set(needed) <= known and not known & set(without) and (not one_of or bool(known & set(one_of)))

    def recognise(folder: Path) -> bool:
        return any(fnmatch(path.name.lower(), tables[0]) and fits(path) for path in _near_tables(folder))

    def chosen(tree: Tree) -> list[Table]:
        paths = [path for name in tables for path in tree.tables if fnmatch(path.name.lower(), name)]
        return [read_table(tree.guard.table(path)) for path in dict.fromkeys(paths)]

    def read(folder: Path, settings: PrepareSettings) -> SourceListing:
        tree = scan(folder, settings)
        return read_listed(tree, (read_tables or chosen)(tree), settings, layout)

    return Source(layout.source, description, example, recognise, read)


def _near_tables(folder: Path) -> Iterator[Path]:
    """Files that may be tables, in a folder and in those inside it."""
    if not folder.is_dir():
        return
    folders = []
    with os.scandir(folder) as entries:
        for entry in sorted(entries, key=lambda entry: entry.name):
            if is_litter(entry.name):
                continue
            if entry.is_dir(follow_symlinks=False):
                folders.append(entry.path)
            elif _may_be_table(entry.name):
                yield Path(entry.path)
    for inside in folders[:32]:
        with os.scandir(inside) as entries:
            names = sorted(entry.name for entry in entries if not is_litter(entry.name) and _may_be_table(entry.name))
        yield from (Path(inside, name) for name in names if Path(inside, name).is_file())


def _may_be_table(name: str) -> bool:
    return name.lower().endswith(TABLE_ENDINGS) or ("." not in name and "metadata" in name.lower())
