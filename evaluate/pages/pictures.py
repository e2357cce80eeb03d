"""Pairs as pictures of the page: thumbnails as data URIs, and mask outlines as vector paths over them."""

from __future__ import annotations

import base64
import io
from collections.abc import Collection, Iterator, Mapping
from dataclasses import dataclass
from typing import TYPE_CHECKING, Any

from manifests.format.reading import Manifest, read_group
from manifests.format.shards import DISCLAIMER
from manifests.images import decode_stored, decode_stored_mask
from manifests.png import DRAWN

if TYPE_CHECKING:
    import numpy as np
    from PIL.Image import Image

THUMBNAIL = 160
QUALITY = 82
PICTURE_COLUMNS = ("pair_id", "image", "mask", "origin", "mask_origin")
COMMENTS = {"synthetic": DISCLAIMER.encode(), "drawn": DRAWN.encode()}

Row = dict[str, Any]


@dataclass(frozen=True)
class Picture:
    """One thumbnail. src: a data URI; outline: the mask's border as an SVG path in thumbnail pixels, empty
    where there is no mask; alt: what it shows, for those who cannot see it; origin: real, drawn or synthetic;
    mask_found: whether a segmenter found the mask, which did not come with the picture."""

    pair_id: str
    src: str
    outline: str
    width: int
    height: int
    alt: str
    origin: str
    mask_found: bool = False


def small_rows(manifest: Manifest, accepted_only: bool = True, split: str | None = None) -> list[Row]:
    """Every column but the pictures, one dict per pair, sorted by pair_id."""
    columns = [name for name in manifest.columns() if name not in ("image", "mask")]
    return manifest.table(columns, split=split, accepted_only=accepted_only).to_pylist()


def thumbnails(manifest: Manifest, alts: Mapping[str, str]) -> dict[str, Picture]:
    """Thumbnails of the pairs that `alts` describes by id; those that the manifest lacks are left out."""
    rows = chosen_pictures(manifest, frozenset(alts))
    return {row["pair_id"]: _picture(row, alts[row["pair_id"]]) for row in rows}


def chosen_pictures(manifest: Manifest, wanted: Collection[str]) -> Iterator[Row]:
    """Id, image, mask and their origins of the pairs that `wanted` names; those that are not there are left out."""
    left = len(wanted)
    for entry in manifest.shards:
        if not left:
            return
        with manifest.open_shard(entry) as file:
            for group in range(file.num_row_groups):
                rows = _chosen(manifest, entry.name, file, group, wanted)
                left -= len(rows)
                yield from rows


def _chosen(manifest: Manifest, name: str, file: Any, group: int, wanted: Collection[str]) -> list[Row]:
    # Ids first: a row group without a wanted pair costs no pictures.
    ids = read_group(manifest.storage, name, file, group, ["pair_id"])["pair_id"].to_pylist()
    places = [place for place, pair_id in enumerate(ids) if pair_id in wanted]
    if not places:
        return []
    columns = [column for column in PICTURE_COLUMNS if column in manifest.columns()]
    table = read_group(manifest.storage, name, file, group, columns)
    return table.take(places).to_pylist()


def _picture(row: Row, alt: str) -> Picture:
    name = row["pair_id"]
    image = decode_stored(row["image"]["bytes"], name)
    thumbnail, outline = _thumbnail(image), ""
    if row["mask"] is not None and row["mask"]["bytes"] is not None:
        mask = decode_stored_mask(row["mask"]["bytes"], name)
        outline = outline_path(mask, *thumbnail.size)
    origin, found = row["origin"], row.get("mask_origin") == "predicted"
    return Picture(name, jpeg_source(thumbnail, origin), outline, *thumbnail.size, alt, origin, found)


def _thumbnail(image: np.ndarray) -> Image:
    from PIL import Image

    picture = Image.fromarray(image if image.ndim == 3 else image[..., None].repeat(3, -1))
    picture.thumbnail((THUMBNAIL, THUMBNAIL), Image.Resampling.LANCZOS, reducing_gap=None)
    return picture


def jpeg_source(picture: Image, origin: str) -> str:
    """A picture as data URI of a JPEG without any metadata but the word that it is drawn or synthetic, where it is."""
    buffer = io.BytesIO()
    # A picture that is saved from the page still says what it is.
    comment = {"comment": COMMENTS[origin]} if origin in COMMENTS else {}
    picture.save(buffer, "JPEG", quality=QUALITY, optimize=True, **comment)
    return "data:image/jpeg;base64," + base64.b64encode(buffer.getvalue()).decode()


def outline_path(mask: np.ndarray, width: int, height: int) -> str:
    """The borders of a bool mask (H, W), holes included, as an SVG path scaled to width x height."""
    import cv2
    import numpy as np

    contours, _ = cv2.findContours(mask.astype(np.uint8), cv2.RETR_CCOMP, cv2.CHAIN_APPROX_NONE)
    across, down = width / mask.shape[1], height / mask.shape[0]
    parts = []
    for contour in contours:
        points = cv2.approxPolyDP(contour, 0.6 / max(across, down), closed=True)[:, 0]
        if len(points) > 2:
            parts.append("M" + "L".join(f"{(x + 0.5) * across:.1f} {(y + 0.5) * down:.1f}" for x, y in points) + "z")
    return "".join(parts)
