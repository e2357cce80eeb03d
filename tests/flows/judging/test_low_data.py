"""Low-data arms: their generator has seen the same part of the training pairs as their classifiers, and no more."""

from __future__ import annotations

import json
import shutil
from pathlib import Path

import pytest

from evaluate.benchmark.arms import low_data_rows
from flows.execution import execute
from flows.run.folder import open_job
from flows.steps import JUDGING_STEPS
from manifests.errors import BadInput
from manifests.format.reading import open_manifest
from tests.flows.conftest import FinishedRun
from tests.flows.judging.judged_again import judged_again

OVERRIDES = (
    "engine.name=plain", "benchmark.seeds=1", "benchmark.low_data=[0.5]", "adapt.steps=1", "synthesis.balance=0.2",
)  # fmt: skip


@pytest.fixture(scope="module")
def low_data_run(tiny_run: FinishedRun, tmp_path_factory: pytest.TempPathFactory) -> Path:
    """A finished run that was judged again, with arms of half the training pairs."""
    return judged_again(tiny_run, tmp_path_factory.mktemp("low-data") / "run", OVERRIDES)


def test_the_generator_of_a_share_saw_the_pairs_that_its_arms_draw(low_data_run: Path) -> None:
    real, part = open_manifest(low_data_run / "real"), open_manifest(low_data_run / "low-data" / "50" / "real")
    table = real.table(["pair_id", "dx", "group_id"], split="train").to_pydict()
    rows = low_data_rows(table["dx"], table["group_id"], 0.5)
    assert part.table(["pair_id"])["pair_id"].to_pylist() == sorted(table["pair_id"][row] for row in rows)
    arms = {(arm["task"], arm["name"]): arm for arm in json.loads((low_data_run / "results.json").read_text())["arms"]}
    assert ("classification", "real+oversampling%50") in arms
    notes = json.loads((low_data_run / "results.json").read_text())["data"]["notes"]
    assert any("the base itself had seen all training pairs of ISIC 2017" in note for note in notes)
    for task in ("classification", "segmentation"):
        assert arms[task, "hybrid%50"]["train_counts"]["real"] == part.counts()["train"]
    seen = {path.name for path in (low_data_run / "low-data" / "50" / "adapters").glob("*.safetensors")}
    assert seen == {path.name for path in (low_data_run / "adapters").glob("*.safetensors")}


def test_generated_pairs_of_a_share_come_from_adapters_of_that_share(low_data_run: Path) -> None:
    digests = []
    for folder in (low_data_run, low_data_run / "low-data" / "50"):
        table = open_manifest(folder / "synthetic").table(["adapter_digest"], accepted_only=False)
        digests.append(set(table["adapter_digest"].to_pylist()))
    assert digests[0] and digests[1] and not digests[0] & digests[1]


def test_a_finished_share_is_recognised_and_a_lost_one_made_again_the_same(low_data_run: Path) -> None:
    before = _digests(low_data_run)
    job = open_job(low_data_run)
    (low_data_run / "low-data" / "50" / "synthetic" / "manifest.json").unlink()
    assert execute(job, JUDGING_STEPS) == 0
    assert _digests(low_data_run) == before


def test_a_share_with_too_few_pairs_for_an_adapter_is_refused_and_said(tiny_run: FinishedRun, tmp_path: Path) -> None:
    out = tmp_path / "run"
    shutil.copytree(tiny_run.out, out, ignore=shutil.ignore_patterns("prefect", "work"))
    job = open_job(out, (*OVERRIDES[:2], "benchmark.low_data=[0.02]"))
    with pytest.raises(BadInput, match=r"benchmark\.low_data 0\.02: .*too few training pairs"):
        execute(job, JUDGING_STEPS)
    assert json.loads((out / "results.json").read_text())["arms"]


def _digests(run: Path) -> dict[str, bytes]:
    folder = run / "low-data" / "50"
    files = [*folder.glob("*/manifest.json"), *folder.glob("adapters/*.safetensors")]
    return {path.relative_to(folder).as_posix(): path.read_bytes() for path in files}
