"""PNG bytes: written the same for the same pixels, and their text chunks."""

from __future__ import annotations

import hashlib
import struct
import zlib
from collections.abc import Iterator, Mapping
from typing import TYPE_CHECKING

from manifests.errors import BadInput

if TYPE_CHECKING:
    import numpy as np

DRAWN = "Drawn by a program; it is no photograph, shows no person and is not for diagnosis."
"""What a phantom's pictures say of themselves, in a PNG's text or a JPEG's comment."""
PNG_SIGNATURE = b"\x89PNG\r\n\x1a\n"
_AFTER_HEADER = 33  # signature 8, IHDR chunk 25
_FILTER_UP = 2


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


def png_header(content: bytes, name: str = "image") -> tuple[int, int, int, int]:
    """(width, height, bit depth, colour type) of a PNG, from its first chunk."""
    if len(content) < _AFTER_HEADER or content[:8] != PNG_SIGNATURE or content[12:16] != b"IHDR":
        raise BadInput(f"{name} is not a PNG; restore the shard from its original.")
    width, height, depth, colour_type = struct.unpack(">IIBB", content[16:26])
    if width == 0 or height == 0:
        raise BadInput(f"{name} is a PNG without pixels; restore the shard from its original.")
    return width, height, depth, colour_type


def is_drawn(content: bytes) -> bool:
    """Whether a picture, PNG or JPEG, says that a program drew it."""
    return DRAWN.encode() in content[:4096]


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


def with_padding(content: bytes, length: int) -> bytes:
    """The PNG made `length` bytes long by a chunk of zeros that viewers ignore; ValueError where it is too long."""
    missing = length - len(content) - 12
    if missing < 0:
        raise ValueError(f"a PNG of {len(content)} bytes cannot be padded to {length}")
    return content[:_AFTER_HEADER] + _chunk(b"paDd", bytes(missing)) + content[_AFTER_HEADER:]


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


def pixel_digest(content: bytes) -> str:
    """sha256 of a PNG's size and pixels as they are packed, whatever text stands in front of them."""
    png_header(content)
    at = max((end for _, _, end in _leading_chunks(content)), default=_AFTER_HEADER)
    return hashlib.sha256(content[16:_AFTER_HEADER] + content[at:]).hexdigest()


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
