"""The figures of a study of explain's pages: does a page change diagnosis, confidence and trust."""

from __future__ import annotations

import statistics
from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from typing import Any

from evaluate.reading.paired import calibration, mean_of, paired_change, signed_rank_p, widest_change
from evaluate.reading.proportions import pictures_needed, share_of, widest_interval

LEVELS = 5
"""Steps of confidence, from a guess to certainty, and of agreement with a statement (Likert)."""
RATINGS = {
    "trust": "I trust what the page says of this picture.",
    "understanding": "I understand why it says so.",
    "helpfulness": "Its pictures helped me to decide.",
}
"""What readers are asked of a page: trust, understanding and help, as in the user study of SkinGEN (Lin et al., IUI
2025), whose readers too were compared with themselves."""
CHANGED = 0.3
"""Share of diagnoses that a page is expected to make right or wrong, where a study is planned."""


@dataclass(frozen=True)
class Opinion:
    """What a reader says of a case at one time. confidence: 1 (a guess) to 5 (certain); seconds: until it was said."""

    dx: str
    confidence: int
    seconds: float | None = None


@dataclass(frozen=True)
class Reading:
    """What one reader said of one case before its page and after, beside the truth. page: the class that the page names
    first, None where it names none; ratings: agreement with each statement of RATINGS, 1 to 5."""

    reader: str
    case: str
    dx: str
    page: str | None
    before: Opinion
    after: Opinion
    ratings: Mapping[str, int]


def page_figures(readings: Sequence[Reading], classes: Sequence[str]) -> dict[str, Any]:
    """Every figure of all readings, of each class, of each reader, and by whether the page was right; JSON-ready."""
    readers, chance = sorted({own.reader for own in readings}), 1 / max(1, len(classes))
    parts = {
        "per_class": {dx: [own for own in readings if own.dx == dx] for dx in classes},
        "per_reader": {reader: [own for own in readings if own.reader == reader] for reader in readers},
        "per_page": {
            name: [own for own in readings if (own.page == own.dx) is right]
            for name, right in (("right", True), ("wrong", False))
        },
    }
    found: dict[str, Any] = {"readers": readers, "all": figures(readings, chance)}
    for kind, groups in parts.items():
        found[kind] = {name: figures(own, chance) for name, own in groups.items() if own}
    return found


def figures(readings: Sequence[Reading], chance: float) -> dict[str, Any]:
    """Accuracy, confidence and its calibration before and after with what changed, ratings, and time a case.

    chance: share of right answers among guesses.
    """
    cases = [own.case for own in readings]
    found: dict[str, Any] = {"answers": len(readings), "cases": len(set(cases)), "accuracy": {}, "confidence": {}}
    found |= {"calibration": {}, "median_seconds": {}}
    right, sure = {}, {}
    for when in ("before", "after"):
        opinions: list[Opinion] = [getattr(own, when) for own in readings]
        right[when] = [said.dx == own.dx for said, own in zip(opinions, readings, strict=True)]
        sure[when] = [said.confidence for said in opinions]
        seconds = [said.seconds for said in opinions if said.seconds is not None]
        found["accuracy"][when] = share_of(right[when], cases)
        found["confidence"][when] = mean_of(sure[when], cases, (1, LEVELS))
        found["calibration"][when] = calibration(sure[when], right[when], cases, LEVELS, chance)
        found["median_seconds"][when] = statistics.median(seconds) if seconds else None
    found["accuracy"]["change"] = paired_change(right["before"], right["after"], cases)
    changes = [after - before for before, after in zip(sure["before"], sure["after"], strict=True)]
    change = mean_of(changes, cases, (1 - LEVELS, LEVELS - 1))
    found["confidence"]["change"] = {**change, "p": signed_rank_p(changes, cases)}
    found["ratings"] = {name: mean_of([own.ratings[name] for own in readings], cases, (1, LEVELS)) for name in RATINGS}
    return found


def planned_widths(cases: int) -> dict[str, float]:
    """How wide 95 % intervals of one reader will be from end to end, for a number of cases: of the share that is right
    before or after at its widest, and of its change where a share CHANGED of the answers changes."""
    return {"accuracy": widest_interval(cases), "change": widest_change(cases, CHANGED)}


def planned_cases(width: float) -> dict[str, int]:
    """How many cases one reader must see for intervals no wider than `width` from end to end; most: for that of the
    change if every answer changes."""
    return {
        "accuracy": pictures_needed(width),
        "change": pictures_needed(width, lambda cases: widest_change(cases, CHANGED)),
        "most": pictures_needed(width, widest_change),
    }
