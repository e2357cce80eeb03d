"""Pictures with outlines in annotation files: CVAT's XML for images 1.1, and COCO's instance JSON."""

from __future__ import annotations

import math
import re
from functools import partial
from pathlib import Path

from manifests.listing.embedded import OUTLINE_ENDINGS, Outlined, embedded_path, holds_outlines, outlines
from manifests.listing.finder import Finder, NotFound
from manifests.listing.names import split_of
from manifests.listing.rows import Entry, rows_of
from manifests.listing.source import Rejection, Source, SourceListing, listing_is_not_empty
from manifests.listing.tree import scan
from manifests.settings import PrepareSettings

NAME = "annotated"
_SKIN = {"background", "skin", "void", "ignore", "hair", "ruler"}


def _files(folder: Path) -> list[Path]:
    """Annotation files in the folder and those right below it."""
    found = [file for below in ("*", "*/*") for ending in OUTLINE_ENDINGS for file in folder.glob(below + ending)]
    return [file for file in sorted(found) if not file.name.startswith(".") and holds_outlines(file)]


def recognise(folder: Path) -> bool:
    return folder.is_dir() and bool(_files(folder))


def read(folder: Path, settings: PrepareSettings) -> SourceListing:
    """The label that covers most of a picture is its class, where there are several, unless the picture has its own."""
    tree = scan(folder, settings)
    finder, rejected = Finder(tree, tree.pictures), tree.rejected(NAME)
    entries: dict[str, Entry] = {}
    masks: dict[str, str | None] = {}
    told = [(file, number, one) for file in _files(folder) for number, one in enumerate(outlines(file))]
    several = len({label for _, _, one in told for label in _labels(one)}) > 1
    for file, number, one in told:
        try:
            picture = finder.find(one.name, file.parent.relative_to(folder).parts)
        except NotFound as error:
            rejected.append(Rejection(f"{NAME}:{Path(one.name).stem}", error.check, error.why, str(file)))
            continue
        label = _largest(one)
        dx = one.label or (label if several else None)
        split = next(filter(None, map(split_of, re.split(r"[^A-Za-z]+", file.stem))), None)
        facts = {"split": split} if split else {}
        entries[picture.path] = Entry(picture, Path(picture.path).stem, facts, {NAME: dx} if dx else {})
        masks[picture.path] = embedded_path(file, label, number) if label is not None else None
    for picture in tree.pictures:
        if picture.path not in entries:
            entries[picture.path] = Entry(picture, Path(picture.path).stem)
            masks[picture.path] = None
    notes = [f"{table.name} beside the annotations is not read" for table in tree.tables[:1]]
    rows = rows_of(list(entries.values()), masks, notes)
    listing_is_not_empty(rows, rejected, folder)
    place = "its outline in the annotation file"
    return SourceListing(rows, rejected, mask_place=place, class_place="its label", notes=tuple(notes))


def _labels(one: Outlined) -> list[str]:
    return [label for label in one.shapes if label.strip().lower() not in _SKIN]


def _largest(one: Outlined) -> str | None:
    """The label that covers most of a picture."""
    labels = _labels(one)
    return max(labels, key=partial(_area, one)) if len(labels) > 1 else next(iter(labels), None)


def _area(one: Outlined, label: str) -> float:
    try:
        return float(one.mask(label).sum())
    except OSError:  # taken, so that the check of its row says what is wrong
        return math.inf


SOURCE = Source(
    NAME,
    "outlines from annotation tools: CVAT for images 1.1 (XML), or COCO instances (JSON: CVAT, Label Studio, Roboflow)",
    """\
annotations.xml           CVAT for images 1.1: polygons, ellipses and brushed masks; a tag is a picture's class
images/one.jpg            with several labels, the one that covers most of a picture is its class
(or annotations/instances_train.json in COCO's form; train, val and test in its name are splits)
""",
    recognise,
    read,
)
