"""What a base remembers its training pictures by: copies are found, others are not, forged files are refused."""

from __future__ import annotations

import json
from collections.abc import Callable
from pathlib import Path

import cv2
import numpy as np
import pytest
from safetensors.numpy import load, save

from manifests.duplicates.sketches import (
    TrainingPictures,
    load_training_pictures,
    save_training_pictures,
    sketched,
    sketches_of,
    thumbnails,
    training_pictures,
)
from manifests.errors import BadInput
from manifests.format.schema import FINGERPRINTS
from manifests.pairs import PairArrays
from manifests.phantom.draw import phantom_arrays

Change = Callable[[np.ndarray], np.ndarray]


@pytest.fixture(scope="module")
def pairs() -> PairArrays:
    return phantom_arrays(24, seed=3, size=96)


@pytest.fixture(scope="module")
def known(pairs: PairArrays) -> TrainingPictures:
    return training_pictures(sketches_of(pairs.select(range(12))))


def encoded(image: np.ndarray) -> np.ndarray:
    return cv2.imdecode(cv2.imencode(".jpg", image, [cv2.IMWRITE_JPEG_QUALITY, 60])[1], cv2.IMREAD_COLOR)


CHANGES: dict[str, Change] = {
    "encoded again": encoded,
    "half as large": lambda image: cv2.resize(image, None, fx=0.5, fy=0.5, interpolation=cv2.INTER_AREA),
    "twice as large": lambda image: cv2.resize(image, None, fx=2, fy=2, interpolation=cv2.INTER_CUBIC),
    "in other light": lambda image: np.clip(image * 0.9 + 12, 0, 255).astype(np.uint8),
    "turned": lambda image: np.ascontiguousarray(np.rot90(image)),
    "flipped": lambda image: np.ascontiguousarray(image[:, ::-1]),
}


@pytest.mark.parametrize("change", CHANGES)
def test_a_copy_is_found_without_its_mask_and_no_other_picture_is(
    pairs: PairArrays, known: TrainingPictures, change: str
) -> None:
    asked = sketched(np.stack([thumbnails(CHANGES[change](image), None) for image in pairs.images]))
    assert known.among(asked).tolist() == [True] * 12 + [False] * 12


def test_a_crop_around_the_lesion_is_found_by_its_mask(pairs: PairArrays, known: TrainingPictures) -> None:
    small = [i for i in range(12) if not pairs.masks[i][[*range(12), *range(84, 96)]].any()]
    small = [i for i in small if not pairs.masks[i][:, [*range(12), *range(84, 96)]].any()][:3]
    wider = phantom_arrays(1, seed=9, size=144).images[0]
    for i in small:
        image, mask = wider.copy(), np.zeros((144, 144), bool)
        image[24:120, 24:120], mask[24:120, 24:120] = pairs.images[i], pairs.masks[i]
        back = training_pictures(sketched(thumbnails(image, mask)[None]))
        assert back.among(sketches_of(pairs.select([i]))).all() and not back.among(sketches_of(pairs)[12:]).any()
    assert small


def test_a_picture_of_nothing_is_like_no_other(known: TrainingPictures) -> None:
    grey = np.full((64, 64, 3), 128, np.uint8)
    empty = training_pictures(sketched(thumbnails(grey, None)[None]))
    assert not empty.among(empty.sketches).any() and not known.among(empty.sketches).any()


def test_what_is_saved_is_read_and_a_base_without_it_says_nothing(known: TrainingPictures, tmp_path: Path) -> None:
    assert load_training_pictures(tmp_path) is None
    save_training_pictures(known, tmp_path)
    read = load_training_pictures(tmp_path)
    assert read is not None and read.digest == known.digest and (read.sketches == known.sketches).all()


def _with(content: bytes, pictures: int | None = None, **facts: str) -> bytes:
    told = json.loads(content[8 : 8 + int.from_bytes(content[:8], "little")])["__metadata__"]
    return bytes(save({"sketches": load(content)["sketches"][:pictures]}, told | facts))


FORGERIES: dict[str, Callable[[bytes], bytes]] = {
    "cut off": lambda content: content[: len(content) // 2],
    "empty": lambda content: b"",
    "no such file": lambda content: b"PK\x03\x04" + bytes(64),
    "one picture changed": lambda content: content[:-9] + bytes([content[-9] ^ 1]) + content[-8:],
    "pictures taken out": lambda content: _with(content, pictures=4),
    "no digest": lambda content: bytes(save(load(content), {"version": "1"})),
    "other numbers": lambda content: bytes(save({"sketches": np.zeros((4, 9))}, {"version": "1", "digest": ""})),
    "another version": lambda content: _with(content, version="9"),
    "another digest": lambda content: _with(content, digest="0" * 64),
}


@pytest.mark.parametrize("forgery", FORGERIES)
def test_a_forged_or_broken_file_is_refused_in_one_sentence(
    known: TrainingPictures, tmp_path: Path, forgery: str
) -> None:
    save_training_pictures(known, tmp_path)
    path = tmp_path / FINGERPRINTS
    path.write_bytes(FORGERIES[forgery](path.read_bytes()))
    with pytest.raises(BadInput) as error:
        load_training_pictures(tmp_path)
    assert str(path) in str(error.value) and "\n" not in str(error.value) and "from its source" in str(error.value)
