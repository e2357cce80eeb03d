"""A writer for small manifests, and what it left behind."""

from __future__ import annotations

from pathlib import Path
from typing import Any

from manifests.format.writing import ManifestWriter

CLASSES = ("nv", "mel")


def writer_at(folder: Path, note: str = "test", kind: Any = "real") -> ManifestWriter:
    return ManifestWriter(folder, classes=CLASSES, kind=kind, provenance={"note": note})


def contents(folder: Path) -> dict[str, bytes]:
    """Every file by its path in the folder."""
    return {p.relative_to(folder).as_posix(): p.read_bytes() for p in folder.rglob("*") if p.is_file()}
