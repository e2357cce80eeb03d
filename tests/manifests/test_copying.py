"""A part of a manifest is a manifest that holds the same pairs."""

from __future__ import annotations

from pathlib import Path

import pytest

from manifests.copying import subset_digest, write_subset
from manifests.errors import BadInput
from manifests.format.verify import verify_manifest
from tests.evaluate.benchmark.benchmark_fixture import CLASSES, COUNTS, manifest, real_rows


def test_a_part_holds_the_chosen_pairs_unchanged_and_names_where_they_are_from(tmp_path: Path) -> None:
    whole = manifest(tmp_path / "whole", real_rows(COUNTS))
    chosen = ["discs:train-nv-003", "discs:train-nv-004"]
    part = write_subset(whole, [*chosen, "discs:nobody"], tmp_path / "part")
    assert part.classes == CLASSES and part.header["provenance"]["part_of"] == whole.digest
    rows = part.table().to_pylist()
    assert rows == [row for row in whole.table().to_pylist() if row["pair_id"] in chosen]
    assert verify_manifest(tmp_path / "part").ok


def test_the_same_part_has_the_same_bytes_and_another_one_another_digest(tmp_path: Path) -> None:
    whole = manifest(tmp_path / "whole", real_rows(COUNTS))
    digests = [
        write_subset(whole, chosen, tmp_path / str(number)).digest
        for number, chosen in enumerate((["discs:train-nv-001"], ["discs:train-nv-001"], ["discs:train-nv-002"]))
    ]
    assert digests[0] == digests[1] != digests[2]


def test_a_part_without_pairs_is_refused(tmp_path: Path) -> None:
    whole = manifest(tmp_path / "whole", real_rows(COUNTS))
    with pytest.raises(BadInput, match="none of the chosen pairs"):
        write_subset(whole, ["discs:nobody"], tmp_path / "part")


def test_a_part_sends_its_pairs_to_the_splits_that_it_is_given(tmp_path: Path) -> None:
    whole = manifest(tmp_path / "whole", real_rows(COUNTS))
    splits = {"discs:train-nv-001": "test", "discs:test-nv-001": "train", "discs:train-mel-001": "validation"}
    part = write_subset(whole, splits, tmp_path / "part")
    table = part.table(["pair_id", "split"])
    assert dict(zip(table["pair_id"].to_pylist(), table["split"].to_pylist(), strict=True)) == splits
    assert verify_manifest(tmp_path / "part").ok
    assert part.header["provenance"]["part"] == subset_digest(splits) != subset_digest(dict.fromkeys(splits, ""))
