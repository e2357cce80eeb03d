"""Pictures survive our PNG, whatever people have is decoded or refused in a sentence."""

from __future__ import annotations

import io
import struct
import zlib

import cv2
import numpy as np
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st
from hypothesis.extra.numpy import array_shapes, arrays
from PIL import Image

from manifests.errors import BadInput
from manifests.images import MaskValues, decode_image, decode_mask, decode_stored, decode_stored_mask, image_size
from manifests.png import encode_mask, encode_png, png_text, with_png_text

RGB = arrays(np.uint8, st.tuples(st.integers(1, 20), st.integers(1, 20), st.just(3)))


def saved(picture: Image.Image, format: str = "PNG", **options: object) -> bytes:
    buffer = io.BytesIO()
    picture.save(buffer, format, **options)
    return buffer.getvalue()


def gradient(height: int = 20, width: int = 30) -> np.ndarray:
    rows, columns = np.mgrid[:height, :width]
    return np.stack([rows * 8, columns * 8, (rows + columns) * 4], axis=-1).astype(np.uint8)


@given(RGB, st.integers(0, 9))
def test_an_image_survives_png_at_every_level(image: np.ndarray, level: int) -> None:
    content = encode_png(image, level=level)
    assert np.array_equal(decode_stored(content), image)
    assert np.array_equal(decode_image(content), image)
    assert np.array_equal(np.asarray(Image.open(io.BytesIO(content))), image)


@given(arrays(np.bool_, array_shapes(min_dims=2, max_dims=2, max_side=20)))
def test_a_mask_survives_and_is_0_or_255(mask: np.ndarray) -> None:
    content = encode_mask(mask)
    assert np.array_equal(decode_stored_mask(content), mask)
    picture = Image.open(io.BytesIO(content))
    assert picture.mode == "L"
    assert set(np.unique(np.asarray(picture))) <= {0, 255}


def test_text_chunks_are_read_by_other_programs_and_leave_the_pixels_alone() -> None:
    text = {"Software": "evenderm", "Comment": "grün", "Source": "皮膚 pair"}
    content = encode_png(gradient(), text)
    picture = Image.open(io.BytesIO(content))
    picture.load()
    assert picture.text == text
    assert png_text(content) == text
    assert with_png_text(encode_png(gradient()), text) == content
    assert np.array_equal(decode_stored(content), gradient())
    changed = with_png_text(content, {"Comment": "another"})
    assert png_text(changed) == text | {"Comment": "another"}
    assert changed.count(b"Comment") == 1
    assert np.array_equal(decode_stored(changed), gradient())


@pytest.mark.parametrize("orientation", range(1, 9))
def test_the_exif_turn_is_applied(orientation: int) -> None:
    upright = Image.fromarray(gradient())
    exif = Image.Exif()
    exif[0x0112] = orientation
    turns = {2: 0, 3: 3, 4: 1, 5: 5, 6: 2, 7: 6, 8: 4}  # what undoes each orientation
    stored = upright if orientation == 1 else upright.transpose(Image.Transpose(turns[orientation]))
    content = saved(stored, "PNG", exif=exif)
    assert np.array_equal(decode_image(content), gradient())
    assert image_size(content) == (20, 30)


def test_sixteen_bit_greys_keep_their_range() -> None:
    deep = (gradient()[..., 1].astype(np.uint16)) * 257
    content = saved(Image.fromarray(deep))
    assert np.array_equal(decode_image(content), np.repeat(gradient()[..., 1:2], 3, axis=2))


@pytest.mark.parametrize("ending", [".png", ".tif"])
def test_sixteen_bit_colours_keep_their_range(ending: str) -> None:
    done, content = cv2.imencode(ending, gradient()[..., ::-1].astype(np.uint16) * 257)
    assert done
    assert np.array_equal(decode_image(content.tobytes()), gradient())


@pytest.mark.parametrize("mode", ["1", "L", "LA", "P", "RGB", "RGBA"])
def test_every_png_mode_becomes_rgb(mode: str) -> None:
    picture = Image.fromarray(gradient()).convert(mode)
    decoded = decode_image(saved(picture))
    assert decoded.shape == (20, 30, 3)
    assert np.array_equal(decoded, np.asarray(picture.convert("RGB")))


@pytest.mark.parametrize(
    ("mode", "format"), [("CMYK", "JPEG"), ("F", "TIFF"), ("I", "TIFF"), ("P", "GIF"), ("L", "BMP")]
)
def test_other_formats_and_modes_become_rgb(mode: str, format: str) -> None:
    picture = Image.fromarray(gradient()).convert(mode)
    assert decode_image(saved(picture, format)).shape == (20, 30, 3)


@pytest.mark.parametrize("values", [(0, 255), (0, 1), (0, 100), (0, 127), (0, 128), (3, 250), (0, 2)])
@pytest.mark.parametrize("dtype", [np.uint8, np.uint16])
def test_of_two_values_in_a_mask_the_greater_is_lesion(values: tuple[int, int], dtype: type) -> None:
    mask = gradient()[..., 0] > 60
    content = saved(Image.fromarray(np.where(mask, values[1], values[0]).astype(dtype)))
    assert np.array_equal(decode_mask(content), mask)


@pytest.mark.parametrize("palette", [[0, 0, 0, 128, 0, 0], [0, 0, 0, 0, 0, 0], [0, 0, 0, 255, 255, 255]])
def test_a_palette_mask_tells_lesion_by_its_colours_or_else_by_its_indices(palette: list[int]) -> None:
    mask = gradient()[..., 0] > 60
    picture = Image.fromarray(mask.astype(np.uint8), "P")
    picture.putpalette(palette)
    assert np.array_equal(decode_mask(saved(picture)), mask)


def test_soft_edges_of_a_mask_are_cut_in_the_middle() -> None:
    mask = np.hypot(*(np.mgrid[:200, :200] - 100)) < 60
    drawn = Image.fromarray(mask.view(np.uint8) * np.uint8(255))
    assert (decode_mask(saved(drawn, "JPEG", quality=60)) == mask).mean() > 0.999
    halved = decode_mask(saved(drawn.resize((100, 100), Image.Resampling.BICUBIC)))
    assert (halved == mask[::2, ::2]).mean() > 0.98


@pytest.mark.parametrize("values", [(0, 1, 2), (0, 128, 255), (0, 60, 120), (100, 200, 255), tuple(range(0, 250, 5))])
def test_other_values_in_a_mask_are_refused(values: tuple[int, ...]) -> None:
    bands = np.array(values, np.uint8)[np.arange(200) * len(values) // 200]
    with pytest.raises(MaskValues, match="do not tell lesion from skin; save it with 0 and 255"):
        decode_mask(saved(Image.fromarray(np.tile(bands, (50, 1)))))


def test_transparent_parts_become_black() -> None:
    picture = np.dstack([np.full((4, 4, 3), 200, np.uint8), np.full((4, 4), 255, np.uint8)])
    picture[0, 0, 3] = 0
    decoded = decode_image(saved(Image.fromarray(picture)))
    assert decoded[0, 0].tolist() == [0, 0, 0]
    assert decoded[1, 1].tolist() == [200, 200, 200]


def test_a_palette_with_a_transparent_colour_is_resolved() -> None:
    picture = Image.fromarray(gradient()).quantize(8)
    content = saved(picture, transparency=0)
    decoded = decode_image(content)
    clear = np.asarray(picture) == 0
    assert (decoded[clear] == 0).all()
    assert np.array_equal(decoded[~clear], np.asarray(picture.convert("RGB"))[~clear])


@pytest.mark.parametrize("top", [1, 2, 100, 128, 255])
def test_masks_of_any_two_levels_are_read(top: int) -> None:
    mask = np.zeros((6, 6), np.uint8)
    mask[2:4, 2:4] = top
    expected = mask > 0
    assert np.array_equal(decode_mask(saved(Image.fromarray(mask))), expected)
    colour = Image.fromarray(mask).convert("RGBA")
    assert np.array_equal(decode_mask(saved(colour)), expected)


def bomb(width: int, height: int) -> bytes:
    """A PNG whose header promises far more pixels than its bytes hold."""

    def chunk(kind: bytes, data: bytes) -> bytes:
        return struct.pack(">I", len(data)) + kind + data + struct.pack(">I", zlib.crc32(kind + data))

    header = struct.pack(">IIBBBBB", width, height, 8, 2, 0, 0, 0)
    data = zlib.compress(bytes(1_000_000), 9)
    return b"\x89PNG\r\n\x1a\n" + chunk(b"IHDR", header) + chunk(b"IDAT", data) + chunk(b"IEND", b"")


@pytest.mark.parametrize("sides", [(8000, 8000), (60000, 60000), (2**31 - 1, 2**31 - 1)])
def test_a_huge_picture_is_refused_before_it_is_decoded(sides: tuple[int, int]) -> None:
    for decode in (decode_image, decode_mask, image_size):
        with pytest.raises(BadInput, match=r"big\.png"):
            decode(bomb(*sides), name="big.png")
    with pytest.raises(BadInput, match="pixels"):
        decode_stored(bomb(*sides), "big.png")


def test_the_pixel_limit_is_a_setting() -> None:
    content = encode_png(gradient())
    assert decode_image(content, max_pixels=600).shape == (20, 30, 3)
    with pytest.raises(BadInput, match="30 x 20 pixels, more than the limit of 599;"):
        decode_image(content, max_pixels=599)


def test_a_large_jpeg_may_be_decoded_at_a_fraction() -> None:
    content = saved(Image.fromarray(np.tile(gradient(), (40, 40, 1))), "JPEG")
    whole, part = decode_image(content), decode_image(content, side=100)
    assert whole.shape == (800, 1200, 3)
    assert 100 <= part.shape[0] < 400


SAMPLES = [
    saved(Image.fromarray(gradient()), "PNG"),
    saved(Image.fromarray(gradient()), "JPEG"),
    saved(Image.fromarray(gradient()).convert("P"), "GIF"),
    saved(Image.fromarray(gradient()), "TIFF"),
    saved(Image.fromarray(gradient()), "WEBP"),
    encode_png(gradient(), {"Comment": "x"}),
]


@settings(max_examples=300, deadline=None)
@given(st.sampled_from(SAMPLES), st.data())
def test_damaged_bytes_end_in_a_picture_or_one_sentence(content: bytes, data: st.DataObject) -> None:
    damaged = bytearray(content[: data.draw(st.integers(0, len(content)))])
    for _ in range(data.draw(st.integers(0, 4))):
        if damaged:
            damaged[data.draw(st.integers(0, len(damaged) - 1))] = data.draw(st.integers(0, 255))
    for decode in (decode_image, decode_mask, decode_stored, image_size):
        try:
            decode(bytes(damaged), max_pixels=10_000, name="pair 7")
        except BadInput as error:
            assert "pair 7" in str(error)
            assert "\n" not in str(error)
