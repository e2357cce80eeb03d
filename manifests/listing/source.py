"""What a source is, the rows that it yields or sets aside, and the images and masks found in its folders."""

from __future__ import annotations

import csv
import io
import os
from collections.abc import Callable, Iterable, Sequence
from dataclasses import dataclass, field
from pathlib import Path

from manifests.errors import BadInput
from manifests.settings import PrepareSettings

HEADER = ("pair_id", "check", "reason", "image")
# What a spreadsheet would take for a formula (OWASP, CSV injection).
_FORMULA_STARTS = ("=", "+", "-", "@", "\t", "\r", "\n", "|", "%")
IMAGE_ENDINGS = (".jpg", ".jpeg", ".png", ".bmp", ".tif", ".tiff", ".webp")
OTHER_ENDINGS = (
    ".avif", ".cr2", ".dcm", ".dng", ".gif", ".heic", ".heif", ".jfif", ".jp2", ".jpe", ".nef", ".pgm", ".ppm", ".psd",
    ".raw", ".svg", ".tga",
)  # fmt: skip
"""Endings of pictures that are not read from a folder."""
CLASS_CODES = ("akiec", "bcc", "bkl", "df", "mel", "nv", "vasc")


@dataclass(frozen=True, slots=True)
class SourceRow:
    """One image as the source describes it; what it does not tell is None.

    image, mask: files; split: the official one; group: the lesion or patient; attributes: (name, value) pairs;
    licence, attribution: where they are told of each image; more_masks: files of its other parts or readers.
    """

    image_id: str
    image: str
    mask: str | None = None
    dx: str | None = None
    split: str | None = None
    group: str | None = None
    attributes: tuple[tuple[str, str], ...] = ()
    licence: str | None = None
    attribution: str | None = None
    more_masks: tuple[str, ...] = ()


@dataclass(frozen=True)
class SourceListing:
    """All rows of a dataset and what its reader had to set aside.

    group_place: what tells which images belong together; notes: what a user should know of how it was read.
    """

    rows: list[SourceRow]
    rejected: list[Rejection] = field(default_factory=list)
    licence: str = "unknown"
    mask_place: str = "its mask file"
    class_place: str = "its label"
    group_place: str = ""
    notes: tuple[str, ...] = ()


@dataclass(frozen=True)
class Source:
    """One layout: how it looks, how it is recognised, how it is read.

    can_read: whether `read` will find its way when the user says that it is this source; None asks `recognise`.
    """

    name: str
    description: str
    example_tree: str
    recognise: Callable[[Path], bool]
    read: Callable[[Path, PrepareSettings], SourceListing]
    can_read: Callable[[Path], bool] | None = None


class FolderGuard:
    """Refuses files that lie outside the dataset's folder, be it by `..`, by an absolute path or by a link.

    `follow_links` lets links lead outside, and nothing else.
    """

    def __init__(self, root: Path, follow_links: bool = False) -> None:
        self.root = os.path.realpath(root)
        self.written = os.path.normpath(Path(root).absolute())
        self.follow_links = follow_links
        self._inside: dict[str, bool] = {}

    def allows(self, path: str, is_link: bool | None = None) -> bool:
        """Whether `path` is inside the folder once links are resolved."""
        if self.follow_links:
            plain = os.path.normpath(Path(path).absolute())
            return _within(plain, self.written) or _within(plain, self.root)
        if Path(path).is_symlink() if is_link is None else is_link:
            return _within(os.path.realpath(path), self.root)
        parent, _, name = path.rpartition(os.sep)
        if parent not in self._inside:
            self._inside[parent] = _within(os.path.realpath(parent), self.root)
        return self._inside[parent] and name != ".."

    def table(self, path: Path) -> Path:
        """The path of a table that belongs to the dataset; BadInput if it lies outside, so that none of it is shown."""
        if not self.allows(str(path)):
            raise BadInput(outside_reason(str(path)))
        return path


def _within(path: str, folder: str) -> bool:
    return path == folder or path.startswith(folder.rstrip(os.sep) + os.sep)


@dataclass(frozen=True)
class FoundImages:
    """Picture files by their lower-case stem, and those that cannot be used."""

    files: dict[str, str]
    rejected: list[Rejection]

    def get(self, stem: str) -> str | None:
        return self.files.get(stem.lower())


def find_images(
    folders: Iterable[Path],
    guard: FolderGuard,
    source: str,
    keep: Callable[[str], bool] = lambda stem: True,
) -> FoundImages:
    """Every picture directly inside `folders`, by stem without regard to case.

    A stem that stands for two files is set aside with all of them, since nothing tells which one is meant.
    """
    files: dict[str, str] = {}
    rejected: list[Rejection] = []
    twice: set[str] = set()
    for folder in folders:
        with os.scandir(folder) as entries:
            found = sorted((e.name, e.path, e.is_symlink()) for e in entries)
        for name, path, is_link in found:
            stem, dot, ending = name.rpartition(".")
            key, ending = stem.lower(), dot + ending.lower()
            if ending not in (*IMAGE_ENDINGS, *OTHER_ENDINGS) or name.startswith(".") or not keep(key):
                continue
            if ending in OTHER_ENDINGS:
                reason = f"{path}: files with the ending {ending} are not read; save it as PNG or JPEG"
                rejected.append(Rejection(f"{source}:{stem}", "unsupported ending", reason, path))
            elif not guard.allows(path, is_link):
                rejected.append(Rejection(f"{source}:{stem}", "outside", outside_reason(path), path))
            elif key in files:
                twice.add(key)
                reason = f"{path} and {files[key]} have the same name; keep one of them"
                rejected.append(Rejection(f"{source}:{stem}", "duplicate id", reason, path))
            else:
                files[key] = path
    for key in twice:
        reason = f"{files[key]} shares its name with another file; keep one of them"
        rejected.append(Rejection(f"{source}:{Path(files[key]).stem}", "duplicate id", reason, files.pop(key)))
    return FoundImages(files, rejected)


def outside_reason(path: str) -> str:
    return f"{path} lies outside the dataset's folder; copy it inside, or set prepare.follow_links=true for links"


def locate(folder: Path, name: str) -> Path | None:
    """`folder/name` or, as some unpackers leave it, `folder/name/name`; without regard to case."""
    if not folder.is_dir():
        return None
    for child in sorted(folder.iterdir()):
        if child.name.lower() == name.lower():
            inner = child / child.name
            return inner if child.is_dir() and inner.exists() else child
    return None


def locate_folder(folder: Path, name: str) -> Path | None:
    found = locate(folder, name)
    return found if found is not None and found.is_dir() else None


def listing_is_not_empty(rows: Sequence[SourceRow], rejected: Sequence[Rejection], folder: Path) -> None:
    """Raises BadInput when a dataset has not a single usable row, with the first reason as a hint."""
    if not rows:
        hint = f" (first reason: {rejected[0].reason})" if rejected else ""
        raise BadInput(f"{folder} holds no usable images{hint}; check that the dataset was unpacked completely")


@dataclass(frozen=True, slots=True)
class Rejection:
    """A row that does not enter the manifest.

    check: the short name under which the summary counts it; reason: a sentence for the user; image: the file
    as the source names it.
    """

    pair_id: str
    check: str
    reason: str
    image: str = ""


def harmless_cell(value: str) -> str:
    """`value` without control characters, and with an apostrophe before what a spreadsheet would run."""
    plain = "".join(c if c.isprintable() else " " for c in value)
    stripped = plain.lstrip()
    return "'" + plain if value[:1] in _FORMULA_STARTS or stripped[:1] in _FORMULA_STARTS else plain


def rejected_csv(rejected: Iterable[Rejection]) -> bytes:
    """CSV of what was set aside, sorted, in UTF-8, safe to open in a spreadsheet."""
    text = io.StringIO()
    writer = csv.writer(text, lineterminator="\n")
    writer.writerow(HEADER)
    for row in sorted(rejected, key=lambda r: (r.pair_id, r.check, r.reason)):
        writer.writerow([harmless_cell(v) for v in (row.pair_id, row.check, row.reason, row.image)])
    return text.getvalue().encode("utf-8", "backslashreplace")
