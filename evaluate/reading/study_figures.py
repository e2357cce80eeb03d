"""The figures of a reader study: can readers tell generated pictures from real ones, and do they read them alike."""

from __future__ import annotations

import statistics
from collections.abc import Callable, Sequence
from dataclasses import dataclass
from typing import Any

from evaluate.reading.agreement import fleiss_kappa
from evaluate.reading.proportions import auroc, pictures_needed, share_of, widest_interval


@dataclass(frozen=True)
class Answer:
    """What one reader said of one picture, beside the truth. confidence: 1 (a guess) to 5 (certain), in what was said
    of its origin; seconds: until it was said; fits: whether the mask fits, None where that was not asked."""

    reader: str
    picture: str
    generated: bool
    dx: str
    says_generated: bool
    says_dx: str
    confidence: int
    seconds: float | None = None
    fits: bool | None = None


def study_figures(answers: Sequence[Answer], classes: Sequence[str]) -> dict[str, Any]:
    """Every figure of all answers, of each class and of each reader; JSON-ready."""
    readers = sorted({answer.reader for answer in answers})
    said: dict[str, list[bool]] = {}
    for answer in answers:
        said.setdefault(answer.picture, []).append(answer.says_generated)
    return {
        "readers": readers,
        "all": figures(answers),
        "per_class": {dx: figures(own) for dx in classes if (own := [a for a in answers if a.dx == dx])},
        "per_reader": {reader: figures([a for a in answers if a.reader == reader]) for reader in readers},
        "fleiss": fleiss_kappa(list(said.values())),
    }


def figures(answers: Sequence[Answer]) -> dict[str, Any]:
    """Accuracy, sensitivity (generated called generated), specificity (real called real) with Wilson intervals, area
    under the curve over confidence, right classes and fitting masks by origin, and the time a picture took."""
    made, real = [a for a in answers if a.generated], [a for a in answers if not a.generated]
    scores = [a.confidence if a.says_generated else -a.confidence for a in answers]
    seconds = [a.seconds for a in answers if a.seconds is not None]
    return {
        "answers": len(answers),
        "accuracy": _share(answers, lambda a: a.says_generated == a.generated),
        "sensitivity": _share(made, lambda a: a.says_generated),
        "specificity": _share(real, lambda a: not a.says_generated),
        "auroc": auroc(scores, [a.generated for a in answers]),
        "right_class_generated": _share(made, lambda a: a.says_dx == a.dx),
        "right_class_real": _share(real, lambda a: a.says_dx == a.dx),
        "mask_fits_generated": _share([a for a in made if a.fits is not None], lambda a: bool(a.fits)),
        "mask_fits_real": _share([a for a in real if a.fits is not None], lambda a: bool(a.fits)),
        "median_seconds": statistics.median(seconds) if seconds else None,
    }


def _share(answers: Sequence[Answer], right: Callable[[Answer], bool]) -> dict[str, Any]:
    return share_of([right(answer) for answer in answers], [answer.picture for answer in answers])


def planned_widths(pictures: int) -> dict[str, float]:
    """How wide 95 % intervals of one reader will be at their widest, from end to end, for a number of pictures."""
    return {"accuracy": widest_interval(pictures), "sensitivity": widest_interval(pictures / 2)}


def planned_pictures(width: float) -> dict[str, int]:
    """How many pictures one reader must see for intervals no wider than `width` from end to end."""
    one_kind = pictures_needed(width)
    return {"accuracy": one_kind + one_kind % 2, "sensitivity": 2 * one_kind}
