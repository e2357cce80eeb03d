"""A sample of the fault campaign: a run that is killed, stopped and starved ends as if undisturbed."""

from __future__ import annotations

from pathlib import Path

import pytest

from manifests.errors import StorageFailed
from manifests.storage.local import LocalStorage
from tests.faults.broken_storage import break_storage
from tests.faults.campaign import TURNS, Campaign, run_campaign
from tests.faults.kinds import FAULTS, Strike
from tests.faults.reference import made
from tests.flows.conftest import FinishedRun


def test_a_run_that_is_killed_and_starved_at_random_moments_ends_as_if_nothing_had_happened(tmp_path: Path) -> None:
    campaign = run_campaign(tmp_path, 4, seed=3, only=("kill", "term", "disk", "storage"))
    assert not campaign.complaints, campaign.table()
    assert campaign.struck == 4 and campaign.alike == campaign.runs
    table = (tmp_path / "faults.md").read_text()
    assert FAULTS["kill"].title in table and "byte-identical" in table


def test_every_kind_of_fault_has_its_turn() -> None:
    assert set(TURNS) == set(FAULTS) == set(TURNS[: len(FAULTS)])


def test_what_is_compared_are_manifests_shards_adapters_and_results(tiny_run: FinishedRun) -> None:
    names = set(made(tiny_run.out))
    assert {"real/manifest.json", "synthetic/manifest.json", "adapters/mel.safetensors"} <= names
    assert any(name.endswith(".parquet") for name in names)
    assert "results.verdicts" in names and "results.timings" not in names


def test_a_complaint_is_part_of_the_table(tmp_path: Path) -> None:
    campaign = Campaign(left_out={"disk": "a small disk cannot be mounted here"})
    campaign.note("term", Strike(True, 1, "worked for 12.0 s after SIGTERM"), tmp_path)
    assert "- SIGTERM: worked for 12.0 s after SIGTERM" in campaign.table()
    assert "left out: a small disk cannot be mounted here" in campaign.table()


@pytest.mark.parametrize(("kind", "left"), [("refused write", 0), ("cut write", 1)])
def test_broken_storage_fails_as_often_as_it_is_told_to(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch, kind: str, left: int
) -> None:
    monkeypatch.setattr(LocalStorage, "write", LocalStorage.write)
    break_storage(kind, after=1, times=1)
    storage = LocalStorage(str(tmp_path))
    storage.write("first", b"12345678")
    with pytest.raises(StorageFailed, match="503 Slow Down"):
        storage.write("second", b"12345678")
    assert len(list(tmp_path.glob(".part-of-second-*"))) == left
    storage.write("second", b"12345678")
    assert storage.read("second") == b"12345678"
