"""Datasets as people download them: one module per layout, recognised by what lies in the folder."""

from __future__ import annotations

from pathlib import Path

from manifests.errors import BadInput
from manifests.sources import class_folders, ham10000, isic2016, isic2017, isic2018, ph2, table
from manifests.sources.listing import Rejection, Source, SourceListing, SourceRow

__all__ = ["SOURCES", "Rejection", "Source", "SourceListing", "SourceRow", "find_source"]

# The order of recognition: the publishers' own names, then a table that lists the pictures, then mere folders. A
# table or folders beside what was recognised already are a part of it; two of the first kind are two datasets.
_PUBLISHED = (isic2016.SOURCE, isic2017.SOURCE, isic2018.SOURCE, ham10000.SOURCE, ph2.SOURCE)
SOURCES: dict[str, Source] = {source.name: source for source in (*_PUBLISHED, table.SOURCE, class_folders.SOURCE)}


def find_source(location: Path, name: str = "auto") -> tuple[Source, Path]:
    """The source that `location` holds, and the folder (or table) in which its layout starts.

    A folder that only wraps the dataset's own folder, as unpacked archives do, is looked into one level deep.
    Raises BadInput when there is no such folder, it is empty, no layout fits, or more than one published layout.
    """
    check_location(location)
    if name != "auto":
        return _named_source(location, name)
    for folder in (location, *_wrapped(location)):
        fitting = [source for source in SOURCES.values() if source.recognise(folder)]
        published = [source.name for source in fitting if source in _PUBLISHED]
        if len(published) > 1:
            raise BadInput(
                f"{folder} holds several datasets ({', '.join(published)}); give a folder that holds one of them, or "
                f"choose with --set prepare.source={published[0]}"
            )
        if fitting:
            return fitting[0], folder
    raise BadInput(
        f"{location} has none of the known layouts ({', '.join(SOURCES)}); arrange it like one of them "
        f"(`evenderm sources` shows each), or {table.columns_hint(location)}"
    )


def _named_source(location: Path, name: str) -> tuple[Source, Path]:
    if name not in SOURCES:
        raise BadInput(f"unknown source {name!r}; give one of auto, {', '.join(SOURCES)}")
    source = SOURCES[name]
    for folder in (location, *_wrapped(location)):
        if (source.can_read or source.recognise)(folder):
            return source, folder
    expected = source.example_tree.split("\n")[0]
    raise BadInput(f"{location} does not have the layout of {name} (as in {expected}); see `evenderm sources`")


def check_location(location: Path) -> None:
    """Raises BadInput unless there is something at `location` to read."""
    if not location.exists():
        raise BadInput(f"{location} does not exist; give the folder of a dataset, or a CSV or Parquet table")
    if location.is_dir() and not any(location.iterdir()):
        raise BadInput(f"{location} is empty; give the folder into which the dataset was unpacked")


def _wrapped(location: Path) -> list[Path]:
    """The only visible folder inside `location`, if it has exactly one; a link is no part of what was unpacked."""
    if not location.is_dir():
        return []
    inside = [p for p in location.iterdir() if p.is_dir() and not p.name.startswith((".", "__"))]
    inside = [p for p in inside if not p.is_symlink()] if len(inside) == 1 else inside
    return inside if len(inside) == 1 else []
