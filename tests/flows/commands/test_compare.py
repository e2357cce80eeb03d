"""`evenderm compare`: Markdown for a reviewer, exit code 3 for a regression."""

from __future__ import annotations

import json
from collections.abc import Callable
from pathlib import Path
from typing import Any

import pytest

from flows import command_line
from tests.evaluate.report.drawn_manifests import write_real, write_synthetic
from tests.evaluate.report.report_fixture import make_results


def _two_results(folder: Path, change: Callable[[dict[str, Any]], None]) -> list[str]:
    results = make_results(write_real(folder / "real"), write_synthetic(folder / "synthetic"))
    (folder / "old.json").write_text(json.dumps(results))
    change(results)
    (folder / "new.json").write_text(json.dumps(results))
    return ["compare", str(folder / "old.json"), str(folder / "new.json")]


def _worse(results: dict[str, Any]) -> None:
    results["arms"][2]["metrics"]["macro_f1"] |= {"mean": 0.4, "interval": [0.36, 0.44]}


def _fewer(results: dict[str, Any]) -> None:
    results["arms"] = [arm for arm in results["arms"] if arm["name"] != "synthetic"]


@pytest.mark.parametrize(
    ("change", "options", "code", "said"),
    [
        (lambda results: None, [], 0, "## No regression"),
        (_worse, [], 3, "## 1 regression"),
        (_worse, ["--tolerance", "0.9"], 0, "## No regression"),
        (_fewer, [], 3, "not in the new results"),
        (_fewer, ["--allow-missing"], 0, "Only in the old results, so not compared"),
    ],
)
def test_compare_prints_and_writes_markdown_and_ends_with_3_for_a_regression(
    change: Callable[[dict[str, Any]], None],
    options: list[str],
    code: int,
    said: str,
    tmp_path: Path,
    capsys: pytest.CaptureFixture[str],
) -> None:
    out = tmp_path / "new folder" / "compared.md"
    line = _two_results(tmp_path, change)
    assert command_line.exit_code([*line, *options, "--out", str(out)]) == code
    shown = capsys.readouterr()
    assert said in shown.out and shown.err == ""
    assert shown.out.rstrip() == out.read_text(encoding="utf-8").rstrip()


def test_compare_refuses_results_of_another_schema_in_one_line(
    tmp_path: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    line = _two_results(tmp_path, lambda results: results.update(schema_version=99))
    assert command_line.exit_code([*line, "--out", str(tmp_path / "compared.md")]) == 2
    shown = capsys.readouterr()
    assert "new.json" in shown.err and "schema version 99" in shown.err and shown.err.count("\n") == 1
    assert shown.out == "" and not (tmp_path / "compared.md").exists()
