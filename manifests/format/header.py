"""`manifest.json`: the commit of a manifest, and the only list of what is in it."""

from __future__ import annotations

import hashlib
import json
from collections.abc import Mapping
from typing import Any

from pydantic import BaseModel, ConfigDict, Field, ValidationError

from manifests.errors import BadInput
from manifests.format.schema import (
    FORMAT,
    FORMAT_VERSIONS,
    SHARD_PATTERN,
    SPLITS,
    Kind,
    canonical_json,
    class_name_fault,
    class_of_path,
    path_name,
)


class ShardEntry(BaseModel):
    """A shard as manifest.json names it; footer: sha256 of its Parquet footer, None in earlier versions."""

    model_config = ConfigDict(frozen=True, extra="forbid", strict=True)

    name: str
    rows: int = Field(gt=0)
    bytes: int = Field(gt=0)
    sha256: str = Field(pattern=r"^[0-9a-f]{64}$")
    footer: str | None = Field(default=None, pattern=r"^[0-9a-f]{64}$")

    @property
    def dx(self) -> str:
        """The class whose pairs the shard holds."""
        return class_of_path(self.name.split("/")[1].removeprefix("lesion="))


_FOOTERS_SINCE = {"real": 3, "synthetic": 2}


def shard_facts(kind: Kind, version: int) -> list[str]:
    """What manifest.json says of each shard in a version."""
    return [name for name in ShardEntry.model_fields if name != "footer" or version >= _FOOTERS_SINCE[kind]]


class Header(BaseModel):
    """Everything that manifest.json says.

    counts: accepted pairs by split and class; rejected: pairs by class; sources, licences: rows by value;
    masks: rows that have one; drawn: rows whose pictures a program drew; checksum: see `header_checksum`.
    """

    model_config = ConfigDict(frozen=True, extra="forbid", strict=True)

    format: str
    format_version: int
    manifest_id: str = Field(pattern=r"^[0-9a-f]{16}$")
    kind: Kind
    classes: list[str]
    rows: int
    masks: int
    drawn: int = 0
    counts: dict[str, dict[str, int]]
    rejected: dict[str, int]
    sources: dict[str, int]
    licences: dict[str, int]
    provenance: dict[str, Any]
    shards: list[ShardEntry] = Field(min_length=1)
    checksum: str


def header_checksum(header: Mapping[str, Any]) -> str:
    """sha256 over everything in a manifest.json but the checksum itself."""
    content = {key: value for key, value in header.items() if key != "checksum"}
    return hashlib.sha256(canonical_json(content).encode("utf-8", "surrogatepass")).hexdigest()


def parse_header(content: bytes, where: str) -> tuple[dict[str, Any], tuple[ShardEntry, ...]]:
    """manifest.json as a dict and its shards, or BadInput for one that nobody committed in this form."""
    try:
        header = json.loads(content)
    except (ValueError, RecursionError):
        raise BadInput(f"{where} is not JSON; restore it or make the manifest again.") from None
    if not isinstance(header, dict) or header.get("format") != FORMAT:
        raise BadInput(f"{where} is not the header of a manifest; give the folder of one.")
    newest = FORMAT_VERSIONS.get(str(header.get("kind")), 1)
    if header.get("format_version") not in range(1, newest + 1):
        raise BadInput(
            f"{where} has format version {str(header.get('format_version'))[:20]} and this program reads "
            f"{newest}; make the manifest again."
        )
    try:
        checked = Header.model_validate(header)
        intact = checked.checksum == header_checksum(header)
    except (ValidationError, ValueError):
        intact = False
    if not intact:
        raise BadInput(f"{where} was changed after it was committed; restore it or make the manifest again.")
    for entry in checked.shards:
        match = SHARD_PATTERN.fullmatch(entry.name)
        if match is None or class_name_fault(entry.dx) or path_name(entry.dx) != match["dx"]:
            raise BadInput(f"{where} names the shard {entry.name[:80]!r}, which cannot be one; make it again.")
    if set(checked.counts) != set(SPLITS):
        raise BadInput(f"{where} does not count {', '.join(SPLITS)}; make the manifest again.")
    return header, tuple(checked.shards)
