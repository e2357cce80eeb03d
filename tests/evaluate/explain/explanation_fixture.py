"""Explanations of drawn images without any model: what the page is given, made by hand."""

from __future__ import annotations

from typing import Any

import numpy as np

from evaluate.diagnosis.interface import Candidate, Diagnosis
from evaluate.explain.demonstrations import Demonstration
from evaluate.explain.explanation import Explanation, ShownDiagnosis
from evaluate.explain.localisation import Localisation, locate
from evaluate.explain.personal import blended
from manifests.phantom.draw import draw_pair

SIDE = 256
RECORD: dict[str, Any] = {
    "validation_images": 150,
    "validation_accuracy": 0.7067,
    "calibration_error": 0.043,
    "reliability": [
        {"lower": i / 10, "upper": (i + 1) / 10, "pairs": 10 + 3 * i, "confidence": i / 10 + 0.05,
         "accuracy": min(1.0, i / 10 + 0.02 * (-1) ** i + 0.05)}
        for i in range(3, 10)
    ],
}  # fmt: skip


def explanation_of(
    dx: str = "mel",
    name: str = "ISIC_0000042.jpg",
    none_of_these: bool = False,
    with_lesion: bool = True,
    **changes: Any,
) -> Explanation:
    """An explanation of a drawn lesion of class `dx`, with all demonstrations unless no lesion was found."""
    pair = draw_pair(dx, 7, 3, SIDE)
    shifted = np.roll(pair.mask, 9, axis=1)
    found = {"unet": pair.mask, "denoiser": shifted} if with_lesion else {"unet": np.zeros_like(pair.mask)}
    where = locate(pair.image, {key: lambda image, mask=mask: mask for key, mask in found.items()}, 0.002)
    candidates = (
        Candidate("mel", 0.62, ("irregular border", "several colours")),
        Candidate("nv", 0.27),
        Candidate("bkl", 0.11),
    )
    values: dict[str, Any] = {
        "diagnosis": Diagnosis("classifier", candidates, True, none_of_these, 0.4, evidence={"temperature": 1.3}),
        "localisation": where,
        "shown": tuple(_shown(rank, one, pair.image, where) for rank, one in enumerate(candidates, 1)),
        "made_by": {"run": "phantom tiny", "seed": 0},
    }
    return Explanation(name, "d" * 64, pair.image, (767, 1022), **{**values, **changes})


def _shown(rank: int, candidate: Candidate, image: np.ndarray, where: Localisation) -> ShownDiagnosis:
    dx = candidate.dx
    demos = []
    for index in range(3):
        pair = draw_pair(dx, 11, index, 128)
        demos.append(Demonstration("real", dx, pair.image, pair.mask, pair_id=f"phantom:{dx}-{index}", similarity=0.8))
    for index in range(4):
        pair = draw_pair(dx, 12, index, 128)
        demos.append(Demonstration("reference", dx, pair.image, pair.mask, index, "dermoscopy", "a" * 64))
    if where.mask is not None:
        drawn = draw_pair(dx, 13, 0, 128).image
        picture = blended(image, drawn, where.mask)
        demos.append(Demonstration("personalised", dx, picture, where.mask, 5, "dermoscopy", "a" * 64, 0.7))
    problem = () if rank == 1 else (f"There is no usable adapter for {dx}.",)
    return ShownDiagnosis(rank, candidate, tuple(demos), problem)
