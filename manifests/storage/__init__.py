"""Where a manifest lies: `storage_at` opens a folder on a disk or on any object storage that fsspec reaches."""

from __future__ import annotations

from collections.abc import Mapping
from pathlib import Path
from typing import Any

from manifests.storage.base import Storage


def storage_at(location: str | Path | Storage, options: Mapping[str, Any] | None = None) -> Storage:
    """The storage behind a path or a URL such as s3://bucket/folder; `options` go to its fsspec file system.

    Raises BadInput for a URL that names no folder or needs a package that is not installed.
    """
    if isinstance(location, Storage):
        return location
    text = str(location)
    scheme, separator, rest = text.partition("://")
    if not separator or scheme in ("file", "local"):
        from manifests.storage.local import LocalStorage

        return LocalStorage(rest if separator else text)
    from manifests.storage.objects import ObjectStorage

    return ObjectStorage(text, options or {})
