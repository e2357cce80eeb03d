"""The rules of evidence that a benchmark obeys: what a tampered or leaking manifest is told."""

from __future__ import annotations

import hashlib
from collections.abc import Mapping
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any

import pyarrow as pa
import pytest
import torch

from evaluate.benchmark.cells import Cell, run_cell
from evaluate.benchmark.evidence import check_evidence, notes
from manifests.errors import BadInput
from manifests.format.reading import Manifest, open_manifest
from tests.evaluate.benchmark.benchmark_fixture import (
    COUNTS,
    FEW,
    made_row,
    manifest,
    real_and_generated,
    real_rows,
    row,
)

torch.set_num_threads(1)


@pytest.fixture(scope="module")
def data(tmp_path_factory: pytest.TempPathFactory) -> tuple[Manifest, Manifest]:
    return real_and_generated(tmp_path_factory.mktemp("data"))


def refused(real: Manifest, synthetic: Manifest | None, work: Path) -> str:
    """The one sentence with which a cell refuses the data."""
    with pytest.raises(BadInput) as error:
        run_cell(Cell("hybrid", "classification", 0), real, synthetic, FEW, work)
    assert "\n" not in str(error.value)
    return str(error.value)


@dataclass(frozen=True, eq=False)
class Tampered(Manifest):
    """A manifest whose rows claim what no writer of ours would commit."""

    claims: Mapping[str, str] = field(default_factory=dict)

    def table(self, *args: Any, **named: Any) -> pa.Table:
        table = super().table(*args, **named)
        for name, value in self.claims.items():
            column = pa.array([value] * len(table))
            table = table.set_column(table.column_names.index(name), name, column)
        return table


def tampered(honest: Manifest, **claims: str) -> Tampered:
    digest = hashlib.sha256(f"{honest.digest} {claims}".encode()).hexdigest()
    return Tampered(honest.storage, honest.header, digest, honest.shards, claims)


@pytest.mark.parametrize("split", ["validation", "test"])
def test_generated_pairs_outside_training_are_refused(
    data: tuple[Manifest, Manifest], tmp_path: Path, split: str
) -> None:
    said = refused(data[0], tampered(data[1], split=split), tmp_path)
    assert f"is in {split}" in said and "synthesise again" in said
    with pytest.raises(BadInput, match="training split"):
        manifest(tmp_path / "made", [made_row(0, "mel", split=split)], "synthetic")


def test_rows_that_claim_another_origin_or_split_are_refused(data: tuple[Manifest, Manifest], tmp_path: Path) -> None:
    assert "is generated" in refused(tampered(data[0], origin="synthetic"), data[1], tmp_path)
    assert "not marked as generated" in refused(data[0], tampered(data[1], origin="real"), tmp_path)
    assert "unknown split" in refused(tampered(data[0], split="holdout"), data[1], tmp_path)


def test_a_lesion_on_two_sides_is_refused(data: tuple[Manifest, Manifest], tmp_path: Path) -> None:
    rows = [*real_rows(COUNTS), row("discs:a", "nv", "train", 901, group_id="lesion-7")]
    leaking = manifest(tmp_path / "real", [*rows, row("discs:b", "nv", "test", 902, group_id="lesion-7")])
    said = refused(leaking, data[1], tmp_path / "work")
    assert "lesion-7" in said and "train" in said and "test" in said


def test_the_same_picture_on_two_sides_is_refused(data: tuple[Manifest, Manifest], tmp_path: Path) -> None:
    rows = [*real_rows(COUNTS), row("discs:a", "nv", "train", 901), row("discs:b", "nv", "test", 901)]
    assert "picture" in refused(manifest(tmp_path / "real", rows), data[1], tmp_path / "work")


def test_pairs_judged_against_test_pairs_are_refused(data: tuple[Manifest, Manifest], tmp_path: Path) -> None:
    peeking = [made_row(0, "mel", nearest_real_id="discs:test-mel-000")]
    said = refused(data[0], manifest(tmp_path / "made", peeking, "synthetic"), tmp_path / "work")
    assert "discs:test-mel-000" in said and "synthesise again" in said


def test_pairs_generated_from_another_real_manifest_are_refused(
    data: tuple[Manifest, Manifest], tmp_path: Path
) -> None:
    elsewhere = manifest(tmp_path / "elsewhere", [made_row(0, "mel")], "synthetic", inputs={"real": "f" * 64})
    said = refused(data[0], elsewhere, tmp_path / "work")
    assert "ffffffffffff" in said and data[0].digest[:12] in said and "synthesise again" in said
    strange = [made_row(0, "mel", nearest_real_id="elsewhere:17")]
    said = refused(data[0], manifest(tmp_path / "strange", strange, "synthetic"), tmp_path / "work")
    assert "elsewhere:17" in said and "does not hold" in said and "synthesise again" in said


def test_pairs_generated_from_a_part_are_taken_for_its_arms_only(
    data: tuple[Manifest, Manifest], tmp_path: Path
) -> None:
    of_part = manifest(
        tmp_path / "part", [made_row(i, "mel") for i in range(8)], "synthetic", inputs={"real": "e" * 64}
    )
    settings = FEW.model_copy(update={"classification_arms": ("real%50", "hybrid%50")})
    cell = Cell("hybrid%50", "classification", 0)
    assert run_cell(cell, data[0], None, settings, tmp_path / "work", restricted={0.5: of_part}).exists()
    assert "another real manifest" in refused(data[0], of_part, tmp_path / "work")


def test_another_dataset_s_pairs_are_refused(data: tuple[Manifest, Manifest], tmp_path: Path) -> None:
    other = manifest(tmp_path / "made", [made_row(0, "mel")], "synthetic", classes=("mel", "bkl"))
    assert "mel, bkl" in refused(data[0], other, tmp_path / "work")
    assert "generated" in refused(data[1], data[1], tmp_path / "work")


def test_a_test_set_of_one_class_is_refused(data: tuple[Manifest, Manifest], tmp_path: Path) -> None:
    single = manifest(tmp_path / "real", real_rows(COUNTS | {"test": {"nv": 8}}))
    assert "only nv" in refused(single, data[1], tmp_path / "work")


def test_a_split_without_pairs_is_refused(data: tuple[Manifest, Manifest], tmp_path: Path) -> None:
    without = manifest(tmp_path / "real", real_rows({k: v for k, v in COUNTS.items() if k != "validation"}))
    told = refused(without, data[1], tmp_path / "work")
    assert "no validation pair" in told and "prepare.validation_fraction above 0" in told


def test_drawn_pairs_are_the_runs_own_and_the_notes_say_what_they_are(real_manifest: Path) -> None:
    drawn = open_manifest(real_manifest)
    check_evidence(drawn, None, ("classification", "segmentation"))
    assert any(f"{drawn.drawn} pairs are drawn by a program" in note for note in notes(drawn, None))
