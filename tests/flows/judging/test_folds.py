"""Cross-validation in a run: each fold has a generator and models of its own, and is recognised when finished."""

from __future__ import annotations

import json
import shutil
from pathlib import Path
from typing import Any

import pytest

from flows.engine.watch import Watch
from flows.execution import execute
from flows.run.folder import Job, RunFolder, open_job
from flows.settings import load_settings
from flows.steps import JUDGING_STEPS
from flows.steps.sequence import run_steps
from manifests.errors import BadInput
from manifests.format.reading import open_manifest
from tests.evaluate.benchmark.benchmark_fixture import manifest, real_rows
from tests.flows import whole_run
from tests.flows.conftest import FinishedRun
from tests.flows.judging.judged_again import judged_again

OVERRIDES = (
    "engine.name=plain", "adapt.steps=1", "synthesis.balance=0.2", "benchmark.folds=2", "benchmark.seeds=1",
    "benchmark.pilot=0", 'benchmark.tasks=["classification"]', 'benchmark.classification_arms=["real","hybrid"]',
)  # fmt: skip


@pytest.fixture(scope="module")
def folded_run(tiny_run: FinishedRun, tmp_path_factory: pytest.TempPathFactory) -> Path:
    """A finished run that was judged again, over two folds."""
    return judged_again(tiny_run, tmp_path_factory.mktemp("folds") / "run", OVERRIDES)


def test_each_fold_is_tested_by_a_generator_that_never_saw_it(folded_run: Path) -> None:
    whole = set(open_manifest(folded_run / "real").table(["pair_id"])["pair_id"].to_pylist())
    tested: list[str] = []
    adapters: list[set[str]] = []
    for fold in ("1", "2"):
        real, made = (open_manifest(folded_run / "folds" / fold / name) for name in ("real", "synthetic"))
        tested += real.table(["pair_id"], split="test")["pair_id"].to_pylist()
        trained = set(real.table(["pair_id"], split="train")["pair_id"].to_pylist())
        table = made.table(["adapter_digest", "nearest_real_id"], accepted_only=False).to_pydict()
        assert made.header["provenance"]["inputs"]["real"] == real.digest
        assert set(table["nearest_real_id"]) - {None} <= trained
        adapters.append(set(table["adapter_digest"]))
    assert sorted(tested) == sorted(whole)
    assert adapters[0] and adapters[1] and not adapters[0] & adapters[1]


def test_results_and_report_name_the_folds(folded_run: Path) -> None:
    found = _results(folded_run)
    assert [fold["fold"] for fold in found["data"]["folds"]] == [1, 2]
    assert found["settings"]["folds"] == 2
    (comparison,) = (c for c in found["comparisons"] if c["primary"])
    assert len(comparison["per_fold"]) == 2
    assert {run["fold"] for arm in found["arms"] for run in arm["runs"]} == {1, 2}
    page = (folded_run / "report.html").read_text()
    assert "By fold" in page and "each pair of train, validation, test is tested once" in page


def test_what_a_kill_took_of_a_fold_is_made_again_the_same_and_nothing_else(folded_run: Path) -> None:
    kept = folded_run / "folds" / "1" / "work" / "benchmark" / "real-classification-0.json"
    lost = folded_run / "folds" / "2" / "work" / "benchmark" / "hybrid-classification-0.json"
    before, predicted, time = _results(folded_run), json.loads(lost.read_text())["predictions"], kept.stat().st_mtime_ns
    (folded_run / ".steps" / "folds-2.json").unlink()
    lost.unlink()
    assert execute(open_job(folded_run), JUDGING_STEPS) == 0
    assert json.loads(lost.read_text())["predictions"] == predicted
    assert _results(folded_run) == before and kept.stat().st_mtime_ns == time


def test_more_folds_than_a_class_has_lesions_are_refused_before_anything_is_made(
    tiny_run: FinishedRun, tmp_path: Path
) -> None:
    out = tmp_path / "run"
    shutil.copytree(tiny_run.out, out, ignore=shutil.ignore_patterns("prefect", "work", "adapters"))
    with pytest.raises(BadInput, match=r"benchmark\.folds=40 leaves a fold without class \w+, of which \d+ lesions"):
        execute(open_job(out, ("engine.name=plain", "benchmark.folds=40")))
    assert not (out / "adapters").exists()


def test_pairs_of_which_none_is_held_out_are_refused_before_anything_is_made(tmp_path: Path) -> None:
    manifest(tmp_path / "real", real_rows({"train": {"mel": 3, "nv": 3}}))
    job = Job(RunFolder(tmp_path), tmp_path / "data", "tiny", load_settings("tiny"))
    fix = r"no validation and no test pair; .*prepare\.validation_fraction and prepare\.test_fraction above 0"
    with pytest.raises(BadInput, match=fix):
        run_steps(job, Watch(None), lambda job, calls: pytest.fail("a call was made"), ("adapt", *JUDGING_STEPS))


def _results(run: Path) -> dict[str, Any]:
    found = json.loads((run / "results.json").read_text())
    return {name: value for name, value in found.items() if name not in whole_run.ASIDE}
