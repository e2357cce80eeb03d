"""strict: whatever prepare sets aside, for each of its reasons, becomes an error, and nothing is written."""

from __future__ import annotations

import shutil
from collections.abc import Callable
from pathlib import Path

import numpy as np
import pytest
from PIL import Image

from manifests.errors import BadInput
from manifests.format.shards import DISCLAIMER
from manifests.phantom.draw import draw_pair, write_csv, write_image, write_mask, write_phantom
from manifests.png import encode_png
from manifests.prepare.prepare import prepare
from manifests.settings import PrepareSettings
from tests.manifests.sources.phantom_layouts import rephotographed

COLUMNS = ("id", "image", "mask", "class", "split", "group")
Row = dict[str, str]
PAIRS = [draw_pair("nv" if number % 2 else "mel", 8, number, 64) for number in range(10)]


def image_of(folder: Path, rows: list[Row]) -> Path:
    return folder / rows[0]["image"]


def mask_of(folder: Path, rows: list[Row]) -> Path:
    return folder / rows[0]["mask"]


def turned(folder: Path, rows: list[Row]) -> None:
    exif = Image.Exif()
    exif[0x0112] = 3
    Image.fromarray(PAIRS[0].image).save(image_of(folder, rows), exif=exif)


def grey_mask(folder: Path, rows: list[Row]) -> None:
    shutil.copy(image_of(folder, rows), mask_of(folder, rows))


def framed(folder: Path, rows: list[Row]) -> None:
    write_mask(mask_of(folder, rows), ~np.pad(np.ones((30, 30), bool), 17))


def synthetic(folder: Path, rows: list[Row]) -> None:
    image_of(folder, rows).write_bytes(encode_png(PAIRS[0].image, {"Disclaimer": DISCLAIMER}))


def same_image(folder: Path, rows: list[Row]) -> None:
    shutil.copy(folder / rows[2]["image"], image_of(folder, rows))


# What spoils a clean table of ten pairs, by the check that it must end in.
SPOILT: dict[str, Callable[[Path, list[Row]], object]] = {
    "missing image": lambda folder, rows: image_of(folder, rows).unlink(),
    "missing mask": lambda folder, rows: rows[0].update(mask=""),
    "missing class": lambda folder, rows: rows[0].update({"class": ""}),
    "outside": lambda folder, rows: rows[0].update(image="../one.png"),
    "duplicate id": lambda folder, rows: rows[0].update(id=rows[2]["id"]),
    "label conflict": lambda folder, rows: rows[0].update(id=rows[1]["id"]),
    "bad id": lambda folder, rows: rows[0].update(id="x" * 300),
    "synthetic": synthetic,
    "unreadable image": lambda folder, rows: image_of(folder, rows).write_bytes(b"no picture"),
    "too small": lambda folder, rows: write_image(image_of(folder, rows), PAIRS[0].image[:20, :20]),
    "unreadable mask": lambda folder, rows: mask_of(folder, rows).write_bytes(b"no picture"),
    "mask size": lambda folder, rows: write_mask(mask_of(folder, rows), np.eye(32, 48, dtype=bool)),
    "mask values": grey_mask,
    "mask orientation": turned,
    "empty mask": lambda folder, rows: write_mask(mask_of(folder, rows), np.zeros((64, 64), bool)),
    "full mask": lambda folder, rows: write_mask(mask_of(folder, rows), np.ones((64, 64), bool)),
    "inverted mask": framed,
    "exact duplicate": same_image,
    "no split": lambda folder, rows: rows[0].update(split=""),
    "split leak": lambda folder, rows: rows[0].update(group=rows[1]["group"]),
}
SMALL = PrepareSettings(size=48, task="pairs", duplicates=False)
STRICT = PrepareSettings(size=48, task="pairs", duplicates=False, strict=True)


@pytest.mark.parametrize("check", sorted(SPOILT))
def test_every_check_is_an_error(check: str, tmp_path: Path) -> None:
    data, rows = tmp_path / "data", []
    for number, pair in enumerate(PAIRS):
        write_image(data / "images" / f"{number}.png", pair.image)
        write_mask(data / "masks" / f"{number}.png", pair.mask)
        split = ("train", "validation", "test")[number % 3]
        files = (f"images/{number}.png", f"masks/{number}.png")
        values = (f"p{number}", *files, pair.dx, split, f"g{number}")
        rows.append(dict(zip(COLUMNS, values, strict=True)))
    SPOILT[check](data, rows)
    write_csv(data / "pairs.csv", COLUMNS, [[row[name] for name in COLUMNS] for row in rows])
    found = prepare(data, tmp_path / "m", SMALL)
    assert set(found.rejected_counts) == {check}
    with pytest.raises(BadInput, match=f"strict: [12] rows would be set aside, the first for {check}: "):
        prepare(data, tmp_path / "strict", STRICT)
    assert not (tmp_path / "strict" / "manifest.json").exists()


def _alone(folder: Path) -> None:
    write_mask(folder / "ISIC-2017_Training_Part1_GroundTruth" / "ISIC_9_segmentation.png", np.eye(64, dtype=bool))


def _unread(folder: Path) -> None:
    (folder / "ISIC-2017_Training_Data" / "ISIC_9.heic").write_bytes(b"photo")


@pytest.mark.parametrize(("check", "spoil"), [("mask alone", _alone), ("unsupported ending", _unread)])
def test_what_a_folder_holds_beyond_its_rows_is_an_error(
    check: str, spoil: Callable[[Path], None], tmp_path: Path
) -> None:
    write_phantom(tmp_path / "data", 12, 0, size=64)
    prepare(tmp_path / "data", tmp_path / "clean", STRICT)
    spoil(tmp_path / "data")
    with pytest.raises(BadInput, match=f"strict: 1 rows would be set aside, the first for {check}: "):
        prepare(tmp_path / "data", tmp_path / "strict", STRICT)


def test_near_duplicates_with_different_classes_are_an_error(tmp_path: Path) -> None:
    pair = draw_pair("mel", 77, 1, 128)
    again = rephotographed(pair, 3)
    for dx, image, mask in (("mel", pair.image, pair.mask), ("nv", again.image, again.mask)):
        write_image(tmp_path / "d" / dx / "a.png", image)
        write_mask(tmp_path / "d" / "masks" / dx / "a.png", mask)
    assert prepare(tmp_path / "d", tmp_path / "m", PrepareSettings(size=128)).rejected == ()
    with pytest.raises(BadInput, match="strict: 1 near-duplicates have different classes"):
        prepare(tmp_path / "d", tmp_path / "n", PrepareSettings(size=128, strict=True))
