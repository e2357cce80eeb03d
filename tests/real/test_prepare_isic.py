"""prepare on real dermoscopy: lesions that were photographed twice are found, and do not straddle the splits."""

from __future__ import annotations

from pathlib import Path

import pytest

from manifests.format.reading import open_manifest
from manifests.prepare.prepare import prepare
from manifests.prepare.summary import PrepareSummary
from manifests.settings import PrepareSettings

# Seen to be one lesion: re-coloured, turned, nearer or farther, and in two official splits.
SAME_LESION = [
    ("ISIC_0000224", "ISIC_0014791"),
    ("ISIC_0000436", "ISIC_0010573"),
    ("ISIC_0009956", "ISIC_0009966"),
    ("ISIC_0000518", "ISIC_0013936"),
    ("ISIC_0013086", "ISIC_0013087"),
    ("ISIC_0000420", "ISIC_0009910"),
]
LEAKING = {"ISIC_0000157", "ISIC_0000169", "ISIC_0000171", "ISIC_0000191", "ISIC_0000213", "ISIC_0000215"}
# Much alike, and not the same.
DIFFERENT = [("ISIC_0000252", "ISIC_0012529"), ("ISIC_0000506", "ISIC_0012221"), ("ISIC_0012777", "ISIC_0012965")]


@pytest.fixture(scope="module")
def prepared(isic_folder: Path, tmp_path_factory: pytest.TempPathFactory) -> tuple[Path, PrepareSummary]:
    out = tmp_path_factory.mktemp("prepared") / "real"
    return out, prepare(isic_folder, out, PrepareSettings(size=128))


def test_photographs_of_one_lesion_are_one_group(prepared: tuple[Path, PrepareSummary]) -> None:
    rows = open_manifest(prepared[0]).table(["pair_id", "group_id"]).to_pylist()
    group = {row["pair_id"].removeprefix("isic2017:"): row["group_id"] for row in rows}
    assert all(group[one] == group[other] for one, other in SAME_LESION)
    assert all(group[one] != group[other] for one, other in DIFFERENT)
    assert 40 <= prepared[1].duplicates.clusters <= 70


def test_training_rows_that_show_a_held_out_lesion_are_set_aside(prepared: tuple[Path, PrepareSummary]) -> None:
    leaks = {row.pair_id.removeprefix("isic2017:") for row in prepared[1].rejected if row.check == "split leak"}
    assert leaks >= LEAKING
    assert prepared[1].rejected_counts == {"split leak": len(leaks)}, "nothing else is wrong with these data"
    rows = open_manifest(prepared[0]).table(["group_id", "split"]).to_pylist()
    splits: dict[str, set[str]] = {}
    for row in rows:
        splits.setdefault(row["group_id"], set()).add(row["split"])
    assert all(len(told) == 1 for told in splits.values())
