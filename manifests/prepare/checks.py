"""One row of a source, looked at: is the image readable, does the mask belong to it, what does it look like."""

from __future__ import annotations

import hashlib
import stat
from dataclasses import dataclass
from pathlib import Path

import cv2
import numpy as np

from manifests.duplicates.fingerprints import fingerprint
from manifests.duplicates.sketches import thumbnails
from manifests.errors import BadInput
from manifests.format.schema import pair_id_fault
from manifests.format.shards import DISCLAIMER
from manifests.images import (
    MaskValues,
    centre_square,
    decode_image,
    decode_mask,
    exif_orientation,
    image_size,
    resized_image,
    resized_mask,
)
from manifests.listing.embedded import embedded_bytes
from manifests.listing.source import Rejection, SourceRow
from manifests.png import DRAWN, encode_mask, encode_png, is_drawn
from manifests.prepare.several_masks import joined
from manifests.settings import PrepareSettings

SMALLEST_SIDE = 32
LARGE_FILE = 200_000
LARGEST_FILE = 1024**3


@dataclass(frozen=True)
class CheckedRow:
    """A row that passed: its square pair as PNG, a digest of the image's pixels and its fingerprint.

    enlarged: whether the source's image was smaller than the stored one; scaled: whether the mask was of another size
    and the same shape as its image, and brought to the image's; fingerprint: the bytes of one RECORD;
    thumbnails: those bytes of which `manifests.duplicates.sketches` are made, by which a base knows its pictures.
    """

    image_png: bytes
    mask_png: bytes | None
    pixels: bytes
    enlarged: bool
    scaled: bool
    fingerprint: bytes | None
    thumbnails: bytes | None


class Unfit(Exception):
    """Why a row cannot be used: the short name of the check, and a sentence."""

    def __init__(self, check: str, reason: str) -> None:
        super().__init__(reason)
        self.check, self.reason = check, reason


def check_row(
    row: SourceRow, pair_id: str, with_mask: bool, settings: PrepareSettings, with_thumbnails: bool = False
) -> CheckedRow | Rejection:
    """Decode, compare, cut to a square and resize one row; what is wrong with it becomes a Rejection."""
    try:
        if fault := pair_id_fault(pair_id):
            raise Unfit("bad id", f"the id {pair_id[:80]!r} {fault}; rename the image")
        return _checked(row, with_mask, settings, with_thumbnails)
    except Unfit as unfit:
        return Rejection(pair_id, unfit.check, unfit.reason, row.image)


def _checked(row: SourceRow, with_mask: bool, settings: PrepareSettings, with_thumbnails: bool) -> CheckedRow:
    content = _file_bytes(row.image)
    _refuse_generated(content, row.image)
    try:
        image, (height, width) = _decoded(content, row.image, settings)
    except BadInput as error:
        raise Unfit("unreadable image", str(error)) from None
    if min(height, width) < SMALLEST_SIDE:
        reason = f"{row.image} has {width} x {height} pixels; the shorter side must have {SMALLEST_SIDE} or more"
        raise Unfit("too small", reason)
    mask, scaled = None, False
    if with_mask and row.mask:
        mask, scaled = _checked_mask(row, content, image, (height, width), settings)
    square = resized_image(centre_square(image), settings.size)
    square_mask = resized_mask(centre_square(mask), settings.size) if mask is not None else None
    if square_mask is not None:
        _refuse_uniform(square_mask, f"{row.mask}, cut to the centre square,")
    return CheckedRow(
        encode_png(square, {"Disclaimer": DRAWN} if is_drawn(content) else None),
        encode_mask(square_mask) if square_mask is not None else None,
        hashlib.sha256(square.tobytes()).digest()[:16],
        min(height, width) < settings.size,
        scaled,
        fingerprint(square, square_mask).tobytes() if settings.duplicates else None,
        thumbnails(square, square_mask).tobytes() if with_thumbnails else None,
    )


def _refuse_generated(content: bytes, name: str) -> None:
    """A generated picture says so in its PNG text; let in as a real one it could end up among the test pairs."""
    if DISCLAIMER.encode() in content[:4096]:
        raise Unfit("synthetic", f"{name} says that it was generated; only photographs make a real manifest: remove it")


def _decoded(content: bytes, name: str, settings: PrepareSettings) -> tuple[np.ndarray, tuple[int, int]]:
    """The image, and its size as it was stored: a large file is decoded at a fraction of it where its format can."""
    if len(content) > LARGE_FILE:
        size = image_size(content, name, settings.max_pixels)
        return decode_image(content, settings.max_pixels, name, side=settings.size), size
    image = decode_image(content, settings.max_pixels, name)
    return image, image.shape[:2]


def _file_bytes(path: str) -> bytes:
    """The content of a regular file; anything else (a pipe would wait forever) is unfit."""
    file = Path(path)
    try:
        if (inside := embedded_bytes(path)) is not None:
            return inside
        status = file.stat()
        if not stat.S_ISREG(status.st_mode):
            raise Unfit("unreadable image", f"{path} is not a regular file; replace it by the picture itself")
        if status.st_size > LARGEST_FILE:
            raise Unfit("unreadable image", f"{path} has more than {LARGEST_FILE >> 20} MiB; make it smaller")
        return file.read_bytes()
    except OSError as error:
        raise Unfit("unreadable image", f"{path} cannot be read ({error.strerror}); check the file") from None


def _checked_mask(
    row: SourceRow, image_content: bytes, image: np.ndarray, size: tuple[int, int], settings: PrepareSettings
) -> tuple[np.ndarray, bool]:
    """The mask as bool (H, W), of the image's size, with a lesion and skin around it, and whether it was scaled."""
    paths = (str(row.mask), *row.more_masks)
    read = [_sized_mask(row, path, image_content, size, settings) for path in paths]
    mask = read[0][0] if len(read) == 1 else joined([mask for mask, _ in read], settings.masks.several)
    if mask is None:
        reason = (
            f"{', '.join(Path(path).name for path in paths)} neither lie apart nor agree; say what they are with --set "
            "prepare.masks.several=union (or majority, first)"
        )
        raise Unfit("several masks", reason)
    _refuse_uniform(mask, paths[0])
    if looks_inverted(mask) or marks_the_skin(mask, image):
        raise Unfit("inverted mask", f"{paths[0]} marks the skin and leaves the lesion out; invert it")
    return mask, any(scaled for _, scaled in read)


def _sized_mask(
    row: SourceRow, path: str, image_content: bytes, size: tuple[int, int], settings: PrepareSettings
) -> tuple[np.ndarray, bool]:
    """One mask file of a row as bool (H, W), of the image's size, and whether it was scaled."""
    content = _file_bytes(path)
    try:
        mask = decode_mask(content, settings.max_pixels, path)
    except MaskValues as error:
        raise Unfit("mask values", str(error)) from None
    except BadInput as error:
        raise Unfit("unreadable mask", str(error)) from None
    _refuse_other_turn(row, (image_content, content), mask.shape, size, settings.max_pixels)
    scaled = mask.shape != size and same_aspect(mask.shape, size)
    if scaled:
        mask = scaled_mask(mask, size)
    if mask.shape != size:
        height, width = mask.shape
        reason = f"{path} has {width} x {height} pixels but its image {size[1]} x {size[0]}; make them equal"
        raise Unfit("mask size", reason)
    return mask, scaled


def _refuse_other_turn(
    row: SourceRow, contents: tuple[bytes, bytes], mask_size: tuple[int, ...], size: tuple[int, int], max_pixels: int
) -> None:
    """An image that EXIF turns and a mask that it does not, or the other way round, where nothing tells how they lie.

    A mask drawn on the upright image fits it; only a turn that exchanges unequal sides shows that it was.
    """
    of_image, of_mask = (exif_orientation(content, row.image, max_pixels) for content in contents)
    if of_image == of_mask or (mask_size != size and mask_size != size[::-1]):
        return
    sides_tell = (of_image > 4) != (of_mask > 4) and size[0] != size[1]
    if not (sides_tell and mask_size == size):
        reason = (
            f"{row.image} is turned by its EXIF data (orientation {of_image}) otherwise than its mask ({of_mask}), so "
            "that they may lie differently; save both upright"
        )
        raise Unfit("mask orientation", reason)


def _refuse_uniform(mask: np.ndarray, name: str) -> None:
    if not mask.any():
        raise Unfit("empty mask", f"{name} marks no lesion at all; draw the mask or remove the row")
    if mask.all():
        raise Unfit("full mask", f"{name} marks the whole picture; draw the mask or remove the row")


def same_aspect(one: tuple[int, ...], other: tuple[int, int]) -> bool:
    """Whether two sizes (H, W) are of one shape, to a pixel of rounding."""
    return bool(abs(one[0] * other[1] - one[1] * other[0]) <= max(*one, *other))


def scaled_mask(mask: np.ndarray, size: tuple[int, int]) -> np.ndarray:
    """bool (H, W) at another size: lesion where more than half of the pixel's area is lesion."""
    resampling = cv2.INTER_AREA if mask.shape[0] > size[0] else cv2.INTER_LINEAR
    return cv2.resize(mask.astype(np.uint8) * np.uint8(255), size[::-1], interpolation=resampling) > 127


def marks_the_skin(mask: np.ndarray, image: np.ndarray) -> bool:
    """Whether a mask covers most of the frame and leaves out one darker thing in the middle: lesions touch frames."""
    frame = np.concatenate([mask[0], mask[-1], mask[:, 0], mask[:, -1]])
    rest = ~mask
    if frame.mean() < 0.5 or not 0.03 < rest.mean() < 0.7:
        return False
    height, width = mask.shape
    rows, columns = slice(height * 3 // 8, height * 5 // 8), slice(width * 3 // 8, width * 5 // 8)
    grey = cv2.resize(image.mean(axis=2).astype(np.float32), (width, height), interpolation=cv2.INTER_AREA)
    return bool(rest[rows, columns].mean() > 0.7 and grey[rest].mean() < grey[mask].mean())


def looks_inverted(mask: np.ndarray) -> bool:
    """Whether the mask covers the whole frame and leaves out one large blob that nowhere touches it."""
    frame = np.concatenate([mask[0], mask[-1], mask[:, 0], mask[:, -1]])
    return bool(frame.all()) and float(mask.mean()) < 0.97
