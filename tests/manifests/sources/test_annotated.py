"""Outlines of annotation tools become the masks that they mean."""

from __future__ import annotations

import base64
import json
from pathlib import Path

import numpy as np
import pytest

from manifests.errors import BadInput
from manifests.images import decode_mask
from manifests.listing.embedded import embedded_bytes, embedded_path, outlines
from manifests.listing.source import Rejection
from manifests.png import encode_mask
from manifests.prepare.checks import CheckedRow, check_row
from manifests.settings import PrepareSettings
from manifests.sources.recognition import find_source
from tests.manifests.sources.drawn_pairs import COUNT, DX, PAIRS, pictures
from tests.manifests.sources.source_layouts import read
from tests.manifests.sources.tool_layouts import coco, cvat, labelme, yolo


@pytest.mark.parametrize("write", [cvat, coco, labelme, yolo])
def test_an_outline_becomes_the_mask_that_it_was_drawn_around(write, tmp_path: Path) -> None:
    write(tmp_path)
    rows = sorted(read(tmp_path).rows, key=lambda row: row.image)
    assert [row.dx for row in rows] == DX and len(rows) == COUNT
    for row, pair in zip(rows, PAIRS, strict=True):
        found = decode_mask(embedded_bytes(row.mask), 1 << 20, row.mask)
        assert 2 * (found & pair.mask).sum() / (found.sum() + pair.mask.sum()) > 0.97


def shapes_of(tmp_path: Path, inside: str) -> np.ndarray:
    (tmp_path / "a.xml").write_text(
        f'<annotations><image name="a.png" width="20" height="10">{inside}</image></annotations>'
    )
    return outlines(tmp_path / "a.xml")[0].mask("lesion")


def test_cvats_ellipses_brushed_masks_and_several_shapes_are_drawn(tmp_path: Path) -> None:
    round_one = shapes_of(tmp_path, '<ellipse label="lesion" cx="10" cy="5" rx="6" ry="3" rotation="0"/>')
    assert round_one[5, 4:17].all() and round_one[2:9, 10].all() and not round_one[:, :4].any()
    (tmp_path / "b").mkdir()
    brushed = '<mask label="lesion" rle="1,2,3" left="2" top="1" width="3" height="2"/>'
    more = '<polygon label="lesion" points="10,2;14,2;14,6;10,6"/><polygon label="hair" points="0,0;9,0;9,9"/>'
    found = shapes_of(tmp_path / "b", brushed + more)
    expected = np.zeros((10, 20), bool)
    expected[1, 3:5] = expected[2:7, 10:15] = True
    assert np.array_equal(found, expected)


def test_cocos_compressed_run_lengths_are_unpacked(tmp_path: Path) -> None:
    # Columns of three: one 0, two 1, one 0, three 1, five 0, as COCO's own tool writes them.
    segmentation = {"size": [3, 4], "counts": "12114"}
    document = {
        "images": [{"id": 7, "file_name": "a.png", "width": 4, "height": 3}],
        "annotations": [{"image_id": 7, "category_id": 1, "segmentation": segmentation}],
        "categories": [{"id": 1, "name": "lesion"}],
    }
    (tmp_path / "a.json").write_text(json.dumps(document))
    found = outlines(tmp_path / "a.json")[0].mask("lesion").T.ravel()
    assert found.astype(int).tolist() == [0, 1, 1, 0, 1, 1, 1, 0, 0, 0, 0, 0]


def test_a_table_beside_outlines_of_one_label_tells_the_classes(tmp_path: Path) -> None:
    labelme(tmp_path)
    for path in tmp_path.glob("*.json"):
        path.write_text(path.read_text().replace('"mel"', '"lesion"').replace('"nv"', '"lesion"'))
    lines = "".join(f"p{n}.jpg,{DX[n]},case{n // 2}\n" for n in range(COUNT))
    (tmp_path / "cases.csv").write_text(f"image,diagnosis,patient\n{lines}")
    rows = sorted(read(tmp_path).rows, key=lambda row: row.image)
    assert [row.dx for row in rows] == DX and all(row.mask for row in rows) and len({row.group for row in rows}) == 4


def test_labelmes_circles_brushed_masks_and_flags_are_read(tmp_path: Path) -> None:
    inside = np.full((4, 6), 255, np.uint8)
    shapes = [
        {"label": "mel", "points": [[20, 20], [20, 30]], "shape_type": "circle"},
        {"label": "mel", "points": [[2, 3], [7, 6]], "shape_type": "mask", "mask": encoded(inside)},
    ]
    document = {"shapes": shapes, "imagePath": "a.png", "imageWidth": 48, "imageHeight": 40, "flags": {"nv": True}}
    (tmp_path / "a.json").write_text(json.dumps(document))
    (one,) = outlines(tmp_path / "a.json")
    found = one.mask("mel")
    assert one.label == "nv" and found[11:30, 20].all() and not found[32:].any()
    assert found[3:7, 2:8].all() and not found[:3, :8].any()


def encoded(mask: np.ndarray) -> str:
    return base64.b64encode(encode_mask(mask > 0)).decode()


def test_boxes_give_a_class_and_no_mask_and_labels_without_their_picture_are_told(tmp_path: Path) -> None:
    pictures(tmp_path / "images", ["0.png", "1.png", "2.png"])
    (tmp_path / "labels").mkdir()
    lines = {"0": "1 .5 .5 .2 .2\n1 .2 .2 .1 .1", "1": "0 .5 .5 .2 .2", "2": "", "9": "0 .5 .5 .2 .2"}
    for name, text in lines.items():
        (tmp_path / f"labels/{name}.txt").write_text(text)
    (tmp_path / "classes.txt").write_text("mel\nnv\n")
    listing = read(tmp_path)
    rows = sorted(listing.rows, key=lambda row: row.image)
    assert [(row.dx, row.mask) for row in rows] == [("nv", None), ("mel", None), (None, None)]
    assert [(rejection.check, rejection.pair_id) for rejection in listing.rejected] == [("missing", "annotated:9")]


def test_one_label_is_no_class_and_a_picture_that_is_not_there_is_told(tmp_path: Path) -> None:
    pictures(tmp_path, ["0.png", "1.png"])
    entry = '<image name="{}.png" width="48" height="48"><polygon label="lesion" points="9,9;30,9;30,30"/></image>'
    (tmp_path / "a.xml").write_text(f"<annotations>{entry.format(0)}{entry.format(5)}</annotations>")
    listing = read(tmp_path)
    assert [(row.dx, row.mask is not None) for row in listing.rows] == [(None, True), (None, False)]
    assert [(rejection.check, "5.png" in rejection.reason) for rejection in listing.rejected] == [("missing", True)]


def labelme_of(**shape: object) -> str:
    document = {"shapes": [{"label": 7, **shape}], "imagePath": "a.png", "imageWidth": 48, "imageHeight": 48}
    return json.dumps(document)


@pytest.mark.parametrize(
    "content",
    [
        "<annotations><image name='a.png' width='x' height='4'/></annotations>",
        "<annotations><image",
        "<annotations><image name='a' width='9' height='9'><polygon points='1;2' label='a'/></image></annotations>",
        labelme_of(shape_type="circle", points=[[9, 9]]),
        labelme_of(shape_type="mask", points=[[9, 9]], mask=base64.b64encode(b"\x89PNG cut").decode()),
        labelme_of(shape_type="mask", points=[], mask=base64.b64encode(encode_mask(np.eye(9) > 0)).decode()),
    ],
)
def test_damaged_annotations_are_one_sentence(content: str, tmp_path: Path) -> None:
    pictures(tmp_path, ["a.png"])
    (tmp_path / ("a.xml" if content.startswith("<") else "a.json")).write_text(content)
    with pytest.raises(BadInput, match=r"a\.(xml|json): cannot be read as annotations .*; export them again"):
        read(tmp_path)


def test_a_label_that_is_a_number_is_read_as_its_name(tmp_path: Path) -> None:
    pictures(tmp_path, ["a.png"])
    (tmp_path / "a.json").write_text(labelme_of(points=[[9, 9], [30, 9], [30, 30]]))
    assert [row.mask is not None for row in read(tmp_path).rows] == [True]


@pytest.mark.parametrize(
    ("size", "shape"),
    [
        ('width="0" height="48"', '<polygon label="mel" points="9,9;30,9;30,30"/>'),
        ('width="48" height="48"', '<mask label="mel" rle="1,2,3" left="49" top="1" width="3" height="2"/>'),
    ],
)
def test_outlines_that_fit_no_picture_set_it_aside_and_no_other(size: str, shape: str, tmp_path: Path) -> None:
    pictures(tmp_path, ["0.png", "1.png"])
    other = '<polygon label="nv" points="9,9;30,9;30,30"/>'
    images = (
        f'<image name="0.png" {size}>{shape}{other}</image><image name="1.png" width="48" height="48">{other}</image>'
    )
    (tmp_path / "a.xml").write_text(f"<annotations>{images}</annotations>")
    bad, good = (check_row(row, row.image_id, True, PrepareSettings(size=48)) for row in read(tmp_path).rows)
    assert isinstance(bad, Rejection) and "export them again" in bad.reason and isinstance(good, CheckedRow)


def test_a_mask_outside_of_the_annotations_is_an_error_that_prepare_tells(tmp_path: Path) -> None:
    cvat(tmp_path)
    for number, file in ((99, tmp_path / "annotations.xml"), (0, tmp_path / "gone.xml")):
        with pytest.raises(OSError, match="damaged"):
            embedded_bytes(embedded_path(file, "mel", number))
    assert find_source(tmp_path)[0].name == "annotated"
