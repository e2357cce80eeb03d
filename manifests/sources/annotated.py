"""Pictures with outlines in annotation files: CVAT's XML for images 1.1, COCO's instances, labelme's JSON, YOLO's
text."""

from __future__ import annotations

import math
import re
from collections.abc import Mapping
from dataclasses import replace
from functools import partial
from pathlib import Path, PureWindowsPath

import yaml

from manifests.errors import BadInput
from manifests.listing.csv_table import read_text
from manifests.listing.embedded import Outlined, embedded_path, holds_outlines, outlines
from manifests.listing.finder import Finder, NotFound
from manifests.listing.names import split_of
from manifests.listing.rows import Entry, rows_of
from manifests.listing.source import Rejection, Source, SourceListing, listing_is_not_empty
from manifests.listing.tree import Picture, scan
from manifests.settings import PrepareSettings
from manifests.sources import table

NAME = "annotated"
MASK_PLACE = "its outline in the annotation file"
NAME_FILES = ("classes.txt", "obj.names", "*.names")
_SKIN = {"background", "skin", "void", "ignore", "hair", "ruler"}


def _names(folder: Path) -> dict[str, str]:
    """The classes of YOLO's text by number, from a YAML file with `names` or from classes.txt."""
    for path in sorted(path for name in ("*.y*ml", "*/*.y*ml") for path in folder.glob(name)):
        try:
            told = yaml.safe_load(read_text(path))
        except yaml.YAMLError:
            raise BadInput(f"{path} is not YAML; mend it or remove it") from None
        names = told.get("names") if isinstance(told, dict) else None
        if isinstance(names, list):
            names = dict(enumerate(names))
        if isinstance(names, dict):
            return {str(number): str(name) for number, name in names.items()}
    found = next((path for name in NAME_FILES for below in ("", "*/") for path in folder.glob(below + name)), None)
    return {str(number): name for number, name in enumerate(read_text(found).splitlines())} if found else {}


def recognise(folder: Path) -> bool:
    return folder.is_dir() and any(map(holds_outlines, scan(folder, PrepareSettings()).outlines))


def read(folder: Path, settings: PrepareSettings) -> SourceListing:
    """The label that covers most of a picture is its class, where there are several, unless the picture has its own; a
    table's classes count where labels tell of none."""
    tree = scan(folder, settings)
    finder, rejected = Finder(tree, tree.pictures), tree.rejected(NAME)
    entries: dict[str, Entry] = {}
    masks: dict[str, str | None] = {}
    files = [file for file in tree.outlines if holds_outlines(file)]
    yolo = _names(folder) if any(file.suffix == ".txt" for file in files) else {}
    names = {file: yolo if file.suffix == ".txt" else {} for file in files}
    told = [(file, number, one) for file in files for number, one in enumerate(outlines(file))]
    several = len({label for file, _, one in told for label in _labels(one, names[file])}) > 1
    for file, number, one in told:
        try:
            picture = _picture(finder, one.name, file.parent.relative_to(folder).parts)
        except NotFound as error:
            rejected.append(Rejection(f"{NAME}:{Path(one.name).stem}", error.check, error.why, str(file)))
            continue
        label = _largest(one, names[file])
        dx = one.label or (label if several else None)
        dx = names[file].get(dx or "", dx)
        split = next(filter(None, map(split_of, re.split(r"[^A-Za-z]+", file.stem))), None)
        facts = {"split": split} if split else {}
        entries[picture.path] = Entry(picture, Path(picture.path).stem, facts, {NAME: dx} if dx else {})
        masks[picture.path] = embedded_path(file, label, number) if label is not None else None
    for picture in tree.pictures:
        if picture.path not in entries:
            entries[picture.path] = Entry(picture, Path(picture.path).stem)
            masks[picture.path] = None
    if not any(entry.classes for entry in entries.values()) and table.recognise(folder):
        listing = table.read(folder, settings, partial(_give_masks, masks))
        return replace(listing, rejected=[*listing.rejected, *rejected[len(tree.set_aside) :]], mask_place=MASK_PLACE)
    notes = [f"{path.name} beside the annotations is not read" for path in tree.tables[:1]]
    rows = rows_of(list(entries.values()), masks, notes)
    listing_is_not_empty(rows, rejected, folder)
    return SourceListing(rows, rejected, mask_place=MASK_PLACE, class_place="its label", notes=tuple(notes))


def _give_masks(masks: Mapping[str, str | None], entries: dict[str, Entry]) -> None:
    """Outlines for the pictures that a table lists."""
    for path, entry in entries.items():
        if mask := masks.get(path):
            entry.facts["mask"], entry.mask_told = mask, True


def _picture(finder: Finder, name: str, beside: tuple[str, ...]) -> Picture:
    """The picture of a path that a tool wrote, or else that of its name alone: datasets are moved. Raises NotFound."""
    try:
        return finder.find(name, beside)
    except NotFound:
        return finder.find(PureWindowsPath(name).name, beside)


def _labels(one: Outlined, names: Mapping[str, str]) -> list[str]:
    return [label for label in one.shapes if names.get(label, label).strip().lower() not in _SKIN]


def _largest(one: Outlined, names: Mapping[str, str]) -> str | None:
    """The label that covers most of a picture."""
    labels = _labels(one, names)
    return max(labels, key=partial(_area, one)) if len(labels) > 1 else next(iter(labels), None)


def _area(one: Outlined, label: str) -> float:
    try:
        return float(one.mask(label).sum())
    except OSError:  # taken, so that the check of its row says what is wrong
        return math.inf


SOURCE = Source(
    NAME,
    "outlines from annotation tools: CVAT for images 1.1, COCO instances (CVAT, Label Studio, Roboflow), labelme, YOLO",
    """\
annotations.xml           CVAT for images 1.1: polygons, ellipses and brushed masks; a tag is a picture's class
images/one.jpg            with several labels, the one that covers most of a picture is its class
(or annotations/instances_train.json in COCO's form; train, val and test in its name are splits)
(or images/one.json of labelme beside each picture)
(or train/labels/one.txt of YOLO beside train/images/one.jpg, with data.yaml; boxes give classes and no masks)
""",
    recognise,
    read,
)
