"""Unpacking archives that somebody else made: nothing lands outside, nothing grows without bound."""

from __future__ import annotations

import shutil
import stat
import zipfile
import zlib
from pathlib import Path, PurePosixPath

from manifests.errors import BadInput, EvendermError, first_line
from manifests.progress import Progress, no_progress
from manifests.storage.base import explained

MOST_BYTES = 64 * 1024**3
MOST_FILES = 200_000
_IGNORED = ("__MACOSX", ".DS_Store", "Thumbs.db")


class ArchiveTooLarge(BadInput):
    """A sound archive that holds more than may be unpacked."""


def unpack(archive: Path, target: Path, progress: Progress = no_progress, most_bytes: int = MOST_BYTES) -> int:
    """Unpack a zip into the new folder `target`, which appears when it is complete; returns how many files.

    A folder in the archive that has the target's own name is left out of the paths. `progress` counts files.
    Raises BadInput for a damaged archive, one with paths that lead outside, links, encryption, or more than
    `most_bytes` of content.
    """
    building = target.with_name(f".{target.name}.unpacking")
    shutil.rmtree(building, ignore_errors=True)
    try:
        with explained(str(archive), "read"), zipfile.ZipFile(archive) as opened:
            members = _safe_members(opened, archive, target.name, most_bytes)
            with explained(str(building), "write"):
                for done, (info, path) in enumerate(members, 1):
                    _write_member(opened, info, building / path)
                    progress(done, len(members))
        building.mkdir(parents=True, exist_ok=True)
        with explained(str(target), "write"):
            if target.exists():
                raise BadInput(f"{target} is already there; remove it to unpack {archive.name} again")
            building.replace(target)
    except (zipfile.BadZipFile, zlib.error, EOFError, RuntimeError, UnicodeError) as error:
        if isinstance(error, EvendermError):
            raise
        raise BadInput(
            f"{archive} is not a sound zip archive ({first_line(error)}); delete it and fetch it again"
        ) from None
    finally:
        shutil.rmtree(building, ignore_errors=True)
    return len(members)


def _safe_members(
    opened: zipfile.ZipFile, archive: Path, own_name: str, most_bytes: int
) -> list[tuple[zipfile.ZipInfo, Path]]:
    """The files to write with their paths inside the target; BadInput if any of them is unsafe."""
    infos = [i for i in opened.infolist() if not i.is_dir()]
    if len(infos) > MOST_FILES:
        raise BadInput(f"{archive} holds {len(infos)} files, more than the limit of {MOST_FILES}; it is not unpacked")
    total = sum(info.file_size for info in infos)
    if total > most_bytes:
        raise ArchiveTooLarge(
            f"{archive} would unpack to {total} bytes, more than the limit of {most_bytes}; if that is right for this "
            "dataset, raise the limit with --max-unpacked"
        )
    members: dict[str, tuple[zipfile.ZipInfo, Path]] = {}
    for info in infos:
        path = _safe_path(info, archive)
        if any(part in _IGNORED for part in path.parts):
            continue
        if len(path.parts) > 1 and path.parts[0] == own_name:
            path = PurePosixPath(*path.parts[1:])
        key = str(path).casefold()
        if key in members:
            raise BadInput(f"{archive} holds {str(path)[:120]!r} twice; it is not unpacked")
        members[key] = (info, Path(*path.parts))
    if not members:
        raise BadInput(f"{archive} holds no files; delete it and fetch it again")
    return list(members.values())


def _safe_path(info: zipfile.ZipInfo, archive: Path) -> PurePosixPath:
    name = info.filename.replace("\\", "/")
    path = PurePosixPath(name)
    outside = path.is_absolute() or ".." in path.parts or ":" in path.parts[0] if path.parts else True
    if outside or not name.isprintable():
        raise BadInput(f"{archive} holds the path {name[:120]!r}, which leads outside; it is not unpacked")
    mode = info.external_attr >> 16
    if mode and stat.S_IFMT(mode) not in (0, stat.S_IFREG):
        raise BadInput(f"{archive} holds {name[:120]!r}, which is a link or device; it is not unpacked")
    if info.flag_bits & 0x1:
        raise BadInput(f"{archive} is encrypted; fetch the official file")
    return path


def _write_member(opened: zipfile.ZipFile, info: zipfile.ZipInfo, path: Path) -> None:
    """Copy one file; a member that holds more than it declares fails its checksum."""
    path.parent.mkdir(parents=True, exist_ok=True)
    with opened.open(info) as source, path.open("xb") as file:
        shutil.copyfileobj(source, file, 1 << 20)
