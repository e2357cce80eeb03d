"""Pairs to look at: generated ones beside real ones, and the nearest neighbours.

Which pairs the gallery shows is a matter of their ids alone, never of their looks or scores.
"""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from dataclasses import dataclass, field
from itertools import zip_longest
from pathlib import Path
from typing import Any

from evaluate.pages import wording
from evaluate.pages.pictures import Picture, Row, small_rows, thumbnails
from manifests.format.reading import Manifest, open_manifest
from manifests.format.schema import HEADER_NAME

GALLERY_PAIRS = 84
LEAST_OF_A_CLASS, MOST_OF_A_CLASS = 4, 18
NEAREST_PAIRS = 10


@dataclass(frozen=True)
class Beside:
    """A generated pair beside a real one. place: its position before any sorting."""

    place: int
    dx: str
    generated: Picture | None
    real: Picture | None
    relation: str
    agreement: float | None
    similarity: float | None

    @property
    def agreement_text(self) -> str:
        return wording.score(self.agreement)

    @property
    def similarity_text(self) -> str:
        return wording.score(self.similarity)


@dataclass(frozen=True)
class _Plan:
    """Which pairs will stand side by side, before any picture is read."""

    generated: Row | None
    real: Row | None
    relation: str


def evenly(rows: Sequence[Row], amount: int) -> list[Row]:
    """`amount` rows evenly over their order."""
    if len(rows) <= amount:
        return list(rows)
    return [rows[(2 * place + 1) * len(rows) // (2 * amount)] for place in range(amount)]


def gallery(pairs: RunPairs) -> list[Beside]:
    """Some pairs of each class: generated ones beside the nearest real training pair, or real ones alone."""
    real, generated = rows_by_class(pairs.training), rows_by_class(pairs.accepted)
    classes = sorted({*real, *generated})
    each = max(LEAST_OF_A_CLASS, min(MOST_OF_A_CLASS, GALLERY_PAIRS // max(1, len(classes))))
    known = {row["pair_id"]: row for row in pairs.training}
    by_class = []
    for dx in classes:
        others = evenly(real.get(dx, []), each)
        if not generated:
            by_class.append([_Plan(None, row, f"a {row['origin']} training pair{outline_note(row)}") for row in others])
        chosen = enumerate(evenly(generated.get(dx, []), each))
        by_class.append([_plan(row, known, others[place % len(others)] if others else None) for place, row in chosen])
    # One of each class in turn, so that the first ones shown already show them all.
    mixed = [plan for turn in zip_longest(*by_class) for plan in turn if plan is not None]
    return _cards(mixed, pairs)


def nearest_pairs(pairs: RunPairs, copies: Mapping[str, Any] | None = None) -> list[Beside]:
    """The accepted generated pairs that are most similar to a real training pair, most similar first.

    copies: the results' audit, which knows the nearest pairs of candidates that no gate has judged.
    """
    audited = {row["pair_id"]: row for row in (copies or {}).get("nearest", [])}
    rows = [row | audited.get(row["pair_id"], {}) for row in pairs.accepted]
    rows = [row for row in rows if row["nearest_similarity"] is not None]
    rows = sorted(rows, key=lambda row: (-row["nearest_similarity"], row["pair_id"]))
    return beside_nearest(rows[:NEAREST_PAIRS], pairs)


def beside_nearest(rows: Sequence[Row], pairs: RunPairs) -> list[Beside]:
    """Generated pairs, each beside its nearest real training pair where that is known."""
    known = {row["pair_id"]: row for row in pairs.training}
    return _cards([_plan(row, known, None) for row in rows], pairs)


def _plan(row: Row, known: Mapping[str, Row], other: Row | None) -> _Plan:
    nearest = known.get(row["nearest_real_id"] or "")
    if nearest is not None:
        return _Plan(
            row, nearest, f"nearest {nearest['origin']} training pair ({nearest['dx']}){outline_note(nearest)}"
        )
    return _Plan(row, other, f"a {other['origin']} training pair of this class{outline_note(other)}" if other else "")


def outline_note(row: Row) -> str:
    """That a segmenter found a real pair's mask, to stand behind what the picture is; nothing of a given one."""
    return "; its outline was found by a segmenter" if row.get("mask_origin") == "predicted" else ""


def _cards(plans: Sequence[_Plan], pairs: RunPairs) -> list[Beside]:
    real_alts = {plan.real["pair_id"]: real_alt(plan.real) for plan in plans if plan.real}
    generated_alts = {plan.generated["pair_id"]: generated_alt(plan.generated) for plan in plans if plan.generated}
    real = thumbnails(pairs.real, real_alts) if pairs.real else {}
    generated = thumbnails(pairs.synthetic, generated_alts) if pairs.synthetic else {}
    cards = []
    for place, plan in enumerate(plans):
        scored: Row = plan.generated or {}
        cards.append(
            Beside(
                place,
                (plan.generated or plan.real or {})["dx"],
                generated[plan.generated["pair_id"]] if plan.generated else None,
                real[plan.real["pair_id"]] if plan.real else None,
                plan.relation,
                scored.get("score_mask_agreement"),
                scored.get("nearest_similarity"),
            )
        )
    return cards


def real_alt(row: Row) -> str:
    """What a real pair's picture shows."""
    what = f"{row['origin'].capitalize()} {row['dx']} pair"
    how = "outlined by a segmenter" if row.get("mask_origin") == "predicted" else "outlined"
    return f"{what} {row['pair_id']} of the {row['split']} split, lesion {how}"


def generated_alt(row: Row) -> str:
    """What a generated pair's picture shows."""
    return f"Synthetic {row['dx']} pair {row['pair_id']}, lesion outlined"


def rows_by_class(rows: Sequence[Row]) -> dict[str, list[Row]]:
    """The rows of each class, in their order."""
    found: dict[str, list[Row]] = {}
    for row in rows:
        found.setdefault(row["dx"], []).append(row)
    return found


@dataclass(frozen=True)
class RunPairs:
    """Real and generated pairs with their rows but for the pictures, rejected ones among them; notes: what is
    missing and why, one sentence each."""

    real: Manifest | None
    synthetic: Manifest | None
    real_rows: list[Row] = field(default_factory=list)
    generated_rows: list[Row] = field(default_factory=list)
    notes: tuple[str, ...] = ()

    @property
    def training(self) -> list[Row]:
        """The real pairs that generator and arms were allowed to see."""
        return [row for row in self.real_rows if row["split"] == "train"]

    @property
    def accepted(self) -> list[Row]:
        return [row for row in self.generated_rows if row["accepted"]]

    @property
    def rejected(self) -> list[Row]:
        return [row for row in self.generated_rows if not row["accepted"]]


def open_pairs(run_folder: Path, results: Mapping[str, Any]) -> RunPairs:
    """The pairs beside results.json; BadInput if a manifest is damaged, a note if it is another or none."""
    data = results["data"]
    real, real_note = _opened(run_folder / "real", data["real"]["digest"], "real pairs")
    synthetic, synthetic_note = None, "There are no generated pairs of the whole training split."
    if data["synthetic"] is not None:
        synthetic, synthetic_note = _opened(run_folder / "synthetic", data["synthetic"]["digest"], "generated pairs")
    return RunPairs(
        real,
        synthetic,
        small_rows(real) if real else [],
        small_rows(synthetic, accepted_only=False) if synthetic else [],
        tuple(note for note in (real_note, synthetic_note) if note),
    )


def _opened(folder: Path, digest: str, what: str) -> tuple[Manifest | None, str]:
    if not (folder / HEADER_NAME).is_file():
        return None, f"No pictures of {what}: the folder {folder.name}/ is not beside these results."
    manifest = open_manifest(folder)
    if manifest.digest != digest:
        return None, f"No pictures of {what}: those in {folder.name}/ are not the ones that were measured."
    return manifest, ""
