"""Decisions of readers on generated pairs: kept in an append-only table, and made into a gate."""

from __future__ import annotations

import hashlib
from collections.abc import Iterable, Mapping
from dataclasses import asdict, dataclass
from functools import cached_property
from pathlib import Path
from typing import TYPE_CHECKING, Any, Literal, get_args

from augment.balance import UNREAD
from evaluate.reading.table import append_record, records
from evaluate.settings.gates import ReviewPolicy
from manifests.format.schema import canonical_json
from manifests.png import encode_png, pixel_digest

if TYPE_CHECKING:
    import numpy as np

Choice = Literal["accept", "refuse", "undo"]
REASONS = {
    "class": "not this class",
    "mask": "the mask does not fit",
    "lesion": "no lesion, or not whole",
    "artefact": "artefacts",
    "blur": "blurred or flat",
    "copy": "looks copied",
    "other": "another reason",
}
"""Why a pair is refused, in the order of the keys 1 to 7."""
REFUSED = "review"
"""Why a pair is rejected that readers refused; one that nobody has read is `augment.balance.UNREAD`."""

Readings = Mapping[tuple[str, str], Mapping[str, "Decision"]]
"""What stands, by pair id and digest of the picture, and then by reader."""


@dataclass(frozen=True)
class Decision:
    """One decision. picture: digest of the image's pixels (see manifests.png.pixel_digest), so that it belongs to
    this picture and to no other of the same id; seconds: how long the reader looked; at: time of day, ISO 8601."""

    pair_id: str
    picture: str
    reader: str
    choice: Choice
    reason: str | None = None
    seconds: float | None = None
    at: str | None = None


@dataclass(frozen=True)
class ReadersVerdict:
    """What readers together say of a pair. reject_reason: None where it passes; review: accepted, refused or none."""

    reviewed_by: str | None = None
    review: str | None = None
    reject_reason: str | None = None


def append_decision(path: Path, decision: Decision) -> None:
    """Adds a decision to the table and waits until the disk has it."""
    append_record(path, {name: value for name, value in asdict(decision).items() if value is not None})


def read_decisions(path: Path) -> list[Decision]:
    """Every decision in order; records that are none are left out."""
    return [found for record in records(path) if (found := _decision(record)) is not None]


def _decision(record: Mapping[str, Any]) -> Decision | None:
    try:
        found = Decision(**record)
    except TypeError:
        return None
    texts = (found.pair_id, found.picture, found.reader)
    return found if all(isinstance(text, str) for text in texts) and found.choice in get_args(Choice) else None


def standing(decisions: Iterable[Decision]) -> dict[tuple[str, str], dict[str, Decision]]:
    """What stands: of each reader and picture the last decision, unless it was taken back."""
    last: dict[tuple[str, str], dict[str, Decision]] = {}
    for decision in decisions:
        readers = last.setdefault((decision.pair_id, decision.picture), {})
        readers.pop(decision.reader, None)
        if decision.choice != "undo":
            readers[decision.reader] = decision
    return {key: readers for key, readers in last.items() if readers}


def readings_digest(readings: Readings) -> str:
    """sha256 over who chose what of which picture; when and why is not among it."""
    chosen = sorted([*key, reader, own.choice] for key, readers in readings.items() for reader, own in readers.items())
    return hashlib.sha256(canonical_json(chosen).encode("utf-8", "surrogatepass")).hexdigest()


def judged(policy: ReviewPolicy, readers: Mapping[str, Decision]) -> ReadersVerdict:
    """What becomes of a pair under `gates.review`.

    any: one refusal refuses it; majority: more must accept it than refuse it; both let pass what nobody has read.
    required: as majority, and somebody must have read it.
    """
    if policy == "off":
        return ReadersVerdict()
    if not readers:
        return ReadersVerdict(reject_reason=UNREAD if policy == "required" else None)
    refusals = sum(own.choice == "refuse" for own in readers.values())
    refused = refusals > 0 if policy == "any" else 2 * refusals >= len(readers)
    names = "; ".join(sorted(readers))
    return ReadersVerdict(names, "refused" if refused else "accepted", REFUSED if refused else None)


@dataclass(frozen=True)
class ReviewGate:
    """The gate that readers are: called with a pair's id and its image."""

    policy: ReviewPolicy
    readings: Readings

    @cached_property
    def _read(self) -> set[str]:
        return {pair_id for pair_id, _ in self.readings}

    def __call__(self, pair_id: str, image: np.ndarray) -> ReadersVerdict:
        """What readers say of this picture, uint8 (H, W, 3); decisions on another one of the same id do not count."""
        picture = pixel_digest(encode_png(image)) if pair_id in self._read else ""
        return judged(self.policy, self.readings.get((pair_id, picture), {}))
