"""Pascal VOC and CVAT's "Segmentation mask 1.1": masks whose colours may stand for classes."""

from __future__ import annotations

from collections import Counter
from pathlib import Path

import numpy as np

from manifests.errors import BadInput
from manifests.images import decode_image
from manifests.listing.csv_table import read_text
from manifests.listing.labels import mask_alone
from manifests.listing.masks import MaskBook, parted
from manifests.listing.names import key, split_of
from manifests.listing.rows import Entry, rows_of
from manifests.listing.source import Source, SourceListing, listing_is_not_empty, locate, locate_folder
from manifests.listing.tree import scan
from manifests.settings import PrepareSettings

NAME = "voc"
Colour = tuple[int, int, int]
_SKIN = {"background", "_background_", "skin", "void", "ignore"}


def recognise(folder: Path) -> bool:
    return locate_folder(folder, "SegmentationClass") is not None


def read(folder: Path, settings: PrepareSettings) -> SourceListing:
    """Pictures beside SegmentationClass; with several labels in labelmap.txt, the one that fills most of a mask."""
    tree = scan(folder, settings)
    images, masks = parted(tree)
    book = MaskBook(masks, images)
    found = {image.path: book.of(image) for image in images}
    splits, colours = _splits(folder), _label_colours(folder)
    entries = []
    for image in images:
        facts = {"split": splits[image.stem]} if image.stem in splits else {}
        dx = _label(found[image.path], colours) if len(colours) > 1 else None
        entries.append(Entry(image, Path(image.path).stem, facts, {NAME: dx} if dx else {}))
    notes: list[str] = []
    rows = rows_of(entries, found, notes, book.more)
    rejected = [*tree.rejected(NAME), *(mask_alone(f"{NAME}:{Path(m.path).stem}", m.path) for m in book.alone())]
    listing_is_not_empty(rows, rejected, folder)
    place = "the file of the same name in SegmentationClass"
    return SourceListing(rows, rejected, mask_place=place, class_place="labelmap.txt", notes=tuple(notes))


def _splits(folder: Path) -> dict[str, str]:
    """Split by picture name, from the lists of ImageSets/Segmentation."""
    found: dict[str, str] = {}
    for path in sorted(folder.glob("ImageSets/Segmentation/*.txt")):
        split = split_of(path.stem)
        if split and path.stem.lower() != "trainval":
            found |= {key(line.strip()): split for line in read_text(path).splitlines() if line.strip()}
    return found


def _label_colours(folder: Path) -> dict[Colour, str]:
    """The labels of labelmap.txt that are not skin, by colour."""
    path = locate(folder, "labelmap.txt")
    found: dict[Colour, str] = {}
    for line in read_text(path).splitlines() if path else ():
        name, _, rest = line.partition(":")
        numbers = rest.partition(":")[0].split(",")
        is_colour = len(numbers) == 3 and all(number.strip().isdigit() for number in numbers)
        if is_colour and not line.startswith("#") and name.strip().lower() not in _SKIN:
            red, green, blue = map(int, numbers)
            found[red, green, blue] = name.strip()
    return found


def _label(mask: str | None, colours: dict[Colour, str]) -> str | None:
    """The label that fills most of a mask."""
    if mask is None:
        return None
    try:
        pixels = decode_image(Path(mask).read_bytes(), name=mask).reshape(-1, 3)
    except (BadInput, OSError):
        return None
    values, counts = np.unique(pixels, axis=0, return_counts=True)
    areas = Counter({colours[c]: int(n) for v, n in zip(values.tolist(), counts) if (c := tuple(v)) in colours})
    return areas.most_common(1)[0][0] if areas else None


SOURCE = Source(
    NAME,
    'Pascal VOC, and CVAT exports as "Segmentation mask 1.1": pictures with masks in SegmentationClass',
    """\
JPEGImages/one.jpg        or another folder of pictures
SegmentationClass/one.png with several labels in labelmap.txt, each picture's class is the label of its mask
ImageSets/Segmentation/train.txt, val.txt     splits, where they are there
labelmap.txt
""",
    recognise,
    read,
)
