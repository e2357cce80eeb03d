"""Several masks of one picture become the one that is meant, or the row is set aside with a way out."""

from __future__ import annotations

from pathlib import Path

import numpy as np
import pytest

from manifests.images import decode_mask
from manifests.listing.source import Rejection, SourceRow
from manifests.phantom.draw import write_image, write_mask
from manifests.prepare.checks import CheckedRow, check_row
from manifests.settings import MaskSettings, PrepareSettings


def square(left: int, right: int) -> np.ndarray:
    mask = np.zeros((48, 48), bool)
    mask[10:30, left:right] = True
    return mask


def checked(folder: Path, masks: list[np.ndarray], several: str) -> CheckedRow | Rejection:
    write_image(folder / "a.png", np.random.default_rng(0).integers(0, 255, (48, 48, 3), np.uint8))
    for number, mask in enumerate(masks):
        write_mask(folder / f"{number}.png", mask)
    first, *more = [str(folder / f"{number}.png") for number in range(len(masks))]
    row = SourceRow("a", str(folder / "a.png"), first, "nv", more_masks=tuple(more))
    settings = PrepareSettings(size=48, duplicates=False, masks=MaskSettings(several=several))
    return check_row(row, "a", True, settings)


PARTS = [square(4, 14), square(20, 40)]
READINGS = [square(10, 30), square(12, 30), square(10, 34)]
NESTED = [square(10, 40), square(20, 24)]


@pytest.mark.parametrize(
    ("masks", "several", "expected"),
    [
        (PARTS, "auto", square(4, 14) | square(20, 40)),
        ([*PARTS, square(0, 0)], "auto", square(4, 14) | square(20, 40)),
        (READINGS, "auto", square(10, 30)),
        (READINGS[:2], "auto", square(10, 30)),
        (READINGS, "union", square(10, 34)),
        (READINGS[1:], "first", square(12, 30)),
        (NESTED, "union", square(10, 40)),
        ([*NESTED, NESTED[1]], "majority", square(20, 24)),
        (NESTED, "auto", None),
    ],
)
def test_parts_are_joined_readings_put_to_the_vote_and_the_rest_is_asked(
    masks: list[np.ndarray], several: str, expected: np.ndarray | None, tmp_path: Path
) -> None:
    found = checked(tmp_path, masks, several)
    if expected is None:
        assert isinstance(found, Rejection) and found.check == "several masks"
        assert "prepare.masks.several=union" in found.reason
    else:
        assert isinstance(found, CheckedRow) and found.mask_png is not None
        assert np.array_equal(decode_mask(found.mask_png), expected)
