"""What a CI job can rely on when it compares two results files, and what the history keeps."""

from __future__ import annotations

import copy
import json
import re
from collections.abc import Callable
from pathlib import Path
from typing import Any

import pytest

from evaluate.compare import Comparison, compare_results
from evaluate.report.history import append_history, mean_of, read_history
from manifests.errors import BadInput
from tests.evaluate.report.drawn_manifests import write_real, write_synthetic
from tests.evaluate.report.report_fixture import make_results

Results = dict[str, Any]


@pytest.fixture(scope="module")
def results(tmp_path_factory: pytest.TempPathFactory) -> Results:
    """Results of both tasks; copied before they are changed."""
    folder = tmp_path_factory.mktemp("compared")
    return make_results(write_real(folder / "real"), write_synthetic(folder / "synthetic"))


def compared(
    folder: Path,
    old: Results,
    edit: Callable[[Results], None],
    tolerance: float | None = None,
    allow_missing: bool = False,
) -> Comparison:
    """`old` against a copy that `edit` has changed."""
    new = copy.deepcopy(old)
    edit(new)
    for name, content in (("old", old), ("new", new)):
        (folder / f"{name}.json").write_text(json.dumps(content))
    return compare_results(folder / "old.json", folder / "new.json", tolerance, allow_missing)


def shift(task: str, arm: str, metric: str, by: float) -> Callable[[Results], None]:
    """An edit that moves one metric and its interval."""

    def edit(results: Results) -> None:
        for row in results["arms"]:
            if (row["task"], row["name"]) == (task, arm):
                found = row["metrics"][metric]
                found["mean"] += by
                found["interval"] = [edge + by for edge in found["interval"]]

    return edit


def nothing(results: Results) -> None:
    """No change."""


def test_the_same_results_hold_no_regression(tmp_path: Path, results: Results) -> None:
    found = compared(tmp_path, results, nothing)
    assert found.regressions == found.improvements == ()
    assert found.unchanged == sum(len(arm["metrics"]) for arm in results["arms"])
    assert found.markdown.startswith("## No regression\n")


def test_a_metric_below_its_interval_is_a_regression(tmp_path: Path, results: Results) -> None:
    found = compared(tmp_path, results, shift("classification", "hybrid", "macro_f1", -0.05))
    assert [(c.task, c.arm, c.metric) for c in found.regressions] == [("classification", "hybrid", "macro_f1")]
    told = "classification hybrid, Macro-F1: 63.0 to 58.0 (allowed: 59.0 to 67.0)"
    assert found.regressions[0].sentence == told
    assert "| classification | hybrid | Macro-F1 | 63.0 | 58.0 | 59.0 to 67.0 |" in found.markdown
    assert found.markdown.startswith("## 1 regression\n")


def test_a_metric_above_its_interval_is_an_improvement(tmp_path: Path, results: Results) -> None:
    found = compared(tmp_path, results, shift("segmentation", "real", "dice", 0.05))
    assert not found.regressions and [c.metric for c in found.improvements] == ["dice"]


def test_a_metric_inside_its_interval_is_neither(tmp_path: Path, results: Results) -> None:
    found = compared(tmp_path, results, shift("segmentation", "real", "dice", -0.03))
    assert not found.regressions and not found.improvements


def test_where_lower_is_better_a_rise_is_the_regression(tmp_path: Path, results: Results) -> None:
    worse = compared(tmp_path, results, shift("segmentation", "hybrid", "hd95", 1.0))
    assert [c.metric for c in worse.regressions] == ["hd95"]
    better = compared(tmp_path, results, shift("segmentation", "hybrid", "hd95", -1.0))
    assert [c.metric for c in better.improvements] == ["hd95"] and not better.regressions


def test_a_stated_tolerance_takes_the_place_of_the_interval(tmp_path: Path, results: Results) -> None:
    edit = shift("segmentation", "real", "dice", -0.03)
    assert [c.metric for c in compared(tmp_path, results, edit, 0.02).regressions] == ["dice"]
    assert not compared(tmp_path, results, edit, 0.03).regressions
    large = shift("segmentation", "real", "dice", -0.2)
    assert not compared(tmp_path, results, large, 0.5).regressions


def test_a_metric_that_can_no_longer_be_computed_is_a_regression(tmp_path: Path, results: Results) -> None:
    def edit(new: Results) -> None:
        lost = {"mean": None, "interval": None, "reason": "a seed lacks it"}
        new["arms"][0]["metrics"]["auroc"] |= lost | {"per_seed": [None, None, None]}

    found = compared(tmp_path, results, edit)
    assert [(c.metric, c.reason) for c in found.regressions] == [("auroc", "a seed lacks it")]
    assert "a seed lacks it" in found.markdown


def test_what_cannot_be_judged_is_said(tmp_path: Path, results: Results) -> None:
    old = copy.deepcopy(results)
    old["arms"][0]["metrics"]["recall:bkl"]["interval"] = None
    found = compared(tmp_path, old, nothing)
    assert not found.regressions
    assert "1 metric not judged: has no interval; state a tolerance to judge it." in found.notes
    assert not compared(tmp_path, old, nothing, 0.01).notes


def without_synthetic(new: Results) -> None:
    """An edit that takes an arm away from both tasks."""
    new["arms"] = [arm for arm in new["arms"] if arm["name"] != "synthetic"]


def without_auroc(new: Results) -> None:
    """An edit that takes a metric away from one arm."""
    new["arms"][0]["metrics"].pop("auroc")


def test_an_arm_that_is_gone_is_a_regression_unless_that_is_allowed(tmp_path: Path, results: Results) -> None:
    found = compared(tmp_path, results, without_synthetic)
    assert [(c.task, c.arm) for c in found.regressions] == [
        ("classification", "synthetic"),
        ("segmentation", "synthetic"),
    ]
    assert "| classification | synthetic | every metric |" in found.markdown
    assert "not in the new results" in found.markdown
    allowed = compared(tmp_path, results, without_synthetic, allow_missing=True)
    told = "Only in the old results, so not compared: classification synthetic and segmentation synthetic."
    assert not allowed.regressions and told in allowed.notes and told in allowed.markdown


def test_a_metric_that_is_gone_is_a_regression_unless_that_is_allowed(tmp_path: Path, results: Results) -> None:
    found = compared(tmp_path, results, without_auroc)
    assert [(c.arm, c.metric, c.reason) for c in found.regressions] == [("real", "auroc", "not in the new results")]
    allowed = compared(tmp_path, results, without_auroc, allow_missing=True)
    told = "Only in the old results, so not compared: classification real AUROC, mean over classes."
    assert not allowed.regressions and allowed.notes == (told,)


def test_arms_of_the_new_file_only_are_named(tmp_path: Path, results: Results) -> None:
    old = copy.deepcopy(results)
    without_synthetic(old)
    found = compared(tmp_path, old, lambda new: new.update(arms=results["arms"]))
    told = "Only in the new results, so not compared: classification synthetic and segmentation synthetic."
    assert not found.regressions and told in found.notes


def test_a_changed_verdict_is_told(tmp_path: Path, results: Results) -> None:
    def edit(new: Results) -> None:
        new["verdicts"][0]["verdict"] = new["verdicts"][0]["comparison"]["verdict"] = "harm"

    found = compared(tmp_path, results, edit)
    assert found.verdicts == (
        "Classification: harm (was no difference)",
        "Segmentation: no difference, 4.3 points would show (as before)",
    )


@pytest.mark.parametrize(
    ("edit", "message"),
    [
        (lambda new: new.update(schema_version=99), "schema version 99"),
        (lambda new: new["data"]["real"].update(digest="f" * 64), "different real manifests"),
        (lambda new: new["data"]["real"]["counts"]["test"].update(nv=1), "different counts"),
        (lambda new: new["data"].update(classes=["mel", "nv", "bkl"]), "different classes"),
        (lambda new: new["arms"][0]["metrics"]["auroc"].update(mean=float("nan")), "not a finite number"),
        (lambda new: new.pop("arms"), "not a results file"),
    ],
)
def test_files_that_cannot_be_compared_are_bad_input(
    tmp_path: Path, results: Results, edit: Callable[[Results], None], message: str
) -> None:
    with pytest.raises(BadInput, match=message) as caught:
        compared(tmp_path, results, edit)
    assert "new.json" in str(caught.value) and "\n" not in str(caught.value)


def test_results_without_a_common_arm_are_bad_input(tmp_path: Path, results: Results) -> None:
    def edit(new: Results) -> None:
        for arm in new["arms"]:
            arm["name"] = "real+strong"

    with pytest.raises(BadInput, match="no arm and metric in common"):
        compared(tmp_path, results, edit)


@pytest.mark.parametrize("tolerance", [-0.1, float("nan"), float("inf")])
def test_a_tolerance_that_is_no_distance_is_bad_input(tmp_path: Path, results: Results, tolerance: float) -> None:
    with pytest.raises(BadInput, match="tolerance"):
        compared(tmp_path, results, nothing, tolerance)


def test_missing_and_broken_files_are_bad_input(tmp_path: Path, results: Results) -> None:
    (tmp_path / "old.json").write_text(json.dumps(results))
    with pytest.raises(BadInput, match=r"new\.json"):
        compare_results(tmp_path / "old.json", tmp_path / "new.json")
    (tmp_path / "new.json").write_text("{")
    with pytest.raises(BadInput, match="not JSON"):
        compare_results(tmp_path / "old.json", tmp_path / "new.json")


def test_markdown_of_hostile_names_stays_one_table(tmp_path: Path, results: Results) -> None:
    old = copy.deepcopy(results)
    old["metrics"]["dice"]["title"] = "Di|ce\n<b>`x`"
    markdown = compared(tmp_path, old, shift("segmentation", "real", "dice", -0.1)).markdown
    row = next(line for line in markdown.splitlines() if line.startswith("| segmentation"))
    assert len(re.findall(r"(?<!\\)\|", row)) == 7 and "\\<b\\>" in row


def test_each_run_appends_one_line_to_the_history(tmp_path: Path, results: Results) -> None:
    file, history = tmp_path / "results.json", tmp_path / "kept" / "history.jsonl"
    file.write_text(json.dumps(results))
    append_history(file, history)
    history.write_text(history.read_text() + '{"cut sho')
    append_history(file, history)
    file.write_text(json.dumps(results | {"timings": {"prepare": 1.0}}))
    append_history(file, history)
    append_history(file, history)
    assert history.read_text().endswith("}\n") and len(history.read_text().splitlines()) == 3
    found = read_history(history, results["data"]["real"]["digest"])
    assert (len(found.entries), found.others, found.broken) == (2, 0, 1)
    assert mean_of(found.entries[1], "segmentation", "hybrid", "dice") == results["arms"][6]["metrics"]["dice"]["mean"]
    assert mean_of(found.entries[1], "segmentation", "unheard-of", "dice") is None


def test_a_history_that_cannot_be_one_is_bad_input(tmp_path: Path, results: Results) -> None:
    (tmp_path / "results.json").write_text(json.dumps(results))
    with pytest.raises(BadInput, match="is a folder"):
        append_history(tmp_path / "results.json", tmp_path)
    with pytest.raises(BadInput, match="cannot be read"):
        append_history(tmp_path / "nowhere.json", tmp_path / "history.jsonl")
    assert not (tmp_path / "history.jsonl").exists()


@pytest.mark.parametrize(
    "line",
    [
        "[]",
        "null",
        "7",
        '"x"',
        '{"history_version": 1}',
        '{"history_version": 2}',
        '{"history_version": 1, "arms": [3]}',
    ],
)
def test_lines_that_are_no_entries_are_counted(tmp_path: Path, line: str) -> None:
    (tmp_path / "history.jsonl").write_text(f"{line}\n\n")
    found = read_history(tmp_path / "history.jsonl", "d")
    assert (found.entries, found.others, found.broken) == ((), 0, 1)
