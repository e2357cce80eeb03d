"""The contract of a manifest's rows: columns, their order and types, and the names that paths are made of."""

from __future__ import annotations

import hashlib
import json
import re
from collections.abc import Mapping, Sequence
from dataclasses import dataclass, field
from typing import TYPE_CHECKING, Any, Literal
from urllib.parse import unquote

from manifests.errors import BadInput

if TYPE_CHECKING:
    import pyarrow as pa

FORMAT = "evenderm-manifest"
FORMAT_VERSIONS: Mapping[str, int] = {"real": 4, "synthetic": 3}
"""The version that is written; earlier ones are read too."""
SOFTWARE = "evenderm"
HEADER_NAME = "manifest.json"
CARD_NAME = "README.md"
SPLITS = ("train", "validation", "test")
UNLABELLED = "unlabelled"
"""The dx of pairs whose class is unknown; their label is -1 and the name is in no list of classes."""

Kind = Literal["real", "synthetic"]

ORIGINS: Mapping[Kind, tuple[str, ...]] = {"real": ("real", "drawn"), "synthetic": ("synthetic",)}
"""By kind: a run's own pairs are photographed, or drawn by a program as a phantom's are; others are generated."""
ATTRIBUTES = ("age_group", "sex", "site", "skin_tone")
MASK_ORIGINS = ("given", "predicted")
"""Whether a mask came with the data or was found by a segmenter."""
REVIEWS = ("accepted", "refused")
"""What readers together say of a generated pair."""
MASK_FACTS = ("mask_origin", "mask_confidence")
FOUND_MASKS = "found_masks"
"""What a real manifest's provenance says of found masks: who found them, and the least confidence of a teacher."""
FINGERPRINTS = "fingerprints.safetensors"
"""The file of a base that tells the pictures that it was trained on."""
SEEN = "seen_by_base"
BASE_PICTURES = "base_pictures"
"""What a real manifest's provenance calls the digest of the pictures that the base was trained on."""
SCORES = ("mask_plausibility", "mask_agreement", "class_consistency")
WAY_COLUMNS = ("way", "source_pair_id", "mask_pair_id", "detail_pair_id", "region")
"""How a synthetic pair was drawn and from which real ones, from version 3 on."""
BULKY = ("image", "mask")
SHARD_PATTERN = re.compile(r"data/lesion=(?P<dx>[^/]+)/part-(?P<index>\d{5})\.parquet")

_ESCAPED_IN_PATHS = set('/\\=%:*?"<>|[]{}#,;')
_MAX_CLASS_NAME = 120
_MAX_PAIR_ID = 256


@dataclass(frozen=True)
class PairRow:
    """One row as a caller hands it to the writer; what follows from it (label, hashes, origin) is not asked.

    image_png: PNG of RGB uint8; mask_png: PNG of 8-bit grey with 0 and 255 only and the image's size, or None
    for a source without masks; dx: a class of the manifest or `UNLABELLED`; mask_origin: one of `MASK_ORIGINS`, by
    default given where there is a mask; mask_confidence: of a predicted one; seen_by_base: whether the base was
    trained on it, None where nobody can tell; scores: by names of `SCORES`.
    The fields from `prompt` on are for synthetic pairs and must stay None for real ones.
    """

    pair_id: str
    image_png: bytes
    mask_png: bytes | None
    dx: str
    split: str
    group_id: str
    source: str
    licence: str
    age_group: str | None = None
    sex: str | None = None
    site: str | None = None
    skin_tone: str | None = None
    mask_origin: str | None = None
    mask_confidence: float | None = None
    attribution: str | None = None
    seen_by_base: bool | None = None
    prompt: str | None = None
    seed: int | None = None
    guidance: float | None = None
    steps: int | None = None
    sampler: str | None = None
    base_digest: str | None = None
    adapter_digest: str | None = None
    scores: Mapping[str, float] = field(default_factory=dict)
    nearest_real_id: str | None = None
    nearest_similarity: float | None = None
    accepted: bool | None = None
    reject_reason: str | None = None
    reviewed_by: str | None = None
    review: str | None = None
    way: str | None = None
    source_pair_id: str | None = None
    mask_pair_id: str | None = None
    detail_pair_id: str | None = None
    noise_level: float | None = None
    region: str | None = None


def column_types(kind: Kind, version: int | None = None) -> dict[str, pa.DataType]:
    """The contract's columns in their order, with Arrow types, in the version that is written or an earlier one."""
    import pyarrow as pa

    version = version or FORMAT_VERSIONS[kind]
    text = pa.string()
    picture = pa.struct([("bytes", pa.binary()), ("path", text)])
    columns = {
        "pair_id": text, "image": picture, "mask": picture, "label": pa.int64(), "dx": text, "origin": text,
        "split": text, "group_id": text, "source": text, "licence": text,
        "image_sha256": text, "mask_sha256": text, **dict.fromkeys(ATTRIBUTES, text),
    }  # fmt: skip
    if kind == "real" and version > 1:
        columns |= {"mask_origin": text, "mask_confidence": pa.float64(), "attribution": text}
    if kind == "real" and version > 3:
        columns[SEEN] = pa.bool_()
    if kind == "synthetic":
        columns |= {
            "prompt": text, "seed": pa.int64(), "guidance": pa.float64(), "steps": pa.int32(),
            "sampler": text, "base_digest": text, "adapter_digest": text,
            **{f"score_{name}": pa.float64() for name in SCORES},
            "nearest_real_id": text, "nearest_similarity": pa.float64(),
            "accepted": pa.bool_(), "reject_reason": text,
        }  # fmt: skip
    if kind == "synthetic" and version > 1:
        columns |= {"reviewed_by": text, "review": text}
    if kind == "synthetic" and version > 2:
        columns |= {**dict.fromkeys(WAY_COLUMNS, text), "noise_level": pa.float64()}
    return columns


def arrow_schema(
    kind: Kind,
    classes: Sequence[str],
    manifest_id: str,
    shard: str,
    provenance: Mapping[str, Any],
    version: int | None = None,
) -> pa.Schema:
    """Schema of one shard; its metadata lets `datasets` decode the pictures and names the manifest."""
    import pyarrow as pa

    columns = column_types(kind, version)
    metadata = {
        "huggingface": canonical_json({"info": {"features": _features(columns, classes)}}),
        "evenderm": canonical_json(own_metadata(kind, manifest_id, shard, provenance, version)),
    }
    return pa.schema(list(columns.items()), metadata=metadata)


def own_metadata(
    kind: Kind, manifest_id: str, shard: str, provenance: Mapping[str, Any], version: int | None = None
) -> dict[str, Any]:
    """What a shard says about itself; a synthetic one also by what it was made: the program and its inputs' digests."""
    version = version or FORMAT_VERSIONS[kind]
    ours: dict[str, Any] = {"format": FORMAT, "format_version": version, "kind": kind, "shard": shard}
    ours |= {"manifest_id": manifest_id, "synthetic": kind == "synthetic"}
    if kind == "synthetic":
        ours |= {"software": SOFTWARE, "generator": provenance.get("inputs", {})}
    return ours


def _features(columns: Mapping[str, pa.DataType], classes: Sequence[str]) -> dict[str, dict[str, Any]]:
    """The features of `datasets`, written out so that this package need not import it."""
    special: dict[str, dict[str, Any]] = {
        "image": {"_type": "Image"},
        "mask": {"_type": "Image"},
        "label": {"names": list(classes), "_type": "ClassLabel"},
    }
    # The hub says float64 where Arrow prints double.
    return {
        name: special.get(name) or {"dtype": str(kind).replace("double", "float64"), "_type": "Value"}
        for name, kind in columns.items()
    }


def hub_features(kind: Kind, classes: Sequence[str], version: int | None = None) -> list[dict[str, Any]]:
    """The same features in the form of a dataset card's YAML header."""
    listed: list[dict[str, Any]] = []
    for name, feature in _features(column_types(kind, version), classes).items():
        if "names" in feature:
            dtype: Any = {"class_label": {"names": {str(i): c for i, c in enumerate(feature["names"])}}}
        else:
            dtype = feature.get("dtype", "image")
        listed.append({"name": name, "dtype": dtype})
    return listed


def is_doubtful(row: Mapping[str, Any], least: float) -> bool:
    """Whether a row's mask was found with less than the `least` confidence, so that it teaches no adapter."""
    return row.get("mask_origin") == "predicted" and (row["mask_confidence"] or 0.0) < least


def canonical_json(value: Any) -> str:
    """One text for one value: sorted keys, no spaces, no NaN."""
    return json.dumps(value, sort_keys=True, separators=(",", ":"), ensure_ascii=False, allow_nan=False)


def manifest_identity(
    kind: Kind, classes: Sequence[str], provenance: Mapping[str, Any], version: int | None = None
) -> str:
    """What a manifest is made from, as 16 hexadecimal digits; known before its first row is written."""
    version = version or FORMAT_VERSIONS[kind]
    described = {"v": version, "kind": kind, "classes": list(classes), "provenance": dict(provenance)}
    return hashlib.sha256(canonical_json(described).encode()).hexdigest()[:16]


def shard_name(dx: str, index: int) -> str:
    """Path of a shard inside its manifest."""
    if not 0 <= index < 100_000:
        raise ValueError(f"shard index {index} does not fit part-NNNNN")
    return f"data/lesion={path_name(dx)}/part-{index:05d}.parquet"


def class_name_fault(name: str) -> str | None:
    """Why `name` cannot be a class (it becomes a folder's name, see `path_name`), or None if it can."""
    if not name or name != name.strip() or len(name) > _MAX_CLASS_NAME:
        return f"must have 1 to {_MAX_CLASS_NAME} characters and no space at its ends"
    bad = sorted({c for c in name if not c.isprintable()})
    if bad:
        return f"must not contain {' '.join(repr(c) for c in bad)}"
    return None


def path_name(dx: str) -> str:
    """A class as a part of a path and as a partition value: what a file system may not take stands as %XX."""
    marks = [f"%{ord(c):02X}" if c in _ESCAPED_IN_PATHS else c for c in dx]
    if dx.startswith((".", "~", "__")):
        marks[0] = f"%{ord(dx[0]):02X}"
    if dx.endswith("."):
        marks[-1] = "%2E"
    return "".join(marks)


def class_of_path(name: str) -> str:
    """The class that `path_name` made `name` of."""
    return unquote(name)


def check_classes(classes: Sequence[str], where: str) -> tuple[str, ...]:
    """The classes as a tuple, or BadInput naming `where`, the first bad one and the fix."""
    seen: set[str] = set()
    for name in classes:
        fault = class_name_fault(name)
        if name == UNLABELLED:
            fault = "is kept for pairs without a class"
        # Folders of two classes must stay two on file systems that ignore case.
        elif name.casefold() in seen:
            fault = "stands twice (upper and lower case count as the same)"
        if fault:
            raise BadInput(f"{where}: the class name {name!r} {fault}; rename the class in the source.")
        seen.add(name.casefold())
    return tuple(classes)


def pair_id_fault(pair_id: str) -> str | None:
    """Why `pair_id` cannot be an id, or None if it can."""
    if not pair_id or len(pair_id) > _MAX_PAIR_ID:
        return f"must have 1 to {_MAX_PAIR_ID} characters"
    if not pair_id.isprintable():
        return "must not contain control characters"
    return None


def file_stem(pair_id: str) -> str:
    """A file name without ending, for any system, from any id; different ids give different names.

    `isic2017:ISIC_0000000` becomes `isic2017-ISIC_0000000`. An id of another form keeps its plain characters
    and gets eight digits of its hash, which keep such names apart.
    """
    if match := _PLAIN_ID.fullmatch(pair_id):
        stem = "-".join(part for part in match.groups() if part)
        if len(stem) <= 100 and stem.casefold() not in _RESERVED_STEMS:
            return stem
    plain = re.sub(r"[^A-Za-z0-9_]", "_", pair_id)[:80]
    digest = hashlib.sha256(pair_id.encode("utf-8", "surrogatepass")).hexdigest()[:8]
    return f"{plain}-{digest}"


# Only the second part may hold a dash, so the first dash of a stem always stands for the colon.
_PLAIN_ID = re.compile(r"(?:([A-Za-z0-9_]+):([A-Za-z0-9_][A-Za-z0-9_-]*)|([A-Za-z0-9_]+))")
_RESERVED_STEMS = {"con", "prn", "aux", "nul", *(f"{d}{n}" for d in ("com", "lpt") for n in range(10))}
