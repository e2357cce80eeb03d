"""The pairs of a run folder, and whether they are those that the results speak of."""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any

from evaluate.report.pictures import Row, small_rows
from manifests.format.reading import Manifest, open_manifest
from manifests.format.schema import HEADER_NAME


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
    synthetic, synthetic_note = None, "This run has no generated pairs."
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
