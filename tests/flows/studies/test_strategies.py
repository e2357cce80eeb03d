"""evenderm strategies: the tables and the plot, from a run of drawn pairs."""

from __future__ import annotations

import json
from pathlib import Path
from xml.etree import ElementTree

import pytest

from flows import command_line

pytest_plugins = ["tests.flows.explain.explain_fixture"]

TINY = (
    "images=3", "strengths=0.8", "guidances=2", "tries=2", "references=2", "witness.updates=2", "witness.size=32",
    "witness.batch_size=4",
)  # fmt: skip


def test_strategies_and_faithfulness_become_tables_with_intervals_and_a_plot_and_are_not_measured_twice(
    explained_run: Path, tmp_path: Path, capsys: pytest.CaptureFixture[str], monkeypatch: pytest.MonkeyPatch
) -> None:
    sets = [part for setting in TINY for part in ("--set", f"explain.strategies.{setting}")]
    assert command_line.exit_code(["strategies", "--run", str(explained_run), "--out", str(tmp_path), *sets]) == 0
    document = json.loads((tmp_path / "strategies.json").read_text(encoding="utf-8"))
    assert {row["kind"] for row in document["strategies"]} == {"text", "image", "inpainting"}
    assert {row["rank"] for row in document["strategies"]} == {0}  # this run has no adapters
    inside = next(row for row in document["strategies"] if row["kind"] == "inpainting")
    assert inside["psnr"]["mean"] == 99 and len(inside["gain"]["interval"]) == 2
    assert {row["dx"] for row in document["faithfulness"]} == {"mel", "nv", "bkl"}
    plot = ElementTree.parse(tmp_path / "strategies.svg").getroot()
    assert plot.tag.endswith("svg") and {row["name"] for row in document["strategies"]} <= {*plot.itertext()}
    shown = capsys.readouterr().out
    assert "# Faithfulness" in shown and "neither generator nor gates nor diagnoser have seen" in shown
    monkeypatch.setattr("evaluate.studies.strategies.measured_row", lambda *_: pytest.fail("measured again"))
    assert command_line.exit_code(["strategies", "--run", str(explained_run), "--out", str(tmp_path), *sets]) == 0
    assert json.loads((tmp_path / "strategies.json").read_text(encoding="utf-8")) == document
