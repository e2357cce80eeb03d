"""How well a base knows its training pictures: changed copies of them that are found, other pictures that are not.

    python tests/benchmarks/seen_by_base.py --seen work/real --unseen ISIC2017=test --unseen HAM10000 \
        --out .readme/seen_by_base.json

`--seen` is the manifest that the base was trained on, each `--unseen` a dataset, after `=` the split of its source that
is looked at. Nothing is asserted.
"""

from __future__ import annotations

import argparse
import sys
from collections.abc import Callable
from functools import partial
from pathlib import Path
from typing import Any

sys.path.insert(0, str(Path(__file__).parents[2]))

import cv2
import numpy as np

from augment.base.folder import SHIPPED
from manifests.duplicates.sketches import load_training_pictures, sketched, sketches_of, thumbnails
from manifests.files import write_json
from manifests.format.reading import open_manifest
from tests.benchmarks.found_masks import given_pairs

Pair = tuple[np.ndarray, np.ndarray | None]


def jpeg(image: np.ndarray, mask: np.ndarray) -> Pair:
    return cv2.imdecode(cv2.imencode(".jpg", image, [cv2.IMWRITE_JPEG_QUALITY, 50])[1], cv2.IMREAD_COLOR), None


def halved(image: np.ndarray, mask: np.ndarray) -> Pair:
    return cv2.resize(image, None, fx=0.5, fy=0.5, interpolation=cv2.INTER_AREA), None


def lit(image: np.ndarray, mask: np.ndarray) -> Pair:
    return np.clip(image * np.array([1.2, 1.1, 1.0]) - 20, 0, 255).astype(np.uint8), None


def turned(image: np.ndarray, mask: np.ndarray) -> Pair:
    return np.ascontiguousarray(np.rot90(image[:, ::-1])), None


def squeezed(image: np.ndarray, mask: np.ndarray) -> Pair:
    """As the middle of a picture of 4:3 is that was made square without a cut."""
    edge = len(image) // 8
    narrow = cv2.resize(image, (len(image) - 2 * edge, len(image)), interpolation=cv2.INTER_AREA)
    return cv2.copyMakeBorder(narrow, 0, 0, edge, edge, cv2.BORDER_REFLECT), None


def cropped(image: np.ndarray, mask: np.ndarray, share: float, masked: bool) -> Pair:
    edge = round(len(image) * (1 - share) / 2)
    middle = slice(edge, len(image) - edge)
    return np.ascontiguousarray(image[middle, middle]), np.ascontiguousarray(mask[middle, middle]) if masked else None


CHANGES: dict[str, Callable[[np.ndarray, np.ndarray], Pair]] = {
    "as they are": lambda image, mask: (image, None),
    "JPEG of quality 50": jpeg,
    "half as large": halved,
    "in other light and tint": lit,
    "flipped and turned": turned,
    "squeezed from 4:3 to 1:1": squeezed,
    "middle 95 %": partial(cropped, share=0.95, masked=False),
    "middle 95 %, with masks": partial(cropped, share=0.95, masked=True),
    "middle 75 %, with masks": partial(cropped, share=0.75, masked=True),
}


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("--base", type=Path, default=SHIPPED)
    parser.add_argument("--seen", required=True, metavar="MANIFEST")
    parser.add_argument("--unseen", action="append", default=[], metavar="FOLDER[=SPLIT]")
    parser.add_argument("--out", type=Path)
    given = parser.parse_args()
    known = load_training_pictures(given.base)
    if known is None:
        parser.error(f"{given.base}: carries no fingerprints")
    found: dict[str, Any] = {"seen": {}, "unseen": {}}

    def count(kind: str, name: str, asked: np.ndarray) -> None:
        found[kind][name] = {"pictures": len(asked), "found": int(known.among(asked).sum())}
        print(kind, name, found[kind][name], flush=True)

    own = open_manifest(given.seen).arrays(split="train")
    for name, change in CHANGES.items():
        shown = [thumbnails(*change(*pair)) for pair in zip(own.images, own.masks, strict=True)]
        count("seen", name, sketched(np.stack(shown)))
    for data in given.unseen:
        folder, _, split = data.partition("=")
        pairs = given_pairs(Path(folder), split, 10**9, 128)
        count("unseen", f"{Path(folder).name} {split}".strip(), sketches_of(pairs))
    if given.out:
        write_json(given.out, found)


if __name__ == "__main__":
    main()
