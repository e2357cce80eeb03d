"""A folder per class, in any of the forms of Kaggle; or images and masks of the same names, without classes."""

from __future__ import annotations

import re
from collections import Counter
from collections.abc import Iterable, Mapping, Sequence
from pathlib import Path

from manifests.errors import BadInput
from manifests.listing.finder import Finder
from manifests.listing.labels import mask_alone
from manifests.listing.linking import Layout, TableLink
from manifests.listing.masks import MaskBook, parted
from manifests.listing.names import CODES, key, names_disease, names_masks, names_no_class, plain, split_of
from manifests.listing.rows import PATIENT, Entry, rows_of, settle_owners, settled_splits
from manifests.listing.source import Source, SourceListing, listing_is_not_empty
from manifests.listing.table_files import MOST_COLUMNS, header_of, read_table
from manifests.listing.tree import MOST_TABLES, Picture, Tree, scan
from manifests.settings import PrepareSettings

NAME = "folders"
MOST_NUMBERED = 30
"""More folders whose names are mere numbers are patients and not classes."""
FEW = 8
"""Pictures of which fewer in each folder make no class, where the folder around names one."""
_NUMBER = re.compile(r"\d+")


def recognise(folder: Path) -> bool:
    """At least two folders whose names can be classes, or images with masks of the same names."""
    if not folder.is_dir():
        return False
    tree = scan(folder, PrepareSettings())
    images, masks = parted(tree)
    try:
        if _tell(_classes(images, folder)[0].values()):
            return True
    except BadInput:  # told when it is read
        return True
    book = MaskBook(masks, images)
    return any(map(book.of, images)) or any(map(book.by_number(images), images))


def _tell(classes: Iterable[str | None]) -> bool:
    """Whether folders tell of classes: two at least, or one of a known name."""
    found = {dx for dx in classes if dx}
    return len(found) > 1 or any(plain(dx) in CODES for dx in found)


def can_read(folder: Path) -> bool:
    return folder.is_dir() and bool(scan(folder, PrepareSettings()).pictures)


def why_not(folder: Path) -> str | None:
    """Why folders with pictures were not taken for classes, and how to insist; None where there are no pictures."""
    images, _ = parted(scan(folder, PrepareSettings()))
    if not images:
        return None
    names = sorted({"/".join(image.folder) or "." for image in images})
    if names == ["."]:
        return "its pictures lie in no folders, which could tell of classes"
    shown = ", ".join(names[:4]) + (" ..." if len(names) > 4 else "")
    return (
        f"its pictures lie in {shown}, which tell of no classes (if they do, insist with --set prepare.source=folders)"
    )


def read(folder: Path, settings: PrepareSettings) -> SourceListing:
    """Classes keep the names of their folders; splits are read where folders are named after them. Tables that tell of
    pictures and not of classes are heard too."""
    tree = scan(folder, settings)
    images, masks = parted(tree)
    insist = settings.source == NAME
    classes, groups = _classes(images, folder, insist)
    if not _tell(classes.values()) and not insist:
        classes = dict.fromkeys(classes)
    notes: list[str] = []
    book = MaskBook(masks, images)
    found = {image.path: book.of(image) for image in images}
    if masks and not any(found.values()):
        by_number = book.by_number(images)
        found = {image.path: by_number(image) for image in images}
    notes += [*book.unmatched(folder, images), *tree.unread()]
    names = _names(images, classes, any(settled_splits({i.path: i.split for i in images}, []).values()))
    entries = {}
    for image in images:
        facts, dx = ({PATIENT: group} if (group := groups.get(image.path)) else {}), classes[image.path]
        entries[image.path] = Entry(image, names[image.path], facts, {NAME: dx} if dx else {})
    group_places = [
        *(["the folders around its pictures"] if groups else []),
        *_tell_facts(tree, settings, entries, notes),
    ]
    rows = rows_of(list(entries.values()), found, notes, book.more)
    rejected = [*tree.rejected(NAME), *(mask_alone(f"{NAME}:{_mask_name(m)}", m.path) for m in book.alone())]
    listing_is_not_empty(rows, rejected, folder)
    return SourceListing(
        rows,
        rejected,
        mask_place="the file of the same name in masks/",
        class_place="its folder",
        group_place=" and ".join(group_places),
        notes=tuple(notes),
    )


def _tell_facts(tree: Tree, settings: PrepareSettings, entries: dict[str, Entry], notes: list[str]) -> list[str]:
    """Adds what tables without classes tell of pictures; the columns that tell of groups."""
    pictures = Finder(tree, [entry.picture for entry in entries.values()])
    link = TableLink(tree, PrepareSettings(), Layout(NAME, settings.columns), pictures, Finder(tree, []))
    link.entries, tables = entries, []
    for path in tree.tables if len(tree.tables) <= MOST_TABLES else ():
        try:
            table = read_table(tree.guard.table(path)) if len(header_of(path)) <= MOST_COLUMNS else None
            if table is not None and not link.roles(table).gives_classes:
                tables.append(table)
        except BadInput as error:
            notes.append(f"a table is not read: {error}")
    link.read_all(tables)
    settle_owners(entries.values(), link.owners)
    notes += link.notes
    return link.group_places()


def _mask_name(mask: Picture) -> str:
    """A mask's name, after the folder of its class where it lies in one."""
    return "/".join([*(n for n in mask.folder[-1:] if not names_no_class(n)), Path(mask.path).stem])


def _names(images: Sequence[Picture], classes: Mapping[str, str | None], splits: bool) -> dict[str, str]:
    """Ids: class and name, or the whole place where names alone would come twice."""
    short = {image.path: "/".join(filter(None, (classes[image.path], Path(image.path).stem))) for image in images}
    often = Counter(key(name) for name in short.values())
    return {i.path: i.place if splits or often[key(short[i.path])] > 1 else short[i.path] for i in images}


def _classes(
    images: Sequence[Picture], root: Path, insist: bool = False
) -> tuple[dict[str, str | None], dict[str, str]]:
    """The class of each picture: the innermost folder around it that is no container, no split and not around all; and
    its group, where that is the folder of one patient or lesion."""
    named = {image.path: [n for n in image.folder if not names_no_class(n)] for image in images}
    while (
        (first := {names[0] for names in named.values() if names})
        and len(first) == 1
        and all(len(names) != 1 for names in named.values())
    ):
        named = {path: names[1:] for path, names in named.items()}
    if insist and len({names[-1] for names in named.values() if names}) < 2:
        named = {i.path: [n for n in i.folder if split_of(n) is None and not names_masks(n)] for i in images}
    groups: dict[str, str] = {}
    if not insist and _are_people(named):
        groups = {path: names[-1] for path, names in named.items() if names}
        named = {path: names[:-1] for path, names in named.items()}
    elif not insist and (outer := _crossed(named)) is not None:
        if not outer and not any(map(names_disease, {names[-1] for names in named.values() if names})):
            shown = " and ".join(next(names[-2:] for names in named.values() if len(names) > 1))
            raise BadInput(
                f"{root} has folders in folders (as {shown}) and nothing tells which are classes; list pictures and "
                "classes in a CSV, or take the inner ones with --set prepare.source=folders"
            )
        named = {path: names[:-1] if outer else names for path, names in named.items()}
    return {path: names[-1] if names else None for path, names in named.items()}, groups


def _are_people(named: Mapping[str, Sequence[str]]) -> bool:
    """Whether the innermost folders are of one patient or lesion each: their names differ in numbers alone and are not
    counted from 0 or 1 as classes are; or a disease is named around them alone and they hold few pictures each."""
    inner = Counter(names[-1] for names in named.values() if names)
    if len(inner) < 2:
        return False
    around = {names[-2] for names in named.values() if len(names) > 1}
    if len({_NUMBER.sub("#", key(name)) for name in inner}) == 1 and all(map(_NUMBER.search, inner)):
        numbers = sorted(int("".join(_NUMBER.findall(name))) for name in inner)
        counted = numbers[0] <= 1 and numbers == list(range(numbers[0], numbers[0] + len(numbers)))
        return bool(around) or not counted or len(numbers) > MOST_NUMBERED
    few = sum(inner.values()) < FEW * len(inner)
    return few and bool(around) and all(map(names_disease, around)) and not any(map(names_disease, inner))


def _crossed(named: Mapping[str, Sequence[str]]) -> bool | None:
    """Where inner folders come again in several outer ones, as cameras in diagnoses: whether the outer ones alone name
    diseases. None where folders are not crossed so."""
    pairs = {(names[-2], names[-1]) for names in named.values() if len(names) > 1}
    outer, inner = {one for one, _ in pairs}, {other for _, other in pairs}
    if len(outer) < 2 or len(inner) < 2 or len(pairs) == len(inner):
        return None
    return any(map(names_disease, outer)) and not any(map(names_disease, inner))


SOURCE = Source(
    NAME,
    "a folder per class, nested and split as on Kaggle, masks beside them or none; or images and masks without classes",
    """\
nv/one.jpg                or train/nv/one.jpg, Test/mel/two.jpg ...; folders such as images or part_1 are no classes
mel/two.jpg
masks/nv/one.png          or masks/one.png; without masks the data serve classification only
(images/one.jpg and masks/one.png, or one_segmentation.png, without class folders serve segmentation only)
""",
    recognise,
    read,
    can_read,
)
