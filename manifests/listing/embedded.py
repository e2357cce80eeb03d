"""Pictures inside Arrow and Parquet files, and outlines that annotators drew, as files of their own would be read.

Each has a path: FILE::COLUMN::ROW, or FILE::LABEL::NUMBER for the mask of a label in a file of outlines (CVAT's XML for
images 1.1, COCO's instance JSON, labelme's JSON and YOLO's text of one picture).
"""

from __future__ import annotations

import base64
import json
import math
import os
import re
from collections import defaultdict
from collections.abc import Callable, Iterator, Mapping
from dataclasses import dataclass
from functools import lru_cache
from pathlib import Path
from typing import Any
from xml.etree import ElementTree

import cv2
import numpy as np

from manifests.errors import BadInput
from manifests.images import decode_mask, image_size
from manifests.listing.csv_table import check_regular
from manifests.listing.source import IMAGE_ENDINGS
from manifests.png import encode_mask

MARK = "::"
OUTLINE_ENDINGS = (".xml", ".json", ".txt")
_LARGEST = 1 << 14  # sides of pictures that annotation tools open
_YOLO_LINE = re.compile(r"\d+(?:[ \t]+(?:[01]|[01]?\.\d+|\d(?:\.\d+)?e-\d+)){4,}\s*$")
# Draws a shape into a mask, uint8 (H, W).
Shape = Callable[[np.ndarray], object]


def embedded_path(file: Path, column: str, row: int) -> str:
    """The path under which a picture of a file is read."""
    return f"{file}{MARK}{column}{MARK}{row}"


def embedded_bytes(path: str) -> bytes | None:
    """The picture at such a path; None for a path that is none. Raises OSError where the file cannot be read."""
    file, mark, place = path.partition(MARK)
    column, _, row = place.rpartition(MARK)
    if not mark or not row.isdigit():
        return None
    if Path(file).suffix.lower() in OUTLINE_ENDINGS:
        return mask_of(Path(file), column, int(row))
    import pyarrow as pa

    try:
        cell = opened_table(Path(file))[column][int(row)].as_py()
    except (pa.ArrowException, KeyError, IndexError, UnicodeDecodeError) as error:
        raise OSError(0, f"damaged: {error}") from None
    content: bytes = (cell or {}).get("bytes") or b""
    if not content and (cell or {}).get("path"):
        raise OSError(0, "holds the name of a file and not the picture: save it again with the pictures inside")
    return content


@lru_cache(maxsize=2)
def opened_table(file: Path) -> Any:
    """The table of an Arrow or Parquet file, mapped into memory where its form allows."""
    import pyarrow as pa
    import pyarrow.parquet as pq

    if file.suffix == ".parquet":
        return pq.read_table(file, memory_map=True)
    source = pa.memory_map(str(file))
    try:
        return pa.ipc.open_stream(source).read_all()
    except pa.ArrowInvalid:
        return pa.ipc.open_file(source).read_all()


def picture_columns(schema: Any) -> list[str]:
    """The columns of an Arrow schema that hold pictures as bytes and path."""
    import pyarrow as pa

    return [f.name for f in schema if pa.types.is_struct(f.type) and {"bytes", "path"} <= {c.name for c in f.type}]


@dataclass(frozen=True)
class Outlined:
    """One picture of an annotation file: its name there, its size, the shapes of each label, and its own label."""

    name: str
    width: int
    height: int
    shapes: Mapping[str, tuple[Shape, ...]]
    label: str | None = None

    def mask(self, label: str) -> np.ndarray:
        """What the shapes of a label cover: bool (H, W). Raises OSError where they fit no picture."""
        if not (0 < self.width <= _LARGEST and 0 < self.height <= _LARGEST):
            raise OSError(0, f"has the size {self.width} x {self.height} in its annotations: export them again")
        mask = np.zeros((self.height, self.width), np.uint8)
        try:
            for draw in self.shapes.get(label, ()):
                draw(mask)
        except (ValueError, cv2.error):
            raise OSError(0, "has outlines that do not fit its size: export them again") from None
        return mask > 0


def mask_of(file: Path, label: str, number: int) -> bytes:
    """The mask of a label in picture `number` of an annotation file as PNG. Raises OSError where there is none."""
    try:
        outlined = outlines(file)[number]
    except (BadInput, IndexError) as error:
        raise OSError(0, f"damaged: {error}") from None
    return encode_mask(outlined.mask(label))


@lru_cache(maxsize=2)
def outlines(file: Path) -> tuple[Outlined, ...]:
    """The pictures of an annotation file in its order. BadInput if it is none that can be read."""
    check_regular(file)
    try:
        if file.suffix.lower() == ".xml":
            return tuple(_of_cvat(ElementTree.parse(file).getroot()))
        if file.suffix.lower() == ".txt":
            return (_of_yolo(file),)
        document = json.loads(file.read_text(encoding="utf-8-sig"))
        return (_of_labelme(document),) if "shapes" in document else tuple(_of_coco(document))
    except (BadInput, OSError, ValueError, LookupError, TypeError, AttributeError, ElementTree.ParseError) as error:
        told = f"{type(error).__name__}: {error}"[:160]
        raise BadInput(f"{file}: cannot be read as annotations ({told}); export them again") from None


def holds_outlines(file: Path) -> bool:
    """Whether a file is one of these, by what it begins with or names."""
    if not file.is_file():  # a pipe would wait forever
        return False
    try:
        if file.suffix.lower() == ".xml":
            with file.open("rb") as stream:
                return b"<annotations" in stream.read(4096)
        if file.suffix.lower() == ".txt":
            with file.open(encoding="utf-8-sig") as stream:
                return _YOLO_LINE.match(stream.readline(1 << 16)) is not None
        found = json.loads(file.read_text(encoding="utf-8-sig"))
    except (OSError, ValueError):
        return False
    keys = ({"images", "annotations", "categories"}, {"shapes", "imagePath"})
    return isinstance(found, dict) and any(named <= found.keys() for named in keys)


def _of_cvat(root: Any) -> Iterator[Outlined]:
    for image in root.iter("image"):
        shapes: dict[str, list[Shape]] = defaultdict(list)
        for element in image:
            if draw := _cvat_shape(element):
                shapes[element.get("label", "")].append(draw)
        tag = image.find("tag")
        size = image.get("width"), image.get("height")
        yield _outlined(image.get("name"), *size, shapes, None if tag is None else tag.get("label"))


def _outlined(name: Any, width: Any, height: Any, shapes: Mapping[str, list[Shape]], label: str | None) -> Outlined:
    kept = {name: tuple(drawn) for name, drawn in shapes.items() if drawn}
    return Outlined(str(name), int(width), int(height), kept, label)


def _cvat_shape(element: Any) -> Shape | None:
    """A polygon, an ellipse or a brushed mask; boxes and points outline nothing."""
    if element.tag == "polygon":
        return _polygon([[float(value) for value in point.split(",")] for point in element.get("points").split(";")])
    if element.tag == "ellipse":
        middle_x, middle_y, radius_x, radius_y = (float(element.get(name)) for name in ("cx", "cy", "rx", "ry"))
        return _ellipse(middle_x, middle_y, radius_x, radius_y, math.radians(float(element.get("rotation", 0))))
    if element.tag == "mask":
        counts = [int(count) for count in element.get("rle").split(",")]
        left, top, width, height = (int(element.get(name)) for name in ("left", "top", "width", "height"))
        return _brushed(_run_lengths(counts, width * height).reshape(height, width), left, top)
    return None


def _brushed(inside: np.ndarray, left: int, top: int) -> Shape:
    height, width = inside.shape

    def draw(mask: np.ndarray) -> None:
        mask[top : top + height, left : left + width] |= inside[: mask.shape[0] - top, : mask.shape[1] - left]

    return draw


def _of_coco(document: Mapping[str, Any]) -> Iterator[Outlined]:
    labels = {category["id"]: str(category["name"]) for category in document["categories"]}
    by_image: dict[Any, dict[str, list[Shape]]] = defaultdict(lambda: defaultdict(list))
    for annotation in document["annotations"]:
        shapes = by_image[annotation["image_id"]][labels[annotation["category_id"]]]
        segmentation = annotation.get("segmentation") or []
        if isinstance(segmentation, dict):
            shapes.append(_coco_run_lengths(segmentation))
        else:
            shapes += [_polygon(np.reshape(polygon, (-1, 2))) for polygon in segmentation]
    for image in document["images"]:
        yield _outlined(image["file_name"], image["width"], image["height"], by_image[image["id"]], None)


def _of_labelme(document: Mapping[str, Any]) -> Outlined:
    """Polygons, circles and brushed masks; a flag that is set is the picture's own label."""
    shapes: dict[str, list[Shape]] = defaultdict(list)
    for shape in document["shapes"]:
        if draw := _labelme_shape(shape):
            shapes[str(shape["label"])].append(draw)
    flags = [name for name, is_set in (document.get("flags") or {}).items() if is_set]
    size = document["imageWidth"], document["imageHeight"]
    return _outlined(document["imagePath"], *size, shapes, flags[0] if len(flags) == 1 else None)


def _labelme_shape(shape: Mapping[str, Any]) -> Shape | None:
    kind, points = shape.get("shape_type") or "polygon", np.asarray(shape["points"], float)
    if kind == "polygon":
        return _polygon(points)
    if kind == "circle":
        (x, y), radius = points[0], float(np.hypot(*(points[1] - points[0])))
        return _ellipse(x, y, radius, radius)
    if kind == "mask":
        return _brushed(decode_mask(base64.b64decode(shape["mask"])), *points[0].astype(int))
    return None


def _of_yolo(file: Path) -> Outlined:
    """Polygons in shares of the picture's sides, of classes by number; boxes of one class are the picture's label."""
    picture = _yolo_picture(file)
    try:
        check_regular(picture)
        height, width = image_size(picture.read_bytes(), str(picture))
    except (BadInput, OSError):  # told when its row is looked for, or checked
        height = width = 0
    shapes: dict[str, list[Shape]] = defaultdict(list)
    boxed = []
    for line in file.read_text(encoding="utf-8-sig").splitlines():
        label, *numbers = line.split() or [""]
        if len(numbers) > 5:
            shapes[label].append(_polygon(np.reshape(numbers, (-1, 2)).astype(float) * (width, height)))
        elif numbers:
            boxed.append(label)
    one = boxed[0] if len(set(boxed)) == 1 and not shapes else None
    return _outlined(os.path.relpath(picture, file.parent), width, height, shapes, one)


def _yolo_picture(file: Path) -> Path:
    """The picture of a file of labels: in `images` where that lies in `labels`, or beside it; it may not be there."""
    before, labels, after = file.parent.as_posix().rpartition("/labels")
    places = [Path(f"{before}/images{after}"), file.parent] if labels else [file.parent]
    found = (place / (file.stem + ending) for place in places for ending in IMAGE_ENDINGS)
    return next((path for path in found if path.is_file()), places[0] / (file.stem + IMAGE_ENDINGS[0]))


def _coco_run_lengths(segmentation: Mapping[str, Any]) -> Shape:
    height, width = (int(side) for side in segmentation["size"])
    counts = segmentation["counts"]
    runs = _unpacked(counts) if isinstance(counts, str) else [int(count) for count in counts]
    columns = _run_lengths(runs, width * height).reshape(width, height)
    return lambda mask: np.bitwise_or(mask, columns.T, out=mask)


def _unpacked(text: str) -> list[int]:
    """COCO's compressed run lengths: five bits a letter, the rest a sign and whether the number goes on."""
    counts: list[int] = []
    number = shift = 0
    for letter in text:
        code = ord(letter) - 48
        number |= (code & 31) << shift
        shift += 5
        if code & 32:
            continue
        number -= (1 << shift) if code & 16 else 0
        counts.append(number + (counts[-2] if len(counts) > 2 else 0))
        number = shift = 0
    return counts


def _run_lengths(counts: list[int], size: int) -> np.ndarray:
    """uint8 (size,) of zeros and ones in turn, each as long as its count says."""
    if min(counts, default=0) < 0 or sum(counts) > size:
        raise ValueError("run lengths that are longer than the picture")
    found = np.zeros(size, np.uint8)
    found[: sum(counts)] = np.repeat(np.arange(len(counts)) % 2, counts)
    return found


def _ellipse(middle_x: float, middle_y: float, radius_x: float, radius_y: float, turn: float = 0.0) -> Shape:
    angles = np.linspace(0, 2 * np.pi, 181)
    x, y = radius_x * np.cos(angles), radius_y * np.sin(angles)
    turned = (x * np.cos(turn) - y * np.sin(turn), x * np.sin(turn) + y * np.cos(turn))
    return _polygon(np.stack([middle_x + turned[0], middle_y + turned[1]], axis=1))


def _polygon(points: Any) -> Shape:
    corners = np.round(np.asarray(points, np.float64)).astype(np.int32)
    if corners.ndim != 2 or corners.shape[1] != 2:
        raise ValueError("a polygon without corners")
    return lambda mask: cv2.fillPoly(mask, [corners], 1)
