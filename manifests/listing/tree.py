"""What lies in a dataset's folder: pictures and tables at any depth, without the litter of archive tools."""

from __future__ import annotations

import filecmp
import os
from collections import defaultdict
from collections.abc import Collection, Iterable, Iterator, Sequence
from dataclasses import dataclass, field
from functools import cached_property
from pathlib import Path

from manifests.listing.embedded import OUTLINE_ENDINGS
from manifests.listing.names import key, names_images, names_masks, split_of
from manifests.listing.source import IMAGE_ENDINGS, OTHER_ENDINGS, FolderGuard, Rejection, outside_reason
from manifests.settings import PrepareSettings

TABLE_ENDINGS = (".csv", ".tsv", ".tab", ".parquet", ".jsonl", ".xlsx")
ARCHIVE_ENDINGS = (".zip", ".tar", ".gz", ".tgz", ".7z", ".rar", ".bz2", ".xz", ".zst")
MOST_TABLES = 40
"""Tables of which no more are looked into."""
DEEPEST = 9
_LITTER = {"__macosx", "thumbs.db", "desktop.ini", "__pycache__", "lost+found", "$recycle.bin"}
_ASIDE = ("_superpixels",)
"""Pictures that belong to a dataset and are neither its images nor its masks."""
_ASIDE_FOLDERS = {
    "segmentationobject", "superpixels", "thumbnails", "thumbnail", "thumbs", "overlays", "overlay", "previews",
    "visualizations",
}  # fmt: skip


def is_litter(name: str) -> bool:
    """Whether a file or folder is what Finder, Windows or an archive tool leaves, or is hidden."""
    return name.startswith(".") or name.casefold() in _LITTER


@dataclass(frozen=True, slots=True)
class Picture:
    """A picture file. folder: the names of the folders from the dataset's own down to it; stem: its name, compared."""

    path: str
    folder: tuple[str, ...]
    stem: str

    @property
    def name(self) -> str:
        """Its file name; cut from text, because paths of ten thousands take a second to be parsed."""
        return self.path.rpartition(os.sep)[2]

    @property
    def place(self) -> str:
        """Its path inside the dataset without its ending."""
        return "/".join((*self.folder, self.name.rpartition(".")[0]))

    @property
    def split(self) -> str | None:
        """The split that the nearest folder of such a name stands for."""
        return next((split for name in reversed(self.folder) if (split := split_of(name))), None)

    @property
    def in_masks(self) -> bool:
        """Whether the nearest folder that is named after images or masks is named after masks."""
        return next((names_masks(n) for n in reversed(self.folder) if names_masks(n) or names_images(n)), False)


@dataclass
class Tree:
    """Pictures and tables below `root`, sorted by path; set_aside: pictures that cannot be used, with the reason."""

    root: Path
    guard: FolderGuard
    pictures: list[Picture] = field(default_factory=list)
    tables: list[Path] = field(default_factory=list)
    outlines: list[Path] = field(default_factory=list)
    """Files that may hold outlines in a tool's form."""
    set_aside: list[tuple[str, str, str]] = field(default_factory=list)
    others: dict[str, str] = field(default_factory=dict)
    """One file of every other ending."""

    @cached_property
    def by_stem(self) -> dict[str, list[Picture]]:
        """Pictures by their name without ending."""
        found: dict[str, list[Picture]] = defaultdict(list)
        for picture in self.pictures:
            found[picture.stem].append(picture)
        return dict(found)

    def unread(self) -> list[str]:
        """A note on archives that lie beside the pictures and may hold more."""
        found = [Path(path).name for ending, path in self.others.items() if ending in ARCHIVE_ENDINGS]
        return [f"{found[0]} is not looked into: unpack it if it holds more than what lies beside it"] if found else []

    def rejected(self, source: str) -> list[Rejection]:
        """What cannot be used, for a source's list."""
        return [Rejection(f"{source}:{Path(path).stem}", check, why, path) for path, check, why in self.set_aside]


def scan(root: Path, settings: PrepareSettings, only: Collection[str] = ()) -> Tree:
    """Everything below `root` that can belong to a dataset; links are followed where the settings allow it.

    only: of the folders in `root` itself no others are looked into, where any are given.
    """
    tree = Tree(root, FolderGuard(root, settings.follow_links))
    for folder, entries in _walk(root, settings.follow_links, only):
        for entry in entries:
            _sort_in(tree, folder, entry)
    return tree


def _walk(root: Path, follow: bool, only: Collection[str]) -> Iterator[tuple[tuple[str, ...], list[os.DirEntry[str]]]]:
    waiting: list[tuple[str, ...]] = [()]
    seen: set[str] = set()
    while waiting:
        folder = waiting.pop()
        place = os.path.join(root, *folder)  # noqa: PTH118
        real = os.path.realpath(place)
        if real in seen:
            continue
        seen.add(real)
        with os.scandir(place) as found:
            entries = sorted((entry for entry in found if not is_litter(entry.name)), key=lambda entry: entry.name)
        folders = [entry for entry in entries if _is_folder(entry)]
        inside = [entry for entry in folders if follow or not entry.is_symlink()]
        if only and not folder:
            inside = [entry for entry in inside if entry.name in only]
        if len(folder) < DEEPEST:
            waiting += [(*folder, entry.name) for entry in reversed(inside)]
        names = {entry.name for entry in folders}
        yield folder, [entry for entry in entries if entry.name not in names]


def _is_folder(entry: os.DirEntry[str]) -> bool:
    """Whether an entry is a folder or a link to one; a link that leads nowhere is none."""
    try:
        return entry.is_dir()
    except OSError:
        return False


def _sort_in(tree: Tree, folder: tuple[str, ...], entry: os.DirEntry[str]) -> None:
    stem, dot, ending = entry.name.rpartition(".")
    ending = (dot + ending).lower()
    if ending in IMAGE_ENDINGS:
        if (folder and folder[-1].casefold() in _ASIDE_FOLDERS) or key(stem).endswith(_ASIDE):
            return
        if not tree.guard.allows(entry.path, entry.is_symlink()):
            tree.set_aside.append((entry.path, "outside", outside_reason(entry.path)))
        else:
            tree.pictures.append(Picture(entry.path, folder, key(stem)))
    elif ending in OTHER_ENDINGS:
        reason = f"{entry.path}: files with the ending {ending} are not read; save it as PNG or JPEG"
        tree.set_aside.append((entry.path, "unsupported ending", reason))
    elif ending in TABLE_ENDINGS or (not dot and stem == "" and "metadata" in entry.name.lower()):
        tree.tables.append(Path(entry.path))
    else:
        if ending in OUTLINE_ENDINGS:
            tree.outlines.append(Path(entry.path))
        tree.others.setdefault(ending or entry.name, entry.path)


def holds_pictures(root: Path) -> bool:
    """Whether a picture of a kind that is read lies anywhere below `root`."""
    endings = (entry.name.rpartition(".")[2].lower() for _, entries in _walk(root, True, ()) for entry in entries)
    return any(f".{ending}" in IMAGE_ENDINGS for ending in endings)


def parts_in_common(one: Iterable[str], other: Iterable[str]) -> int:
    """How many folder names, letter case aside, two places share."""
    return len({key(name) for name in one} & {key(name) for name in other})


def without_copies(images: Sequence[Picture]) -> tuple[list[Picture], int]:
    """Pictures without those that repeat another's name and content in the same split, and how many those were."""
    by_name: dict[tuple[str, str | None], list[Picture]] = defaultdict(list)
    for picture in images:
        by_name[picture.stem, picture.split].append(picture)
    copies: set[str] = set()
    for group in by_name.values():
        copies |= {picture.path for picture in group[1:] if _same_content(group[0].path, picture.path)}
    return [picture for picture in images if picture.path not in copies], len(copies)


def _same_content(one: str, other: str) -> bool:
    try:
        return filecmp.cmp(one, other, shallow=False)
    except OSError:  # what cannot be read is told when the rows are checked
        return False
