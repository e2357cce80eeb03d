"""Pictures as arrays: safe decoding of what people have, what of a mask is lesion, and other sizes."""

from __future__ import annotations

import io
import warnings
from collections.abc import Callable
from functools import cache
from typing import TYPE_CHECKING, Any

import cv2
import numpy as np

from manifests.errors import BadInput, first_line
from manifests.png import PNG_SIGNATURE, png_header

if TYPE_CHECKING:
    import numpy as np
    from PIL import Image


SOFT_EDGE = 0.05
"""The largest share of a mask's pixels that may be neither dark nor bright: what resampling and JPEG make of edges."""
FLAT_COLOURS = 16
"""A mask drawn in labels has no more colours; edges that were resampled have."""
_SEAM = 224 << 16 | 224 << 8 | 192
MAX_PIXELS = 50_000_000
"""Pictures above this many pixels are refused before they are decoded, unless a setting says otherwise."""
_TURN_MARKS = {
    PNG_SIGNATURE: (b"eXIf", b"Raw profile type", b"XML:com.adobe.xmp"),
    b"\xff\xd8": (b"Exif", b"http://ns.adobe.com/xap"),
}


def decode_image(
    content: bytes, max_pixels: int = MAX_PIXELS, name: str = "image", side: int | None = None
) -> np.ndarray:
    """uint8 (H, W, 3) RGB of any picture: EXIF turn applied, 16-bit scaled, palette, grey and alpha resolved.

    `side` allows a JPEG to be decoded at a fraction of its size, its shorter side still at least that long.
    Transparent parts become black. Raises BadInput naming `name` for what cannot be decoded or is too large.
    """
    import numpy as np

    return _load(content, max_pixels, name, side, lambda picture: np.asarray(_to_mode(picture, "RGB")))


def decode_mask(content: bytes, max_pixels: int = MAX_PIXELS, name: str = "mask") -> np.ndarray:
    """bool (H, W) of any picture, by its values (see `lesion_of`).

    Raises BadInput as `decode_image` does, MaskValues where the values do not tell lesion from skin.
    """
    return lesion_of(_load(content, max_pixels, name, None, _mask_values), name)


def decode_stored(content: bytes, name: str = "image", max_pixels: int = MAX_PIXELS) -> np.ndarray:
    """Fast path for our own PNGs: uint8 (H, W, 3) RGB, or (H, W) for grey ones; BadInput for all else."""
    import numpy as np

    cv2 = _quiet_opencv()
    width, height, depth, colour_type = png_header(content, name)
    if width * height > max_pixels:
        raise BadInput(_too_large(name, width, height, max_pixels))
    flag = {2: cv2.IMREAD_COLOR_RGB, 0: cv2.IMREAD_GRAYSCALE}.get(colour_type)
    if depth != 8 or flag is None:
        raise BadInput(f"{name} is not an 8-bit RGB or grey PNG; restore the shard from its original.")
    try:
        array = cv2.imdecode(np.frombuffer(content, np.uint8), flag)
    except cv2.error:
        array = None
    if array is None or array.shape[:2] != (height, width):
        raise BadInput(f"{name} is a damaged PNG; restore the shard from its original.")
    return array


@cache
def _quiet_opencv() -> Any:
    """OpenCV without its own lines on stderr: what is wrong with a picture is said in our error."""
    import cv2

    cv2.utils.logging.setLogLevel(cv2.utils.logging.LOG_LEVEL_ERROR)
    return cv2


def decode_stored_mask(content: bytes, name: str = "mask", max_pixels: int = MAX_PIXELS) -> np.ndarray:
    """bool (H, W) of one of our own mask PNGs."""
    array = decode_stored(content, name, max_pixels)
    if array.ndim != 2:
        raise BadInput(f"{name} is not a grey PNG; restore the shard from its original.")
    return array > 127


def image_size(content: bytes, name: str = "image", max_pixels: int = MAX_PIXELS) -> tuple[int, int]:
    """(height, width) as `decode_image` would give them, read from the header alone."""
    with _opened(content, max_pixels, name) as picture:
        turned = _may_be_turned(content) and _orientation(picture, name) > 4
        return (picture.width, picture.height) if turned else (picture.height, picture.width)


def exif_orientation(content: bytes, name: str = "image", max_pixels: int = MAX_PIXELS) -> int:
    """How a picture is stored, 1 (upright) to 8; above 4 its sides are exchanged."""
    if not _may_be_turned(content):
        return 1
    with _opened(content, max_pixels, name) as picture:
        return _orientation(picture, name)


def _orientation(picture: Image.Image, name: str) -> int:
    try:
        stored = picture.getexif().get(0x0112, 1)
    except Exception as error:  # as in _opened
        raise _unreadable(name, error) from None
    return stored if stored in range(1, 9) else 1


def _may_be_turned(content: bytes) -> bool:
    """Whether a picture can have an EXIF turn; asking Pillow itself makes it decode the whole of a PNG."""
    marks = next((marks for start, marks in _TURN_MARKS.items() if content.startswith(start)), (b"",))
    return any(mark in content for mark in marks)


def _too_large(name: str, width: int, height: int, max_pixels: int) -> str:
    return (
        f"{name} has {width} x {height} pixels, more than the limit of {max_pixels}; "
        "make it smaller or raise the limit (max_pixels)."
    )


def _unreadable(name: str, error: Exception) -> BadInput:
    reason = first_line(error)
    if "BytesIO" in reason:  # Pillow names the object in memory, which tells nobody anything
        reason = "its format is not known"
    return BadInput(f"{name} is not a readable picture ({reason}); replace it or remove its row.")


def _opened(content: bytes, max_pixels: int, name: str) -> Image.Image:
    """A picture whose header is read and whose size is within the limit."""
    from PIL import Image

    with warnings.catch_warnings():
        warnings.simplefilter("ignore")  # Pillow's own size warning; the limit below decides
        try:
            picture = Image.open(io.BytesIO(content))
        # Decoders raise a dozen types on hostile bytes; each is the same fact to the user.
        except Exception as error:
            raise _unreadable(name, error) from None
    if picture.width * picture.height > max_pixels:
        raise BadInput(_too_large(name, picture.width, picture.height, max_pixels))
    return picture


def _load(
    content: bytes, max_pixels: int, name: str, side: int | None, convert: Callable[[Image.Image], np.ndarray]
) -> np.ndarray:
    from PIL import ImageOps

    picture = _opened(content, max_pixels, name)
    try:
        if side is not None:
            picture.draft("RGB", (side, side))
        picture.load()
        ImageOps.exif_transpose(picture, in_place=True)
        return convert(picture)
    except Exception as error:  # as in _opened
        raise _unreadable(name, error) from None


def _mask_values(picture: Image.Image) -> np.ndarray:
    """(H, W): deep greys as they are; what has colours by how bright they are, or by number if they are all one."""
    import numpy as np

    if picture.mode in ("I", "F") or picture.mode.startswith("I;16"):
        return np.nan_to_num(np.asarray(picture))
    grey = np.asarray(_to_mode(picture, "L"))
    if picture.mode == "P" and grey.min() == grey.max():
        return np.asarray(picture)
    return grey if picture.mode in ("1", "L", "LA") else _coloured_values(picture, grey)


def _coloured_values(picture: Image.Image, grey: np.ndarray) -> np.ndarray:
    """(H, W) of a mask in colours: of a few flat ones on black each marks lesion, but for VOC's seam between things;
    others count by how bright they are, or by their strongest channel where none is bright."""
    import numpy as np

    colours = np.asarray(_to_mode(picture, "RGB")).astype(np.uint32)
    packed = colours[..., 0] << 16 | colours[..., 1] << 8 | colours[..., 2]
    different = np.unique(packed[::4, ::4])
    if len(different) <= FLAT_COLOURS and len(different := np.unique(packed)) <= FLAT_COLOURS and different[0] == 0:
        greys = (different >> 16 == different & 255) & (different >> 8 & 255 == different & 255)
        if len(different) > 2 and not greys.all():
            return np.where((packed != 0) & (packed != _SEAM), np.uint8(255), np.uint8(0))
    return colours.max(axis=2).astype(np.uint8) if grey.max() < 192 else grey


def _to_mode(picture: Image.Image, mode: str) -> Image.Image:
    """RGB or L from any mode, without the clipping that `convert` does to deep greys."""
    import numpy as np
    from PIL import Image

    if picture.mode in ("I", "F") or picture.mode.startswith("I;16"):
        deep = np.asarray(picture).astype(np.float64)
        top = 255.0 if deep.max(initial=0) <= 255 else 65535.0
        if picture.mode == "F" and deep.max(initial=0) <= 1:
            top = 1.0
        elif picture.mode.startswith("I;16"):
            top = 65535.0
        scaled = np.clip(np.nan_to_num(deep) * (255.0 / top), 0, 255)
        picture = Image.fromarray(np.round(scaled).astype(np.uint8), "L")
    elif picture.mode in ("LA", "PA", "RGBA", "La", "RGBa") or "transparency" in picture.info:
        picture = picture.convert("RGBA")
        black = Image.new("RGBA", picture.size, (0, 0, 0, 255))
        picture = Image.alpha_composite(black, picture)
    return picture if picture.mode == mode else picture.convert(mode)


class MaskValues(BadInput):
    """A picture whose values do not tell lesion from skin."""


def lesion_of(values: np.ndarray, name: str) -> np.ndarray:
    """bool (H, W) of the values (H, W) of a mask.

    Of two values the greater is lesion; a single one is lesion unless it is 0. Among more, the brighter half is, where
    hardly any pixel lies between dark and bright: labels of several classes and photographs raise MaskValues.
    """
    import numpy as np

    low, high = values.min(), values.max()
    if low == high:
        return np.full(values.shape, high > 0)
    if ((values == low) | (values == high)).all():
        return values == high
    top = 255 if values.dtype == np.uint8 else _brightest(float(high))
    between = float(((values > top / 4) & (values < top * 3 / 4)).mean())
    if between > SOFT_EDGE or low > top / 4 or high < top * 3 / 4:
        raise MaskValues(
            f"{name} has more than two values, from {low:g} to {high:g}, which do not tell lesion from skin; save it "
            "with 0 and 255"
        )
    return values > top / 2


def _brightest(high: float) -> float:
    """What stands for white among values that go up to `high`."""
    return next((top for top in (1.0, 255.0) if high <= top), 65535.0)


def centre_square(array: np.ndarray) -> np.ndarray:
    """The largest square in the middle of (H, W, ...)."""
    height, width = array.shape[:2]
    side = min(height, width)
    top, left = (height - side) // 2, (width - side) // 2
    return array[top : top + side, left : left + side]


def resized_image(image: np.ndarray, size: int) -> np.ndarray:
    """uint8 (size, size, 3): area averages when it shrinks, cubic when it grows."""
    if image.shape[0] == size:
        return np.ascontiguousarray(image)
    resampling = cv2.INTER_AREA if image.shape[0] > size else cv2.INTER_CUBIC
    return cv2.resize(np.ascontiguousarray(image), (size, size), interpolation=resampling)


def resized_mask(mask: np.ndarray, size: int) -> np.ndarray:
    """bool (size, size): lesion where more than half of the pixel's area is lesion."""
    if mask.shape[0] == size:
        return np.ascontiguousarray(mask)
    share = np.ascontiguousarray(mask).astype(np.uint8) * np.uint8(255)
    resampling = cv2.INTER_AREA if mask.shape[0] > size else cv2.INTER_LINEAR
    return cv2.resize(share, (size, size), interpolation=resampling) > 127


def resize_pair(image: np.ndarray, mask: np.ndarray, size: int | None) -> tuple[np.ndarray, np.ndarray]:
    """Both at (size, size): the image by area if it shrinks, else bilinearly; the mask by nearest one."""
    import cv2
    import numpy as np

    if size is None or image.shape[:2] == (size, size):
        return image, mask
    shrinks = min(image.shape[:2]) > size
    resized = cv2.resize(image, (size, size), interpolation=cv2.INTER_AREA if shrinks else cv2.INTER_LINEAR)
    nearest = cv2.resize(mask.view(np.uint8), (size, size), interpolation=cv2.INTER_NEAREST_EXACT)
    return resized, nearest.astype(bool)
