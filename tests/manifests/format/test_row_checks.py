"""What prepare checks in each row: a spoilt one is set aside with its reason, an unusual one is read."""

from __future__ import annotations

import csv
import io
from pathlib import Path

import cv2
import numpy as np
import pytest
from PIL import Image

from manifests.format.reading import open_manifest
from manifests.format.shards import DISCLAIMER
from manifests.listing.source import Rejection, rejected_csv
from manifests.phantom.draw import draw_pair, write_csv, write_image, write_mask, write_phantom
from manifests.png import encode_png
from manifests.prepare.prepare import prepare
from manifests.settings import PrepareSettings

SMALL = PrepareSettings(size=48)
TRAIN, TRAIN_MASKS = "ISIC-2017_Training_Data", "ISIC-2017_Training_Part1_GroundTruth"
TRUTH = "ISIC-2017_Training_Part3_GroundTruth.csv"


@pytest.fixture()
def isic(tmp_path: Path) -> Path:
    """18 pairs of 64 px in the ISIC 2017 layout, to be spoilt."""
    write_phantom(tmp_path / "isic", 18, 0, size=64)
    return tmp_path / "isic"


def _train_ids(folder: Path) -> list[str]:
    return sorted(p.stem for p in (folder / TRAIN).iterdir())


def _rejected(out: Path) -> list[dict[str, str]]:
    return list(csv.DictReader(io.StringIO((out / "rejected.csv").read_text(encoding="utf-8"))))


def _add(folder: Path, split: str, name: str, image: np.ndarray, mask: np.ndarray, flags: tuple[str, str]) -> None:
    stem = f"ISIC-2017_{split}"
    write_image(folder / f"{stem}_Data" / f"{name}.png", image)
    write_mask(folder / f"{stem}_Part1_GroundTruth" / f"{name}_segmentation.png", mask)
    with (folder / f"{stem}_Part3_GroundTruth.csv").open("a") as file:
        file.write(f"{name},{','.join(flags)}\n")


def test_every_spoilt_row_is_set_aside_with_its_reason(isic: Path, tmp_path: Path) -> None:
    ids = _train_ids(isic)
    masks = {i: isic / TRAIN_MASKS / f"{ids[i]}_segmentation.png" for i in range(8)}
    (isic / TRAIN / f"{ids[0]}.jpg").write_bytes(b"no picture")
    (isic / TRAIN / f"{ids[1]}.jpg").write_bytes((isic / TRAIN / f"{ids[1]}.jpg").read_bytes()[:300])
    write_mask(masks[2], np.ones((32, 48), bool))
    write_mask(masks[3], np.zeros((64, 64), bool))
    write_mask(masks[4], np.ones((64, 64), bool))
    masks[5].unlink()
    masks[6].write_bytes(b"")
    whole = ~np.pad(np.ones((30, 30), bool), 17)
    write_mask(masks[7], whole)
    summary = prepare(isic, tmp_path / "m", SMALL)
    checks = {row["pair_id"].split(":")[1]: (row["check"], row["reason"]) for row in _rejected(tmp_path / "m")}
    assert {name: check for name, (check, _) in checks.items()} == {
        ids[0]: "unreadable image",
        ids[1]: "unreadable image",
        ids[2]: "mask size",
        ids[3]: "empty mask",
        ids[4]: "full mask",
        ids[6]: "unreadable mask",
        ids[7]: "inverted mask",
    }
    assert "has 48 x 32 pixels but its image 64 x 64" in checks[ids[2]][1]
    assert sum(sum(of.values()) for of in summary.counts.values()) == 18 - 7, "a picture without a mask stays"
    assert summary.rejected_counts["unreadable image"] == 2
    assert "| unreadable image | 2 |" in (tmp_path / "m" / "summary.md").read_text()


def test_the_same_image_twice_is_kept_once_and_contradicting_copies_not_at_all(isic: Path, tmp_path: Path) -> None:
    ids = _train_ids(isic)
    labels = dict(line.split(",", 1) for line in (isic / TRUTH).read_text().split("\n")[1:] if line)
    pictures = [(draw_pair("nv", 5, i, 64).image, draw_pair("nv", 5, i, 64).mask) for i in range(2)]
    _add(isic, "Training", "ISIC_2000001", *pictures[0], ("0", "0"))
    _add(isic, "Training", "ISIC_2000002", *pictures[0], ("0", "0"))
    _add(isic, "Training", "ISIC_2000003", *pictures[1], ("0", "0"))
    _add(isic, "Training", "ISIC_2000004", *pictures[1], ("1", "0"))
    summary = prepare(isic, tmp_path / "m", SMALL)
    checks = {row.pair_id.split(":")[1]: row.check for row in summary.rejected}
    assert checks == {
        "ISIC_2000002": "exact duplicate",
        "ISIC_2000003": "label conflict",
        "ISIC_2000004": "label conflict",
    }
    assert len(labels) == len(ids)


@pytest.mark.parametrize(
    ("mode", "extra"),
    [("L", {}), ("RGBA", {}), ("P", {}), ("I;16", {}), ("1", {}), ("CMYK", {}), ("LA", {})],
)
def test_images_of_any_kind_become_rgb(mode: str, extra: dict[str, int], tmp_path: Path) -> None:
    pair = draw_pair("nv", 1, 1, 64)
    picture = Image.fromarray(pair.image)
    if mode == "I;16":
        picture = Image.fromarray(pair.image[..., 0].astype(np.uint16) * 257)
    else:
        picture = picture.convert("L").convert("LA") if mode == "LA" else picture.convert(mode)
    folder = tmp_path / "d" / "nv"
    folder.mkdir(parents=True)
    picture.save(folder / ("a.TIF" if mode == "CMYK" else "a.PNG"))
    prepare(tmp_path / "d", tmp_path / "m", SMALL)
    assert open_manifest(tmp_path / "m").arrays().images.shape == (1, 48, 48, 3)


def test_a_turned_photograph_is_turned_upright(tmp_path: Path) -> None:
    image = np.zeros((64, 64, 3), np.uint8)
    image[:16] = 255
    (tmp_path / "d" / "nv").mkdir(parents=True)
    exif = Image.Exif()
    exif[0x0112] = 6  # turn by 90 degrees clockwise to see it upright
    Image.fromarray(image).save(tmp_path / "d" / "nv" / "a.jpg", exif=exif, quality=95)
    prepare(tmp_path / "d", tmp_path / "m", PrepareSettings(size=64))
    upright = open_manifest(tmp_path / "m").arrays().images[0]
    assert upright[:, -8:].mean() > 240 and upright[:, :40].mean() < 15


def _turned_pair(folder: Path, height: int, width: int, orientation: int, mask_is_upright: bool) -> None:
    """A lesion off the middle, its image stored turned, its mask stored upright or as the image is, without EXIF."""
    mask = np.zeros((height, width), bool)
    mask[10:30, 12:26] = True
    image = np.where(mask[..., None], 60, 200).astype(np.uint8).repeat(3, 2)
    undone = Image.Transpose({3: 3, 6: 2}[orientation])
    exif = Image.Exif()
    exif[0x0112] = orientation
    (folder / "nv").mkdir(parents=True)
    Image.fromarray(image).transpose(undone).save(folder / "nv" / "a.jpg", exif=exif, quality=95)
    drawn = mask if mask_is_upright else np.asarray(Image.fromarray(mask).transpose(undone))
    write_mask(folder / "masks" / "nv" / "a.png", drawn)


@pytest.mark.parametrize(("orientation", "size"), [(3, (64, 96)), (3, (64, 64)), (6, (64, 64)), (6, (64, 96))])
@pytest.mark.parametrize("mask_is_upright", [True, False])
def test_a_mask_that_exif_does_not_turn_with_its_image_is_set_aside_where_nothing_tells_how_it_lies(
    orientation: int, size: tuple[int, int], mask_is_upright: bool, tmp_path: Path
) -> None:
    _turned_pair(tmp_path / "d", *size, orientation, mask_is_upright)
    write_image(tmp_path / "d" / "nv" / "b.png", draw_pair("nv", 1, 1, 64).image)
    write_mask(tmp_path / "d" / "masks" / "nv" / "b.png", draw_pair("nv", 1, 1, 64).mask)
    summary = prepare(tmp_path / "d", tmp_path / "m", PrepareSettings(size=64))
    if orientation == 6 and size == (64, 96) and mask_is_upright:
        assert summary.rejected == ()
        arrays = open_manifest(tmp_path / "m").arrays()
        at = arrays.pair_ids.index("folders:nv/a")
        dark = arrays.images[at].mean(2) < 130
        assert (dark == arrays.masks[at]).mean() > 0.98
    else:
        assert [(row.pair_id, row.check) for row in summary.rejected] == [("folders:nv/a", "mask orientation")]
        assert f"(orientation {orientation})" in summary.rejected[0].reason


def test_masks_without_an_image_and_endings_that_are_not_read_are_listed(isic: Path, tmp_path: Path) -> None:
    first, second = _train_ids(isic)[:2]
    write_mask(isic / TRAIN_MASKS / "ISIC_7777777_segmentation.png", np.ones((64, 64), bool))
    (isic / TRAIN / f"{first}.jpg").rename(isic / TRAIN / f"{first}.GIF")
    (isic / TRAIN_MASKS / f"{second}_segmentation.png").rename(isic / TRAIN_MASKS / f"{second}_segmentation.dcm")
    checks = {(r.pair_id.split(":")[1], r.check) for r in prepare(isic, tmp_path / "m", SMALL).rejected}
    assert checks == {
        ("ISIC_7777777", "mask alone"),
        (first, "unsupported ending"),
        (f"{second}_segmentation", "unsupported ending"),
    }


def test_masks_without_an_image_are_listed_in_class_folders(tmp_path: Path) -> None:
    for dx in ("nv", "mel"):
        for number in range(3):
            pair = draw_pair(dx, 4, number, 48)
            write_image(tmp_path / "d" / dx / f"{dx}{number}.png", pair.image)
            write_mask(tmp_path / "d" / "masks" / f"{dx}{number}.png", pair.mask)
    write_mask(tmp_path / "d" / "masks" / "none.png", np.ones((48, 48), bool))
    write_mask(tmp_path / "d" / "masks" / "bcc" / "other.png", np.ones((48, 48), bool))
    write_image(tmp_path / "d" / "masks" / "drawn.bmp", np.ones((48, 48), np.uint8))
    (tmp_path / "d" / "masks" / "drawn.bmp").rename(tmp_path / "d" / "masks" / "drawn.svg")
    rejected = prepare(tmp_path / "d", tmp_path / "m", SMALL).rejected
    assert sorted((row.pair_id, row.check) for row in rejected) == [
        ("folders:bcc/other", "mask alone"),
        ("folders:drawn", "unsupported ending"),
        ("folders:none", "mask alone"),
    ]


def test_large_pictures_are_refused_by_a_limit_that_can_be_set(isic: Path, tmp_path: Path) -> None:
    big = np.full((300, 300, 3), 128, np.uint8)
    cv2.circle(big, (150, 150), 60, (40, 40, 90), -1)
    path = isic / TRAIN / f"{_train_ids(isic)[0]}.jpg"
    write_image(path, big)
    write_mask(isic / TRAIN_MASKS / f"{path.stem}_segmentation.png", big[..., 0] < 100)
    limited = prepare(isic, tmp_path / "m", PrepareSettings(size=48, max_pixels=64 * 64))
    assert "300 x 300 pixels, more than the limit of 4096" in limited.rejected[0].reason
    assert not prepare(isic, tmp_path / "m", SMALL).rejected


def test_a_generated_picture_is_not_taken_for_a_photograph(isic: Path, tmp_path: Path) -> None:
    name = _train_ids(isic)[0]
    picture = encode_png(draw_pair("nv", 1, 1, 64).image, {"Disclaimer": DISCLAIMER})
    (isic / TRAIN / f"{name}.jpg").write_bytes(picture)
    summary = prepare(isic, tmp_path / "m", SMALL)
    assert [(row.pair_id, row.check) for row in summary.rejected] == [(f"isic2017:{name}", "synthetic")]


def test_rejected_rows_cannot_run_in_a_spreadsheet() -> None:
    formulas = ["=cmd|' /C calc'!A0", "+1+1", "-2", "@SUM(A1)", "\t=1", " =1", "a\n=1", "\x00=1"]
    content = rejected_csv(Rejection(text, text, text, text) for text in formulas)
    for row in list(csv.reader(io.StringIO(content.decode())))[1:]:
        assert not any(cell.lstrip()[:1] in "=+-@|%" for cell in row)


def test_contradicting_labels_under_one_id_are_both_set_aside(tmp_path: Path) -> None:
    rows = []
    for number, (name, dx) in enumerate((("a", "nv"), ("a", "mel"), ("b", "nv"), ("b", "nv"), ("c", "mel"))):
        write_image(tmp_path / "d" / f"{number}.png", draw_pair("nv", 3, number, 48).image)
        rows.append((name, f"{number}.png", dx))
    write_csv(tmp_path / "d" / "t.csv", ("id", "image", "class"), rows)
    summary = prepare(tmp_path / "d", tmp_path / "m", SMALL)
    assert [(row.pair_id, row.check) for row in summary.rejected] == [
        ("table:a", "label conflict"),
        ("table:a", "label conflict"),
        ("table:b", "duplicate id"),
    ]
    assert "mel and nv" in summary.rejected[0].reason
    kept = open_manifest(tmp_path / "m").table(["pair_id"])["pair_id"].to_pylist()
    assert kept == ["table:b", "table:c"]


def test_a_table_with_dangerous_names_is_prepared_without_harm(tmp_path: Path) -> None:
    rows = []
    for number, name in enumerate(("=1+1", "a b", "ü", "x" * 90)):
        write_image(tmp_path / "d" / f"{number}.png", draw_pair("nv", 3, number, 48).image)
        rows.append((name, f"{number}.png", "nv"))
    write_csv(tmp_path / "d" / "t.csv", ("id", "image", "class"), rows)
    summary = prepare(tmp_path / "d", tmp_path / "m", SMALL)
    assert summary.task == "classification" and sum(summary.counts["train"].values()) >= 1
    assert "table:=1+1" in open_manifest(tmp_path / "m").table(["pair_id"])["pair_id"].to_pylist()
