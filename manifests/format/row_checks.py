"""What must hold for one stored row by itself."""

from __future__ import annotations

import contextlib
import hashlib
from collections.abc import Iterator, Mapping, Sequence
from typing import Any

from manifests.errors import BadInput
from manifests.format.schema import MASK_ORIGINS, ORIGINS, REVIEWS, SPLITS, UNLABELLED, Kind, pair_id_fault
from manifests.format.shards import DISCLAIMER
from manifests.images import decode_stored
from manifests.png import is_drawn, png_text


def row_faults(row: Mapping[str, Any], kind: Kind, classes: Sequence[str], dx: str, manifest_id: str) -> Iterator[str]:
    """Everything that is wrong with a row of the partition `dx`, one sentence each."""
    if fault := pair_id_fault(str(row["pair_id"] or "")):
        yield f"its id {fault}"
    if row["dx"] != dx:
        yield f"its class {row['dx']!r} is not its folder's {dx!r}"
    expected = classes.index(dx) if dx in classes else -1
    if row["label"] != expected or (expected < 0 and dx != UNLABELLED):
        yield f"its label {row['label']} does not stand for {dx!r}"
    if row["origin"] not in ORIGINS[kind]:
        yield f"its origin {row['origin']!r} is not {kind!r}"
    if row["split"] not in SPLITS:
        yield f"its split {row['split']!r} is none of {', '.join(SPLITS)}"
    for name in ("group_id", "source", "licence"):
        if not row[name]:
            yield f"it has no {name}"
    yield from _picture_faults(row)
    if "mask_origin" in row and row["mask_origin"] not in (MASK_ORIGINS if row["mask"] else (None,)):
        yield f"its mask origin {row['mask_origin']!r} does not fit its mask"
    if kind == "synthetic":
        yield from _synthetic_faults(row, manifest_id)
    else:
        yield from _generated_faults(row)


def _picture_faults(row: Mapping[str, Any]) -> Iterator[str]:
    """Hashes, decoding, sizes and mask values."""
    import numpy as np

    arrays = {}
    for name in ("image", "mask"):
        content = (row[name] or {}).get("bytes")
        digest = None if content is None else hashlib.sha256(content).hexdigest()
        if row[f"{name}_sha256"] != digest:
            yield f"its {name} is not the one that was written (sha256 differs)"
        if content is None:
            if name == "image":
                yield "it has no image"
            continue
        try:
            arrays[name] = decode_stored(content, f"its {name}")
        except BadInput as error:
            yield str(error).partition(";")[0]
    image, mask = arrays.get("image"), arrays.get("mask")
    if image is not None and image.ndim != 3:
        yield "its image is not RGB"
    if mask is None:
        return
    if mask.ndim != 2:
        yield "its mask is not grey"
    elif not np.isin(mask, (0, 255)).all():
        yield "its mask has values other than 0 and 255"
    if image is not None and mask.shape[:2] != image.shape[:2]:
        yield "its mask is not of the image's size"


def _synthetic_faults(row: Mapping[str, Any], manifest_id: str) -> Iterator[str]:
    if row["split"] != "train":
        yield f"it is synthetic and in {row['split']}"
    if row["accepted"] is None:
        yield "it is neither accepted nor rejected"
    elif not row["accepted"] and not row["reject_reason"]:
        yield "it is rejected without a reason"
    if row.get("review") not in (None, *REVIEWS) or (row.get("review") is None) != (row.get("reviewed_by") is None):
        yield f"its review {row['review']!r} does not fit its readers"
    for name in ("seed", "base_digest"):
        if row[name] is None:
            yield f"it does not say its {name}, so nobody can make it again"
    for name, text in _picture_texts(row):
        if text.get("Disclaimer") != DISCLAIMER:
            yield f"its {name} does not say that it is synthetic"
        elif manifest_id not in text.get("Source", ""):
            yield f"its {name} names another manifest as its source"


def _generated_faults(row: Mapping[str, Any]) -> Iterator[str]:
    """What was generated is no real pair, on whichever side of the split it stands; what was drawn says so."""
    if is_drawn((row["image"] or {}).get("bytes") or b"") != (row["origin"] == "drawn"):
        yield f"its origin {row['origin']!r} is not what its image says"
    for name, text in _picture_texts(row):
        if text.get("Disclaimer") == DISCLAIMER:
            yield f"its {name} says that it was generated, in a manifest of real pairs"


def _picture_texts(row: Mapping[str, Any]) -> Iterator[tuple[str, Mapping[str, str]]]:
    """The text chunks of image and mask, those of a file that is no PNG left out: that is a fault of its own."""
    for name in ("image", "mask"):
        content = (row[name] or {}).get("bytes")
        if content is not None:
            with contextlib.suppress(BadInput):
                yield name, png_text(content)
