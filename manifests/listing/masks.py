"""Which pictures of a dataset are masks, and of which image: by folder, by name, and by what they show."""

from __future__ import annotations

import re
from collections import Counter, defaultdict
from collections.abc import Callable, Collection, Iterable, Sequence
from pathlib import Path

from manifests.errors import BadInput
from manifests.images import decode_image
from manifests.listing.names import MASK_ENDINGS, NUMBER_OF_SEVERAL, READERS, key
from manifests.listing.tree import Picture, Tree, parts_in_common

LOOKED_AT = 3
"""Pictures of a folder that are decoded to see whether they are masks."""
MOST_FOLDERS = 64
MOST_BYTES = 20_000_000
_NUMBERS = re.compile(r"\d+")


def parted(tree: Tree) -> tuple[list[Picture], list[Picture]]:
    """The images and the masks among the pictures of a tree."""
    stems = {picture.stem for picture in tree.pictures}

    def is_mask(picture: Picture) -> bool:
        return picture.in_masks or any(base in stems for base in _bases(picture.stem))

    named = {picture.path for picture in tree.pictures if is_mask(picture)}
    if len(named) == len(tree.pictures):  # a name around everything, which tells nothing
        named = {p.path for p in tree.pictures if any(base in stems for base in _bases(p.stem))}
    named |= {picture.path for picture in _several(tree.pictures, named, stems)}
    shown = _folders_of_masks([picture for picture in tree.pictures if picture.path not in named])
    masks = [p for p in tree.pictures if p.path in named or p.folder in shown]
    return [p for p in tree.pictures if p.path not in named and p.folder not in shown], masks


def _bases(stem: str) -> list[str]:
    return [stem[: -len(ending)] for ending in MASK_ENDINGS if stem.endswith(ending) and len(stem) > len(ending)]


def _numbered_bases(stem: str) -> list[str]:
    """The names of pictures of which a mask may be one of several: x for x_mask_1 and x_1_mask."""
    bare = NUMBER_OF_SEVERAL.sub("", stem)
    found = _bases(bare) if bare != stem else []
    return [*found, *(other for base in _bases(stem) if (other := NUMBER_OF_SEVERAL.sub("", base)) != base)]


def _several(pictures: Sequence[Picture], named: Collection[str], stems: Collection[str]) -> list[Picture]:
    """Pictures that are by their names one of several masks of another, if the first of them look like masks."""
    found = [p for p in pictures if p.path not in named and any(base in stems for base in _numbered_bases(p.stem))]
    return found if all(looks_like_mask(picture.path) for picture in found[:LOOKED_AT]) else []


def _folders_of_masks(pictures: Sequence[Picture]) -> set[tuple[str, ...]]:
    """The folders whose first pictures all look like masks."""
    folders: dict[tuple[str, ...], list[str]] = defaultdict(list)
    for picture in pictures:
        folders[picture.folder].append(picture.path)
    if not 1 < len(folders) <= MOST_FOLDERS:
        return set()
    return {folder for folder, paths in folders.items() if all(map(looks_like_mask, paths[:LOOKED_AT]))}


def looks_like_mask(path: str) -> bool:
    """Whether a picture has two tones, as a drawn mask and no photograph has; False where it cannot be read."""
    try:
        if Path(path).stat().st_size > MOST_BYTES or not Path(path).is_file():
            return False
        values = decode_image(Path(path).read_bytes(), name=path, side=128).max(axis=2)[::2, ::2].astype(int)
    except (BadInput, OSError):
        return False
    low, high = int(values.min()), int(values.max())
    room = max(2, (high - low) // 8)
    return high > low and float(((values - low <= room) | (high - values <= room)).mean()) > 0.97


class MaskBook:
    """Masks by the picture that they belong to; `used` are the paths of those that were given out, `more` the further
    masks of a picture by its first."""

    def __init__(self, masks: Iterable[Picture], pictures: Iterable[Picture]) -> None:
        self.masks = list(masks)
        self.used: set[str] = set()
        self.more: dict[str, tuple[str, ...]] = {}
        self._by_stem: dict[str, list[Picture]] = defaultdict(list)
        self._one_of_several: dict[str, list[Picture]] = defaultdict(list)
        stems = {picture.stem for picture in pictures}
        for mask in self.masks:
            self._by_stem[mask.stem].append(mask)
            if mask.stem not in stems and not any(base in stems for base in _bases(mask.stem)):
                for base in {NUMBER_OF_SEVERAL.sub("", mask.stem), *_numbered_bases(mask.stem)} & stems:
                    self._one_of_several[base].append(mask)

    def of(self, picture: Picture) -> str | None:
        """The file of a picture's mask: of its name, with or without an ending of masks or a number, and nearest to its
        folder; the first one where there are several."""
        names = (picture.stem, *(picture.stem + ending for ending in MASK_ENDINGS))
        found = _nearest(next((self._by_stem[name] for name in names if name in self._by_stem), []), picture)
        if len(found) > 1 and not all(READERS.search("/".join(mask.folder)) for mask in found):
            found = []  # nothing tells which one is meant
        found = [*found, *_nearest(self._one_of_several.get(picture.stem, []), picture)]
        paths = [m.path for m in found if not m.split or not picture.split or m.split == picture.split]
        self.used.update(paths)
        if len(paths) > 1:
            self.more[paths[0]] = tuple(paths[1:])
        return paths[0] if paths else None

    def by_number(self, pictures: Sequence[Picture]) -> Callable[[Picture], str | None]:
        """Where no names agree: masks by the numbers in names, as in X12 and Y12, where no number comes twice."""
        masks = _numbered(self.masks)
        images = _numbered(pictures)

        def found(picture: Picture) -> str | None:
            numbers = (picture.split, tuple(_NUMBERS.findall(picture.stem)))
            if numbers not in masks or images.get(numbers) is not picture:
                return None
            self.used.add(masks[numbers].path)
            return masks[numbers].path

        return found

    def alone(self) -> list[Picture]:
        """The masks that no picture asked for."""
        return [mask for mask in self.masks if mask.path not in self.used]

    def unmatched(self, root: Path, pictures: Sequence[Picture]) -> list[str]:
        """A note on masks that fit no picture by their names. Raises BadInput where that is all of them."""
        alone = self.alone()
        if not alone or not pictures:
            return []
        first = f"first {alone[0].place!r}"
        if len(alone) == len(self.masks):
            raise BadInput(
                f"{root} has {len(alone)} masks, of which none fits a picture by its name ({first}, beside the picture "
                f"{pictures[0].place!r}); name each as its picture, alone or with _segmentation or _mask behind it, or "
                "name them in a column `mask` of its table"
            )
        return [f"{len(alone)} masks fit no picture by their names, {first}"]


def _nearest(masks: list[Picture], picture: Picture) -> list[Picture]:
    """Of several masks those whose folders are nearest to a picture's."""
    if len(masks) < 2:
        return masks
    near = [_nearness(mask, picture) for mask in masks]
    return [mask for mask, value in zip(masks, near, strict=True) if value == max(near)]


def _nearness(mask: Picture, picture: Picture) -> tuple[int, int]:
    same_start = next((i for i, (a, b) in enumerate(zip(mask.folder, picture.folder)) if key(a) != key(b)), 99)
    return parts_in_common(mask.folder, picture.folder), same_start


def _numbered(pictures: Iterable[Picture]) -> dict[tuple[str | None, tuple[str, ...]], Picture]:
    """Pictures by split and the numbers in their names, without those that share them."""
    pictures = list(pictures)
    names = [(p.split, tuple(_NUMBERS.findall(p.stem))) for p in pictures]
    often = Counter(names)
    return {name: p for name, p in zip(names, pictures, strict=True) if often[name] == 1 and name[1]}
