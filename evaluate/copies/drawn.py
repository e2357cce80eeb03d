"""The copy audit of what was drawn: a variation against its own source too, a painted lesion against lesions."""

from __future__ import annotations

from collections.abc import Sequence
from typing import TYPE_CHECKING

import numpy as np

from augment.ways.plan import SKIN, VARIATION, Origin
from evaluate.copies.index import CopyIndex

if TYPE_CHECKING:
    from manifests.pairs import PairArrays

_AROUND = 1.2  # side of a lesion's square, by the longer side of its mask


def lesion_squares(images: np.ndarray, masks: np.ndarray) -> np.ndarray:
    """The square around each lesion of images uint8 (N, S, S, 3), enlarged to S: the skin far from it left out.

    masks: bool (N, S, S); of an empty one the whole picture is taken.
    """
    return np.stack([_square(np.asarray(image), mask) for image, mask in zip(images, masks, strict=True)])


def _square(image: np.ndarray, mask: np.ndarray) -> np.ndarray:
    import cv2

    side = image.shape[0]
    if not mask.any():
        return image
    rows, columns = np.flatnonzero(mask.any(axis=1)), np.flatnonzero(mask.any(axis=0))
    length = min(side, round(_AROUND * max(np.ptp(rows), np.ptp(columns))) + 2)
    top, left = (
        int(np.clip((places[0] + places[-1] + 1 - length) // 2, 0, side - length)) for places in (rows, columns)
    )
    cut = image[top : top + length, left : left + length]
    return np.asarray(cv2.resize(cut, (side, side), interpolation=cv2.INTER_LINEAR))


def nearest_drawn(
    pictures: CopyIndex, lesions: CopyIndex | None, candidates: PairArrays, origins: Sequence[Origin]
) -> list[tuple[str | None, float]]:
    """The real pair that each candidate is most like in what was drawn of it, and the similarity, -1 for none.

    lesions: the index of the real `lesion_squares`, by which painted lesions are judged, since all around them is
    real; their similarity is told on the scale of `pictures`, so that one threshold serves both.
    """
    nearest = pictures.search(candidates.images)
    found = [
        (pictures.ids[place] if place >= 0 else None, float(similarity))
        for place, similarity in zip(nearest.index, nearest.similarity, strict=True)
    ]
    for number, origin in enumerate(origins):
        if origin.way == VARIATION and origin.source_pair_id and origin.source_pair_id != found[number][0]:
            own = pictures.similarity_to(candidates.images[number], origin.source_pair_id)
            found[number] = max(found[number], (origin.source_pair_id, own), key=lambda one: one[1])
    painted = [number for number, origin in enumerate(origins) if origin.way == SKIN]
    if painted and lesions is not None:
        assert pictures.threshold is not None and lesions.threshold is not None, "calibrate first"
        squares = lesion_squares(candidates.images[painted], candidates.masks[painted])
        like = lesions.search(squares)
        scale = (-1.0, pictures.threshold.value, 1.0)
        told = np.interp(like.similarity, (-1.0, lesions.threshold.value, 1.0), scale).round(5)
        for number, place, similarity in zip(painted, like.index, told, strict=True):
            found[number] = (lesions.ids[place] if place >= 0 else None, float(similarity))
    return found
