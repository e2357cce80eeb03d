"""Datasets as people download them: one module per layout, recognised by what lies in the folder."""

from __future__ import annotations

from pathlib import Path

from manifests.errors import BadInput
from manifests.sources import class_folders, ham10000, isic2016, isic2017, isic2018, ph2, table
from manifests.sources.layout import Source, SourceListing, SourceRow
from manifests.sources.rejected import Rejection

__all__ = ["SOURCES", "Rejection", "Source", "SourceListing", "SourceRow", "find_source"]

# The order of recognition: what is named precisely before what is named loosely.
SOURCES: dict[str, Source] = {
    source.name: source
    for source in (
        isic2016.SOURCE,
        isic2017.SOURCE,
        isic2018.SOURCE,
        ham10000.SOURCE,
        ph2.SOURCE,
        table.SOURCE,
        class_folders.SOURCE,
    )
}


def find_source(location: Path, name: str = "auto") -> tuple[Source, Path]:
    """The source that `location` holds, and the folder (or table) in which its layout starts.

    A folder that only wraps the dataset's own folder, as unpacked archives do, is looked into one level deep.
    Raises BadInput when there is no such folder, it is empty, or no layout or more than one fits.
    """
    check_location(location)
    if name != "auto":
        if name not in SOURCES:
            raise BadInput(f"unknown source {name!r}; give one of auto, {', '.join(SOURCES)}")
        chosen = [SOURCES[name]]
    else:
        chosen = list(SOURCES.values())
    for folder in (location, *_wrapped(location)):
        for source in chosen:
            fits = (source.can_read or source.recognise) if name != "auto" else source.recognise
            if fits(folder):
                return source, folder
    if name != "auto":
        expected = SOURCES[name].example_tree.split("\n")[0]
        raise BadInput(f"{location} does not have the layout of {name} (as in {expected}); see `evenderm sources`")
    raise BadInput(
        f"{location} has none of the known layouts ({', '.join(SOURCES)}); arrange it like one of them "
        f"(`evenderm sources` shows each), or {table.columns_hint(location)}"
    )


def check_location(location: Path) -> None:
    """Raises BadInput unless there is something at `location` to read."""
    if not location.exists():
        raise BadInput(f"{location} does not exist; give the folder of a dataset, or a CSV or Parquet table")
    if location.is_dir() and not any(location.iterdir()):
        raise BadInput(f"{location} is empty; give the folder into which the dataset was unpacked")


def _wrapped(location: Path) -> list[Path]:
    """The only visible folder inside `location`, if it has exactly one."""
    if not location.is_dir():
        return []
    inside = [p for p in location.iterdir() if p.is_dir() and not p.name.startswith((".", "__"))]
    return inside if len(inside) == 1 else []
