"""Finding the picture that a cell of a table means: by path or name, as any system writes it."""

from __future__ import annotations

import os
import re
from collections import defaultdict
from collections.abc import Sequence
from pathlib import Path

from manifests.listing.names import key
from manifests.listing.source import IMAGE_ENDINGS, outside_reason
from manifests.listing.tree import Picture, Tree

LONGEST = 4096
_DRIVE = re.compile(r"^([A-Za-z]:|\\\\)")


class NotFound(Exception):
    """Why a cell stands for no picture: the short name of the check, and a clause."""

    def __init__(self, check: str, why: str) -> None:
        super().__init__(why)
        self.check, self.why = check, why


class Finder:
    """Pictures of a tree by what tables call them."""

    def __init__(self, tree: Tree, pictures: Sequence[Picture]) -> None:
        self.tree = tree
        self._exact: dict[tuple[str, ...], Picture] = {}
        self._by_place: dict[str, Picture] = {}
        self._by_stem: dict[str, list[Picture]] = defaultdict(list)
        padded: set[str] = set()
        for picture in pictures:
            self._exact[(*picture.folder, picture.name)] = picture
            self._by_place[_joined(picture.folder, picture.name)] = picture
            self._by_stem[picture.stem].append(picture)
        # A spreadsheet writes 0012 as 12.
        for stem in [stem for stem in self._by_stem if stem.isdecimal() and stem.startswith("0")]:
            bare = stem.lstrip("0") or "0"
            if bare not in self._by_stem or bare in padded:
                padded.add(bare)
                self._by_stem[bare] += self._by_stem[stem]

    def names_one(self, cell: str) -> bool:
        """Whether a cell names a picture, somewhere."""
        parts = _parts(cell)
        return bool(parts) and bool(self._by_stem.get(_stem(parts[-1])) or self._by_stem.get(key(parts[-1])))

    def find(self, cell: str, beside: tuple[str, ...] = ()) -> Picture:
        """The picture that a cell of a table in the folder `beside` means. Raises NotFound."""
        if "\0" in cell or len(cell) > LONGEST:
            raise NotFound("outside", outside_reason(repr(cell[:200])))
        parts = _parts(self._inside(cell))
        for start in (beside, ()):
            place = _normal((*start, *parts))
            if place is not None and (found := self._exact.get(place)):
                return found
            if place is not None and (found := self._by_place.get(_joined(place[:-1], place[-1]))):
                return found
        found = self._by_name(parts, beside) or self._on_disk(cell, beside)
        if found is None:
            if _normal((*beside, *parts)) is None or cell.startswith("/"):
                raise NotFound("outside", outside_reason(repr(cell[:200])))
            raise NotFound("missing", f"there is no file {cell[:200]!r}")
        return found

    def _inside(self, cell: str) -> str:
        """An absolute path into the dataset's folder as one from that folder."""
        for root in (self.tree.guard.written, self.tree.guard.root):
            if cell.startswith(root + os.sep):
                return cell[len(root) + 1 :]
        return cell

    def _by_name(self, parts: list[str], beside: tuple[str, ...]) -> Picture | None:
        """The picture of that name whose folders end as the path's do, nearest to the table."""
        if not parts or ".." in parts:
            return None
        found = self._by_stem.get(_stem(parts[-1])) or self._by_stem.get(key(parts[-1]), [])
        if len(found) <= 1:
            return found[0] if found else None
        near = [(_same_tail(p.folder, parts[:-1]), p.folder[: len(beside)] == beside) for p in found]
        best = max(near)
        if near.count(best) > 1:
            others = ", ".join(p.path for p, place in zip(found, near, strict=True) if place == best)
            raise NotFound("duplicate id", f"{parts[-1]!r} is the name of several pictures ({others[:300]})")
        return found[near.index(best)]

    def _on_disk(self, cell: str, beside: tuple[str, ...]) -> Picture | None:
        """A file of any ending that a path names; NotFound where it lies outside the dataset."""
        path = os.path.normpath(Path(self.tree.root, *beside, cell.replace("\\", "/")))
        if not Path(path).is_file():
            return None
        if not self.tree.guard.allows(path):
            raise NotFound("outside", outside_reason(repr(cell[:200])))
        return Picture(path, beside, _stem(Path(path).name))


def _parts(cell: str) -> list[str]:
    plain = _DRIVE.sub("", cell).replace("\\", "/")
    return [part for part in plain.split("/") if part not in ("", ".")]


def _stem(name: str) -> str:
    stem, dot, ending = name.rpartition(".")
    return key(stem) if dot and f".{ending.lower()}" in IMAGE_ENDINGS else key(name)


def without_ending(path: str) -> str:
    """A path as a table writes it, without the ending of its picture."""
    stem, dot, ending = path.rpartition(".")
    return stem if dot and not set("/\\") & set(ending) and len(ending) <= 5 and stem else path


def _joined(folder: Sequence[str], name: str) -> str:
    return key("/".join((*folder, name)))


def _normal(parts: Sequence[str]) -> tuple[str, ...] | None:
    """Path parts without `..`; None for a path that leaves the folder or is none."""
    found: list[str] = []
    for part in parts:
        if part != "..":
            found.append(part)
        elif found:
            found.pop()
        else:
            return None
    return tuple(found) or None


def _same_tail(folder: Sequence[str], parts: Sequence[str]) -> int:
    count = 0
    for one, other in zip(reversed(folder), reversed(parts)):
        if key(one) != key(other):
            break
        count += 1
    return count
