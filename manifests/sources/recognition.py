"""Which layout a dataset has: the publishers' own names first, then tables that list pictures, then mere folders."""

from __future__ import annotations

from pathlib import Path

from manifests.errors import BadInput
from manifests.listing.source import Source
from manifests.listing.tree import holds_pictures, is_litter
from manifests.sources import (
    annotated,
    bcn20000,
    class_folders,
    ddi,
    derm7pt,
    fitzpatrick17k,
    ham10000,
    imagefolder,
    isic2016,
    isic2017,
    isic2018,
    isic2019,
    isic2020,
    isic2024,
    isic_archive,
    milk10k,
    nnunet,
    pad_ufes_20,
    ph2,
    saved_dataset,
    table,
    voc,
)
from manifests.sources.foreign import why_not_read

# Two of these in one folder are two datasets.
_PUBLISHED = (
    isic2016.SOURCE, isic2017.SOURCE, isic2018.SOURCE, isic2019.SOURCE, isic2020.SOURCE, isic2024.SOURCE,
    ham10000.SOURCE, bcn20000.SOURCE, milk10k.SOURCE, pad_ufes_20.SOURCE, derm7pt.SOURCE, ph2.SOURCE,
    fitzpatrick17k.SOURCE, ddi.SOURCE, nnunet.SOURCE, saved_dataset.SOURCE,
)  # fmt: skip
# Tables or folders beside what was recognised already are a part of it.
_FORMS = (
    isic_archive.SOURCE, imagefolder.SOURCE, voc.SOURCE, annotated.SOURCE, table.SOURCE, class_folders.SOURCE,
)  # fmt: skip
SOURCES: dict[str, Source] = {source.name: source for source in (*_PUBLISHED, *_FORMS)}
DEEPEST_WRAPPER = 3


def find_source(location: Path, name: str = "auto") -> tuple[Source, Path]:
    """The source that `location` holds, and the folder (or table) in which its layout starts.

    Folders that only wrap the dataset's own folder, as unpacked archives do, are looked into. Raises BadInput when
    there is no such folder, it is empty, no layout fits, or more than one published layout.
    """
    source, folder = _fitting(location, name)
    if folder.is_dir() and source is not saved_dataset.SOURCE and not holds_pictures(folder):
        raise BadInput(
            why_not_read(folder)
            or f"{folder} holds no pictures; put those that {source.name} names into it (pictures "
            "at web addresses are not fetched)"
        )
    return source, folder


def _fitting(location: Path, name: str) -> tuple[Source, Path]:
    check_location(location)
    if name != "auto":
        return _named_source(location, name)
    if location.is_file() and not table.recognise(location):
        raise BadInput(why_not_read(location))
    folders = [location, *_wrapped(location)]
    for folder in folders:
        fitting = [source.name for source in _PUBLISHED if source.recognise(folder)]
        if len(fitting) > 1:
            raise BadInput(
                f"{folder} holds several datasets ({', '.join(fitting)}); give a folder that holds one of them, or "
                f"choose with --set prepare.source={fitting[0]}"
            )
        if fitting:
            return SOURCES[fitting[0]], folder
    return _form(location, folders)


def _form(location: Path, folders: list[Path]) -> tuple[Source, Path]:
    """A dataset in a common form, of no publisher that is known."""
    innermost = folders[-1]
    for source in _FORMS[:-1]:
        for folder in folders:
            if source.recognise(folder):
                return source, folder
    unread = next(filter(None, map(table.not_understood, folders)), None)
    if unread is not None:
        raise BadInput(
            f"{unread} is not understood: no column of it ({_columns(unread)}) names pictures that are there together "
            "with a class or a mask; name them with --set prepare.source=table and prepare.columns.image, "
            "prepare.columns.dx, or take folders for classes with --set prepare.source=folders"
        )
    for folder in folders:
        if class_folders.recognise(folder):
            return class_folders.SOURCE, folder
    raise BadInput(_nothing_fits(location, innermost))


def _columns(path: Path) -> str:
    return ", ".join(repr(name[:40]) for name in table.header_of(path)[:12])


def _nothing_fits(location: Path, innermost: Path) -> str:
    foreign = why_not_read(location)
    if foreign:
        return foreign
    pictures = class_folders.why_not(location)
    return (
        f"{location} has none of the known layouts{f': {pictures}' if pictures else ''}; arrange it like one of them "
        f"(`evenderm sources` shows each), or {table.columns_hint(innermost)}"
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
    """The only visible folder inside `location`, if it has exactly one, and so on inwards; a link is no part of what
    was unpacked."""
    found: list[Path] = []
    while location.is_dir() and len(found) < DEEPEST_WRAPPER:
        inside = [p for p in location.iterdir() if p.is_dir() and not is_litter(p.name) and not p.name.startswith("__")]
        if len(inside) != 1 or inside[0].is_symlink():
            break
        location = inside[0]
        found.append(location)
    return found
