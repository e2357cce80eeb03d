"""Pictures as bytes: PNG writing, safe decoding of what people have, and the text chunks of a PNG."""

from __future__ import annotations

import io
import struct
import warnings
import zlib
from collections.abc import Callable, Iterator, Mapping
from functools import cache
from typing import TYPE_CHECKING, Any

from manifests.errors import BadInput
from manifests.mask_values import lesion_of

if TYPE_CHECKING:
    import numpy as np
    from PIL import Image

MAX_PIXELS = 50_000_000
"""Pictures above this many pixels are refused before they are decoded, unless a setting says otherwise."""

PNG_SIGNATURE = b"\x89PNG\r\n\x1a\n"
_AFTER_HEADER = 33  # signature 8, IHDR chunk 25
_FILTER_UP = 2
_TURN_MARKS = {
    PNG_SIGNATURE: (b"eXIf", b"Raw profile type", b"XML:com.adobe.xmp"),
    b"\xff\xd8": (b"Exif", b"http://ns.adobe.com/xap"),
}


def encode_png(array: np.ndarray, text: Mapping[str, str] | None = None, level: int = 1) -> bytes:
    """PNG of a uint8 array (H, W, 3) RGB or (H, W) grey; the same array and text give the same bytes.

    Every row is stored as its difference from the row above (filter "up"). At level 0 and 1 those are only
    Huffman coded: photographs have few repeats for LZ77 to find, and this is three times as fast.
    """
    import numpy as np

    if array.dtype != np.uint8 or array.ndim not in (2, 3) or (array.ndim == 3 and array.shape[2] != 3):
        raise ValueError(f"expected uint8 (H, W) or (H, W, 3), got {array.dtype} {array.shape}")
    strategy = zlib.Z_HUFFMAN_ONLY if level <= 1 and array.ndim == 3 else zlib.Z_DEFAULT_STRATEGY
    height, width = array.shape[:2]
    rows = np.ascontiguousarray(array).reshape(height, -1)
    filtered = np.empty((height, 1 + rows.shape[1]), np.uint8)
    filtered[:, 0] = _FILTER_UP
    filtered[0, 1:] = rows[0]
    np.subtract(rows[1:], rows[:-1], out=filtered[1:, 1:])
    packer = zlib.compressobj(max(level, 1), zlib.DEFLATED, 15, 9, strategy)
    colour_type = 2 if array.ndim == 3 else 0
    header = struct.pack(">IIBBBBB", width, height, 8, colour_type, 0, 0, 0)
    data = packer.compress(filtered.data) + packer.flush()
    texts = b"".join(_text_chunk(key, value) for key, value in (text or {}).items())
    return PNG_SIGNATURE + _chunk(b"IHDR", header) + texts + _chunk(b"IDAT", data) + _chunk(b"IEND", b"")


def encode_mask(mask: np.ndarray) -> bytes:
    """8-bit grey PNG, 0 and 255, of a bool mask (H, W)."""
    import numpy as np

    if mask.dtype != np.bool_ or mask.ndim != 2:
        raise ValueError(f"expected bool (H, W), got {mask.dtype} {mask.shape}")
    return encode_png(mask.view(np.uint8) * np.uint8(255))


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


def png_header(content: bytes, name: str = "image") -> tuple[int, int, int, int]:
    """(width, height, bit depth, colour type) of a PNG, from its first chunk."""
    if len(content) < _AFTER_HEADER or content[:8] != PNG_SIGNATURE or content[12:16] != b"IHDR":
        raise BadInput(f"{name} is not a PNG; restore the shard from its original.")
    width, height, depth, colour_type = struct.unpack(">IIBB", content[16:26])
    if width == 0 or height == 0:
        raise BadInput(f"{name} is a PNG without pixels; restore the shard from its original.")
    return width, height, depth, colour_type


def with_png_text(content: bytes, text: Mapping[str, str]) -> bytes:
    """The PNG with these text chunks in front of its pixels, in place of earlier ones with their keywords.

    Nothing is decoded or packed again.
    """
    png_header(content)
    chunks = b"".join(_text_chunk(key, value) for key, value in text.items())
    kept, at = b"", _AFTER_HEADER
    for kind, start, end in _leading_chunks(content):
        if not (kind in _TEXT_KINDS and _keyword(content[start + 8 : end - 4]) in text):
            kept += content[start:end]
        at = end
    return content[:_AFTER_HEADER] + chunks + kept + content[at:]


def png_text(content: bytes) -> dict[str, str]:
    """The text chunks that stand in front of a PNG's pixels, by keyword; compressed ones are left out."""
    png_header(content)
    found: dict[str, str] = {}
    for kind, start, end in _leading_chunks(content):
        body = content[start + 8 : end - 4]
        value = body.partition(b"\0")[2]
        if kind == b"tEXt":
            found[_keyword(body)] = value.decode("latin-1")
        elif kind == b"iTXt" and value[:1] == b"\0":
            found[_keyword(body)] = value[2:].split(b"\0", 2)[-1].decode("utf-8", "replace")
    return found


_TEXT_KINDS = (b"tEXt", b"iTXt", b"zTXt")


def _keyword(body: bytes) -> str:
    return body.partition(b"\0")[0].decode("latin-1")


def _leading_chunks(content: bytes) -> Iterator[tuple[bytes, int, int]]:
    """(kind, start, end) of the whole chunks between a PNG's header and its pixels."""
    at = _AFTER_HEADER
    while at + 12 <= len(content):
        (length,) = struct.unpack(">I", content[at : at + 4])
        kind, end = content[at + 4 : at + 8], at + 12 + length
        if kind in (b"IDAT", b"IEND") or end > len(content):
            return
        yield kind, at, end
        at = end


def _chunk(kind: bytes, data: bytes) -> bytes:
    return struct.pack(">I", len(data)) + kind + data + struct.pack(">I", zlib.crc32(data, zlib.crc32(kind)))


def _text_chunk(keyword: str, value: str) -> bytes:
    """tEXt where Latin-1 can say it, else iTXt (PNG specification, 11.3.4)."""
    if not 1 <= len(keyword) <= 79:
        raise ValueError(f"a PNG keyword has 1 to 79 characters, not {keyword!r}")
    clean = value.replace("\0", " ")
    try:
        return _chunk(b"tEXt", keyword.encode("latin-1") + b"\0" + clean.encode("latin-1"))
    except UnicodeEncodeError:
        return _chunk(b"iTXt", keyword.encode("latin-1") + b"\0\0\0\0\0" + clean.encode("utf-8", "replace"))


def _too_large(name: str, width: int, height: int, max_pixels: int) -> str:
    return (
        f"{name} has {width} x {height} pixels, more than the limit of {max_pixels}; "
        "make it smaller or raise the limit (max_pixels)."
    )


def _unreadable(name: str, error: Exception) -> BadInput:
    reason = (str(error).splitlines() or [type(error).__name__])[0][:120]
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
        return convert(ImageOps.exif_transpose(picture))
    except Exception as error:  # as in _opened
        raise _unreadable(name, error) from None


def _mask_values(picture: Image.Image) -> np.ndarray:
    """(H, W): deep greys as they are; what has colours by how bright they are, or by number if they are all one."""
    import numpy as np

    if picture.mode in ("I", "F") or picture.mode.startswith("I;16"):
        return np.nan_to_num(np.asarray(picture))
    grey = np.asarray(_to_mode(picture, "L"))
    return np.asarray(picture) if picture.mode == "P" and grey.min() == grey.max() else grey


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
    return picture.convert(mode)
