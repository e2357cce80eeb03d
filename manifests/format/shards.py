"""One shard: rows to Parquet bytes, the same for the same rows, and the facts that a commit adds up."""

from __future__ import annotations

import hashlib
import io
import json
from collections import Counter
from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from typing import TYPE_CHECKING, Any

from manifests.errors import BadInput
from manifests.format.footer import footer_digest, sealed
from manifests.format.schema import (
    ATTRIBUTES,
    BULKY,
    MASK_ORIGINS,
    SCORES,
    SOFTWARE,
    SPLITS,
    UNLABELLED,
    WAY_COLUMNS,
    Kind,
    PairRow,
    arrow_schema,
    file_stem,
    pair_id_fault,
)
from manifests.png import is_drawn, png_header, with_png_text

if TYPE_CHECKING:
    import numpy as np
    import pyarrow as pa

ROW_GROUP = 64
"""Rows in a row group: a random row costs reading its group, and 50 to 100 is where that is cheapest."""

DISCLAIMER = "Synthetic picture made by a generative model; it shows no patient and is not for diagnosis."

_SYNTHETIC_ONLY = (
    "prompt", "seed", "guidance", "steps", "sampler", "base_digest", "adapter_digest",
    "nearest_real_id", "nearest_similarity", "accepted", "reject_reason", "reviewed_by", "review",
    *WAY_COLUMNS, "noise_level",
)  # fmt: skip
_REAL_ONLY = ("mask_confidence", "attribution", "seen_by_base")
# Few values repeated: worth a dictionary. The others differ in every row.
_REPEATED = (
    "dx", "origin", "split", "source", "licence", *ATTRIBUTES, "mask_origin", "attribution",
    "prompt", "sampler", "base_digest", "adapter_digest", "reject_reason", "reviewed_by", "review", "way", "region",
)  # fmt: skip


@dataclass(frozen=True)
class ShardInfo:
    """A shard as manifest.json names it, with what a commit adds up.

    counts: accepted rows by split; rejected: rows not accepted; sources, licences: rows by value;
    masks: rows with a mask; drawn: rows that are no photographs; id_hashes: (rows,) 16-byte digests of the pair ids.
    """

    name: str
    dx: str
    rows: int
    bytes: int
    sha256: str
    footer: str
    counts: Mapping[str, int]
    rejected: int
    sources: Mapping[str, int]
    licences: Mapping[str, int]
    masks: int
    drawn: int
    id_hashes: np.ndarray


def synthetic_text(manifest_id: str, row: PairRow) -> dict[str, str]:
    """Text chunks that a generated PNG carries wherever it is copied: what it is, by what, from where."""
    return {
        "Disclaimer": DISCLAIMER,
        "Software": SOFTWARE,
        "Source": f"manifest {manifest_id}, pair {row.pair_id}",
        "Comment": f"base {row.base_digest}, adapter {row.adapter_digest}, seed {row.seed}",
    }


def encode_shard(
    rows: Sequence[PairRow],
    *,
    name: str,
    dx: str,
    kind: Kind,
    classes: Sequence[str],
    manifest_id: str,
    provenance: Mapping[str, Any],
) -> tuple[bytes, ShardInfo]:
    """Parquet bytes of the rows, sorted by pair_id; BadInput names the first row that breaks the contract."""
    import pyarrow as pa

    ordered = sorted(rows, key=lambda row: row.pair_id)
    _check_rows(ordered, name, dx, kind)
    table = pa.Table.from_pydict(
        _columns(ordered, kind, classes, manifest_id),
        schema=arrow_schema(kind, classes, manifest_id, name, provenance),
    )
    content = _parquet_bytes(table)
    return content, shard_info(table.drop_columns(list(BULKY)), name, dx, content)


def read_shard_info(content: bytes, name: str, dx: str) -> ShardInfo:
    """The facts of a shard that an earlier attempt or another worker wrote."""
    import pyarrow.parquet as pq

    file = pq.ParquetFile(io.BytesIO(content))
    columns = [c for c in file.schema_arrow.names if c not in BULKY]
    return shard_info(file.read(columns), name, dx, content)


def shard_info(table: pa.Table, name: str, dx: str, content: bytes) -> ShardInfo:
    """Add up one shard's rows; `table` needs no picture columns."""
    columns = {c: table[c].to_pylist() for c in ("pair_id", "split", "source", "licence", "mask_sha256", "origin")}
    accepted = table["accepted"].to_pylist() if "accepted" in table.column_names else [True] * len(table)
    return ShardInfo(
        name=name,
        dx=dx,
        rows=len(table),
        bytes=len(content),
        sha256=hashlib.sha256(content).hexdigest(),
        footer=footer_digest(content),
        counts=Counter(split for split, good in zip(columns["split"], accepted, strict=True) if good),
        rejected=len(table) - sum(map(bool, accepted)),
        sources=Counter(columns["source"]),
        licences=Counter(columns["licence"]),
        masks=sum(digest is not None for digest in columns["mask_sha256"]),
        drawn=columns["origin"].count("drawn"),
        id_hashes=hash_ids(columns["pair_id"]),
    )


def hash_ids(pair_ids: Sequence[str]) -> np.ndarray:
    """(N,) 16-byte digests: what it takes to find a repeated id among millions without holding them."""
    import numpy as np

    digests = [hashlib.blake2b(i.encode(), digest_size=16).digest() for i in pair_ids]
    return np.frombuffer(b"".join(digests), dtype="V16")


def shard_metadata(schema: pa.Schema) -> dict[str, Any]:
    """What a shard says about itself; empty for a Parquet file that is not ours."""
    try:
        found = json.loads((schema.metadata or {}).get(b"evenderm", b"{}"))
    except ValueError:
        return {}
    return found if isinstance(found, dict) else {}


def _columns(rows: Sequence[PairRow], kind: Kind, classes: Sequence[str], manifest_id: str) -> dict[str, list[Any]]:
    images, masks = [], []
    for row in rows:
        text = synthetic_text(manifest_id, row) if kind == "synthetic" else {}
        images.append(with_png_text(row.image_png, text))
        masks.append(None if row.mask_png is None else with_png_text(row.mask_png, text))
    stems = [file_stem(row.pair_id) for row in rows]
    label = {name: number for number, name in enumerate(classes)}
    columns: dict[str, list[Any]] = {
        "pair_id": [row.pair_id for row in rows],
        "image": [_picture(png, f"{stem}.png") for png, stem in zip(images, stems, strict=True)],
        "mask": [_picture(png, f"{stem}_mask.png") for png, stem in zip(masks, stems, strict=True)],
        "label": [label.get(row.dx, -1) for row in rows],
        "origin": ["drawn" if kind == "real" and is_drawn(png) else kind for png in images],
        "image_sha256": [_sha256(png) for png in images],
        "mask_sha256": [_sha256(png) for png in masks],
    }
    plain = ("dx", "split", "group_id", "source", "licence", *ATTRIBUTES)
    for name in plain + (_SYNTHETIC_ONLY if kind == "synthetic" else ()):
        columns[name] = [getattr(row, name) for row in rows]
    if kind == "real":
        columns["mask_origin"] = [(row.mask_origin or "given") if row.mask_png else None for row in rows]
        columns |= {name: [getattr(row, name) for row in rows] for name in _REAL_ONLY}
    if kind == "synthetic":
        for name in SCORES:
            columns[f"score_{name}"] = [row.scores.get(name) for row in rows]
    return columns


def _picture(png: bytes | None, path: str) -> dict[str, Any] | None:
    return None if png is None else {"bytes": png, "path": path}


def _sha256(content: bytes | None) -> str | None:
    return None if content is None else hashlib.sha256(content).hexdigest()


def _parquet_bytes(table: pa.Table) -> bytes:
    import pyarrow as pa
    import pyarrow.parquet as pq

    small = [name for name in table.column_names if name not in BULKY]
    pictures = [f"{name}.bytes" for name in BULKY]
    indexed = small + [f"{name}.path" for name in BULKY]
    sink = pa.BufferOutputStream()
    pq.write_table(
        table,
        sink,
        row_group_size=ROW_GROUP,
        version="2.6",
        data_page_version="1.0",
        compression={leaf: "NONE" if leaf in pictures else "ZSTD" for leaf in indexed + pictures},
        use_dictionary=[name for name in _REPEATED if name in small],
        write_statistics=indexed,
        write_page_index=True,
        write_page_checksum=True,
        sorting_columns=[pq.SortingColumn(0)],
    )
    return sealed(memoryview(sink.getvalue()))


def _check_rows(rows: Sequence[PairRow], shard: str, dx: str, kind: Kind) -> None:
    if not rows:
        raise ValueError(f"{shard} would have no rows")
    previous = None
    for row in rows:
        fault = _row_fault(row, dx, kind)
        if row.pair_id == previous:
            fault = "its id stands twice"
        if fault:
            raise BadInput(f"{shard}: pair {row.pair_id[:80]!r}: {fault}; mend the source and run again.")
        previous = row.pair_id


def _row_fault(row: PairRow, dx: str, kind: Kind) -> str | None:
    """What breaks the contract in one row, or None."""
    if fault := pair_id_fault(row.pair_id):
        return f"its id {fault}"
    if row.dx != dx:
        return f"its class {row.dx!r} is not the shard's {dx!r}"
    if row.split not in SPLITS:
        return f"its split {row.split!r} is none of {', '.join(SPLITS)}"
    if kind == "synthetic" and (row.split != "train" or dx == UNLABELLED):
        return "a synthetic pair belongs to the training split and to a class"
    if kind == "synthetic" and row.accepted is None:
        return "a synthetic pair must be accepted or rejected"
    if kind == "real" and (row.scores or any(getattr(row, name) is not None for name in _SYNTHETIC_ONLY)):
        return "a real pair has no prompt, seed, scores or acceptance"
    if row.mask_origin not in (None, *MASK_ORIGINS) or (row.mask_origin and row.mask_png is None):
        return f"its mask origin {row.mask_origin!r} is none of {', '.join(MASK_ORIGINS)}, or it has no mask"
    if unknown := set(row.scores) - set(SCORES):
        return f"the score {min(unknown)!r} is none of {', '.join(SCORES)}"
    image = png_header(row.image_png, f"image of {row.pair_id}")
    if row.mask_png is not None and png_header(row.mask_png, f"mask of {row.pair_id}")[:2] != image[:2]:
        return "its mask is not of the image's size"
    return None
