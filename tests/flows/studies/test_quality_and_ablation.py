"""The commands that measure a generator: what they write, and that they spare what a run has made."""

from __future__ import annotations

import json
import math
import shutil
from pathlib import Path

import pytest

from evaluate.results import tables_of
from flows import command_line
from flows.run.folder import open_job
from flows.run.records import reason_to_run
from flows.studies.ablation import add_table
from manifests.errors import BadInput, EvendermError
from tests.flows.conftest import FinishedRun

QUICK = ("quality.share=0.3", "quality.seeds=1", "quality.classifier.updates=2", "quality.segmenter.updates=2",
         "quality.fidelity.size=64", "sampling.steps=2", "adapt.steps=2")  # fmt: skip


@pytest.fixture
def run(tiny_run: FinishedRun, tmp_path: Path) -> Path:
    return Path(shutil.copytree(tiny_run.out, tmp_path / "run", ignore=shutil.ignore_patterns("prefect")))


def _exit_code(name: str, data: Path, out: Path, *more: str) -> int:
    words = [name, "--data", str(data), "--out", str(out), "--preset", "tiny", *more]
    return command_line.exit_code([*words, *(word for one in QUICK for word in ("--set", one))])


def test_tables_join_the_results_of_a_run_and_its_report_and_nothing_is_done_again(
    tiny_run: FinishedRun, run: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    before = json.loads((run / "results.json").read_text())
    for _ in range(2):
        assert _exit_code("ablate", tiny_run.data, run, "--what", "codec") == 0
    printed = capsys.readouterr().out
    results = json.loads((run / "results.json").read_text())
    rows = results.pop("ablation_codec")
    assert results == before and "| signed distance, 1 channel, noise 0 |" in printed
    assert {"variant", "dice", "dice_p5", "boundary_error"} == set(rows[0])
    assert "Ablation codec" in (run / "report.html").read_text()
    from flows.judging import benchmark

    job = open_job(run)
    assert reason_to_run(job.folder, benchmark.steps(job)[0]) is None


def test_ways_to_adapt_are_compared_without_judges(
    phantom_folder: Path, joint_base: Path, tmp_path: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    narrow = ("--set", f"base.path={joint_base}")
    assert _exit_code("ablate", phantom_folder, tmp_path / "ablation", "--what", "adapters", *narrow) == 0
    printed = capsys.readouterr().out
    assert "| variant | loss_before | loss_after | steps_per_second |" in printed
    assert "| second convolutions, rate 0.001 |" in printed


def test_adapters_of_a_run_stand_beside_the_base_and_adapters_without_a_domain_stage_class_by_class(
    run: Path, tmp_path: Path
) -> None:
    adapters, out = run / "adapters", tmp_path / "adapted"
    shutil.copy(adapters / "mel.safetensors", adapters / "domain.safetensors")
    assert _exit_code("ablate", run, out, "--what", "adapted") == 0
    rows = {row.pop("variant"): row for row in json.loads((out / "results.json").read_text())["ablation_adapted"]}
    sets = ("real pairs", "base alone", "adapters", "adapters without a domain stage")
    assert list(rows) == [name for one in sets for name in (one, *(f"{one}: {dx}" for dx in ("bkl", "mel", "nv")))]
    assert all(0 <= rows[name][figure] <= 1 for name in rows for figure in ("own_class", "agreement", "copies"))
    assert (out / "work" / "adapted" / "ways" / "base-alone.png").is_file()


@pytest.mark.parametrize(("what", "said"), [("adapted", "no adapter"), ("recipes", "no committed manifest")])
def test_a_study_of_a_run_needs_what_the_run_has_not_made(
    run: Path, tmp_path: Path, capsys: pytest.CaptureFixture[str], what: str, said: str
) -> None:
    shutil.rmtree(run / "adapters")
    shutil.rmtree(run / "synthetic")
    assert _exit_code("ablate", run, tmp_path / "out", "--what", what) == 2
    assert said in "".join(capsys.readouterr())


def test_every_table_stays_when_another_is_measured(tmp_path: Path) -> None:
    for name in ("codec", "sampling"):
        add_table(tmp_path, name, [{"variant": f"of {name}", "dice": 0.9, "kid": None}])
    results = json.loads((tmp_path / "results.json").read_text())
    assert {"ablation_codec", "ablation_sampling", "schema_version"} == set(results) and tables_of(
        tmp_path / "results.json"
    ).keys() == {"ablation_codec", "ablation_sampling"}
    text = (tmp_path / "ablation.md").read_text()
    assert "## Mask codecs" in text and "| of sampling | 0.9000 |  |" in text


def test_a_results_file_of_something_else_is_left_alone(
    phantom_folder: Path, tmp_path: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    (tmp_path / "results.json").write_text('{"schema_version": 99}')
    assert _exit_code("ablate", phantom_folder, tmp_path, "--what", "codec") == 2
    assert "schema version 99" in "".join(capsys.readouterr())
    assert (tmp_path / "results.json").read_text() == '{"schema_version": 99}'


def test_what_breaks_the_contract_of_results_is_never_written(run: Path) -> None:
    before = (run / "results.json").read_text()
    with pytest.raises(EvendermError, match="not a finite number"):
        add_table(run, "codec", [{"variant": "one", "dice": math.nan}])
    assert (run / "results.json").read_text() == before
    (run / "results.json").write_text(json.dumps({**json.loads(before), "arms": "none"}))
    with pytest.raises(BadInput, match="not a results file"):
        add_table(run, "codec", [{"variant": "one", "dice": 0.9}])


def test_quality_writes_its_table_and_a_sheet(
    phantom_folder: Path, joint_base: Path, tmp_path: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    assert _exit_code("quality", phantom_folder, tmp_path / "quality", "--set", f"base.path={joint_base}") == 0
    assert capsys.readouterr().out.count("\n| ") >= 10
    assert {"quality.md", "quality.json", "contact_sheet.png"} <= {
        path.name for path in (tmp_path / "quality").iterdir()
    }
