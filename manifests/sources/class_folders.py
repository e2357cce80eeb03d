"""A folder per class, in any of the forms of Kaggle; or images and masks of the same names, without classes."""

from __future__ import annotations

from collections import Counter
from collections.abc import Iterable, Mapping, Sequence
from pathlib import Path

from manifests.listing.labels import mask_alone
from manifests.listing.masks import MaskBook, parted
from manifests.listing.names import CODES, key, names_masks, names_no_class, plain, split_of
from manifests.listing.rows import settled_splits, several_masks
from manifests.listing.source import Source, SourceListing, SourceRow, listing_is_not_empty
from manifests.listing.tree import Picture, scan
from manifests.settings import PrepareSettings

NAME = "folders"


def recognise(folder: Path) -> bool:
    """At least two folders whose names can be classes, or images with masks of the same names."""
    if not folder.is_dir():
        return False
    tree = scan(folder, PrepareSettings())
    images, masks = parted(tree)
    if _tell(_classes(images).values()):
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
    shown = ", ".join(names[:4]) + (" ..." if len(names) > 4 else "")
    return (
        f"its pictures lie in {shown}, which tell of no classes (if they do, insist with --set prepare.source=folders)"
    )


def read(folder: Path, settings: PrepareSettings) -> SourceListing:
    """Classes keep the names of their folders; splits are read where folders are named after them."""
    tree = scan(folder, settings)
    images, masks = parted(tree)
    classes = _classes(images, insist=settings.source == NAME)
    if not _tell(classes.values()) and settings.source != NAME:
        classes = dict.fromkeys(classes)
    notes: list[str] = []
    splits = settled_splits({image.path: image.split for image in images}, notes)
    book = MaskBook(masks, images)
    found = {image.path: book.of(image) for image in images}
    if masks and not any(found.values()):
        by_number = book.by_number(images)
        found = {image.path: by_number(image) for image in images}
    notes += [*book.unmatched(folder, images), *several_masks(book.more)]
    names = _names(images, classes, any(splits.values()))
    rows = [
        SourceRow(
            names[image.path],
            image.path,
            found[image.path],
            classes[image.path],
            splits[image.path],
            more_masks=book.more.get(found[image.path] or "", ()),
        )
        for image in images
    ]
    rejected = [*tree.rejected(NAME), *(mask_alone(f"{NAME}:{_mask_name(m)}", m.path) for m in book.alone())]
    listing_is_not_empty(rows, rejected, folder)
    place = "the file of the same name in masks/"
    return SourceListing(rows, rejected, mask_place=place, class_place="its folder", notes=tuple(notes))


def _mask_name(mask: Picture) -> str:
    """A mask's name, after the folder of its class where it lies in one."""
    return "/".join([*(n for n in mask.folder[-1:] if not names_no_class(n)), Path(mask.path).stem])


def _names(images: Sequence[Picture], classes: Mapping[str, str | None], splits: bool) -> dict[str, str]:
    """Ids: class and name, or the whole place where names alone would come twice."""
    short = {image.path: "/".join(filter(None, (classes[image.path], Path(image.path).stem))) for image in images}
    often = Counter(key(name) for name in short.values())
    return {i.path: i.place if splits or often[key(short[i.path])] > 1 else short[i.path] for i in images}


def _classes(images: Sequence[Picture], insist: bool = False) -> dict[str, str | None]:
    """The class of each picture: the innermost folder around it that is no container, no split and not around all."""
    named = {image.path: [n for n in image.folder if not names_no_class(n)] for image in images}
    while (
        (first := {names[0] for names in named.values() if names})
        and len(first) == 1
        and all(len(names) != 1 for names in named.values())
    ):
        named = {path: names[1:] for path, names in named.items()}
    if insist and len({names[-1] for names in named.values() if names}) < 2:
        named = {i.path: [n for n in i.folder if split_of(n) is None and not names_masks(n)] for i in images}
    return {path: names[-1] if names else None for path, names in named.items()}


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
