"""On real dermoscopy: planted copies are found, and lesions that were never seen are not called copies."""

from __future__ import annotations

from pathlib import Path

import numpy as np
import pytest

from evaluate.copies.index import CopyIndex
from evaluate.copies.threshold import ATTACKS, plant
from evaluate.settings.gates import CopySettings

TRAIN, HELD_OUT, PLANTED = 1800, 251, 200
# A lesion that is in both splits under two names: a real copy, which must be found and is no false alarm.
SAME_LESION = {"ISIC_0015132": "ISIC_0000169"}


def images_in(folder: Path, limit: int) -> tuple[list[str], np.ndarray]:
    import cv2

    paths = sorted(folder.glob("*.jpg"))[:limit]
    pictures = [cv2.cvtColor(cv2.imread(str(path)), cv2.COLOR_BGR2RGB) for path in paths]
    small = [cv2.resize(picture, (128, 128), interpolation=cv2.INTER_AREA) for picture in pictures]
    return [path.stem for path in paths], np.stack(small)


@pytest.fixture(scope="module")
def real(isic_folder: Path) -> tuple[list[str], np.ndarray]:
    return images_in(isic_folder / "ISIC-2017_Training_Data", TRAIN)


@pytest.fixture(scope="module")
def index(real: tuple[list[str], np.ndarray]) -> CopyIndex:
    names, images = real
    return CopyIndex.build(images, names, names, CopySettings()).calibrated(images)


@pytest.mark.parametrize("attack", sorted(ATTACKS))
def test_planted_copies_are_found_at_95_percent_recall(
    attack: str, index: CopyIndex, real: tuple[list[str], np.ndarray]
) -> None:
    _, images = real
    chosen = np.random.default_rng(11).permutation(len(images))[:PLANTED]
    found = index.search(plant(images[chosen], attack, seed=99))
    copies = np.array([index.is_copy(value) for value in found.similarity])
    assert copies.mean() >= 0.95
    assert (found.index == chosen)[copies].mean() >= 0.95


def test_held_out_lesions_raise_at_most_1_percent_false_alarms(index: CopyIndex, isic_folder: Path) -> None:
    names, images = images_in(isic_folder / "ISIC-2017_Test_v2_Data", HELD_OUT)
    found = index.search(images)
    nearest = {name: index.ids[i] for name, i in zip(names, found.index, strict=True)}
    copies = {name for name, value in zip(names, found.similarity, strict=True) if index.is_copy(value)}
    assert all(name in copies and nearest[name] == same for name, same in SAME_LESION.items())
    assert len(copies - SAME_LESION.keys()) / len(names) <= 0.01
