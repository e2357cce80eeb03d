"""The benchmark end to end at a tiny size: every arm, resuming cell by cell, a split that cannot be broken."""

from __future__ import annotations

import json
from pathlib import Path
from typing import Any

import pytest
import torch

from evaluate.benchmark.cells import Cell, plan_cells, run_cell
from evaluate.benchmark.collect import collect_results
from evaluate.benchmark.evidence import evidence_notes
from evaluate.results import write_results
from evaluate.settings.benchmark import BenchmarkSettings
from manifests.errors import BadInput, EvendermError
from manifests.format.reading import Manifest
from manifests.progress import StopRequested
from tests.evaluate.benchmark.benchmark_fixture import COUNTS, FEW, SETTINGS, manifest, real_and_generated, real_rows

torch.set_num_threads(1)


@pytest.fixture(scope="module")
def data(tmp_path_factory: pytest.TempPathFactory) -> tuple[Manifest, Manifest]:
    return real_and_generated(tmp_path_factory.mktemp("data"))


@pytest.fixture(scope="module")
def finished(data: tuple[Manifest, Manifest], tmp_path_factory: pytest.TempPathFactory) -> tuple[Path, dict[str, Any]]:
    real, synthetic = data
    work = tmp_path_factory.mktemp("work")
    restricted = {0.5: synthetic}
    for cell in plan_cells(SETTINGS, real.counts(), True, restricted):
        run_cell(cell, real, synthetic, SETTINGS, work, restricted=restricted)
    found = collect_results(
        work, real, synthetic, SETTINGS, {"python": "3"}, {"benchmark": 1.0},
        restricted=restricted, copies={"rate": 0.0},
    )  # fmt: skip
    return work, found


def test_every_arm_of_both_tasks_is_in_valid_results(finished: tuple[Path, dict[str, Any]], tmp_path: Path) -> None:
    _, found = finished
    write_results(tmp_path / "results.json", found)
    names = {(arm["task"], arm["name"]) for arm in found["arms"]}
    assert names == {(task, str(arm)) for task in SETTINGS.tasks for arm in SETTINGS.arms(task)}
    for arm in found["arms"]:
        assert arm["seeds"] == [0, 1] and arm["updates"] == 2
        first = "macro_f1" if arm["task"] == "classification" else "dice"
        low, high = arm["metrics"][first]["interval"]
        assert 0 <= low <= arm["metrics"][first]["mean"] <= high <= 1
        assert (arm["confusion"] is None) == (arm["task"] == "segmentation")
    assert found["copies"] == {"rate": 0.0} and found["fidelity"] is None
    assert [v["task"] for v in found["verdicts"]] == ["classification", "segmentation"]


def test_all_arms_have_one_budget(finished: tuple[Path, dict[str, Any]]) -> None:
    for arm in finished[1]["arms"]:
        draws = [n for by_dx in arm["draws"].values() for n in by_dx.values()]
        assert sum(draws) == pytest.approx(2 * 8, abs=2)
        assert {run["updates"] for run in arm["runs"]} == {2}
    sizes = {(arm["task"], arm["model"], arm["parameters"]) for arm in finished[1]["arms"]}
    assert len(sizes) == 2


def test_train_counts_tell_what_was_seen(finished: tuple[Path, dict[str, Any]]) -> None:
    of_classes = [arm for arm in finished[1]["arms"] if arm["task"] == "classification"]
    counts = {arm["name"]: arm["train_counts"] for arm in of_classes}
    assert counts["real"] == {"real": {"nv": 16, "mel": 6}, "synthetic": {"nv": 0, "mel": 0}}
    assert counts["hybrid"]["synthetic"] == {"nv": 2, "mel": 8}
    assert counts["synthetic"]["real"] == {"nv": 0, "mel": 0}
    assert counts["hybrid-ungated"]["synthetic"] == {"nv": 2, "mel": 8}
    assert counts["real%50"]["real"] == {"nv": 8, "mel": 3}


def test_of_a_number_of_own_pairs_the_share_is_told_where_the_arm_learns_from_generated_ones_alone_too(
    data: tuple[Manifest, Manifest], tmp_path: Path
) -> None:
    real, synthetic = data
    settings = FEW.model_copy(update={"classification_arms": ("real#20", "synthetic#20")})
    restricted = {20.0: synthetic}
    for cell in plan_cells(settings, real.counts(), True, restricted):
        run_cell(cell, real, synthetic, settings, tmp_path, restricted=restricted)
    found = collect_results(tmp_path, real, synthetic, settings, {}, {}, restricted=restricted)
    write_results(tmp_path / "results.json", found)
    assert [arm["fraction"] for arm in found["arms"]] == [20 / 22, 20 / 22]


def test_subgroups_with_enough_pairs_have_figures(finished: tuple[Path, dict[str, Any]]) -> None:
    for arm in finished[1]["arms"]:
        groups = {(g["attribute"], g["value"]) for g in arm["subgroups"]}
        assert groups == {("sex", "female"), ("sex", "male")}
        assert sum(g["pairs"] for g in arm["subgroups"]) == 13


def test_the_notes_tell_small_subgroups_few_seeds_and_controls_that_are_missing(
    finished: tuple[Path, dict[str, Any]],
) -> None:
    notes = finished[1]["data"]["notes"]
    told = "subgroups by site with fewer than 4 test pairs have no figures of their own: back (2)"
    assert notes.count(told) == 1
    assert any(note.startswith("each arm was trained with 2 seeds, and evidence asks for 3") for note in notes)
    assert not any("were not trained" in note for note in notes)
    few = evidence_notes(BenchmarkSettings(), {(task, arm) for task in SETTINGS.tasks for arm in ("real", "hybrid")})
    assert [note.partition(" not trained")[0] for note in few] == [
        "classification: of the controls, real+oversampling, real+weighted-loss, real+replay, real+copy-paste were",
        "segmentation: of the controls, real+oversampling, real+replay, real+copy-paste were",
    ]
    assert evidence_notes(BenchmarkSettings(), {("classification", "real")}) == []


def test_finished_cells_are_recognised_and_damaged_ones_run_again(
    data: tuple[Manifest, Manifest], finished: tuple[Path, dict[str, Any]]
) -> None:
    real, synthetic = data
    work, _ = finished
    cell = Cell("hybrid", "classification", 0)

    def forbidden(done: int, total: int, **figures: float | str) -> None:
        raise AssertionError("a finished cell was trained again")

    path = run_cell(cell, real, synthetic, SETTINGS, work, forbidden)
    before = {name: (work / name).read_bytes() for name in _predictions(path)}
    assert len(before) == 2
    next(iter(work.glob("hybrid-classification-0-test.npy"))).write_bytes(b"damaged")
    run_cell(cell, real, synthetic, SETTINGS, work)
    assert {name: (work / name).read_bytes() for name in before} == before
    longer = SETTINGS.model_copy(update={"classifier": SETTINGS.classifier.model_copy(update={"updates": 3})})
    with pytest.raises(AssertionError, match="trained again"):
        run_cell(cell, real, synthetic, longer, work, forbidden)


def _predictions(path: Path) -> list[str]:
    return [saved["file"] for saved in json.loads(path.read_text())["predictions"].values()]


def test_an_interrupted_benchmark_goes_on_and_ends_the_same(data: tuple[Manifest, Manifest], tmp_path: Path) -> None:
    real, synthetic = data

    def run(work: Path, stop_at: int | None) -> None:
        updates = 0

        def progress(done: int, total: int, **figures: float | str) -> None:
            nonlocal updates
            updates += 1
            if updates == stop_at:
                raise StopRequested

        for cell in plan_cells(FEW, real.counts(), True):
            run_cell(cell, real, synthetic, FEW, work, progress)

    run(tmp_path / "whole", None)
    with pytest.raises(StopRequested):
        run(tmp_path / "resumed", 3)
    with pytest.raises(EvendermError, match="not finished"):
        collect_results(tmp_path / "resumed", real, synthetic, FEW, {}, {})
    run(tmp_path / "resumed", None)
    names = sorted(p.name for p in (tmp_path / "whole").glob("*.npy"))
    assert names and names == sorted(p.name for p in (tmp_path / "resumed").glob("*.npy"))
    for name in names:
        assert (tmp_path / "whole" / name).read_bytes() == (tmp_path / "resumed" / name).read_bytes()
    found = [_timeless(collect_results(tmp_path / w, real, synthetic, FEW, {}, {})) for w in ("whole", "resumed")]
    assert found[0] == found[1]


def _timeless(found: dict[str, Any]) -> dict[str, Any]:
    """Everything but the time it took, which nothing else depends on."""
    return {name: part for name, part in found.items() if name != "timings"}


def test_without_generated_pairs_the_controls_run_and_the_rest_is_listed(
    data: tuple[Manifest, Manifest], tmp_path: Path
) -> None:
    real, _ = data
    cells = plan_cells(FEW, real.counts(), False)
    assert [cell.arm for cell in cells] == ["real"]
    run_cell(cells[0], real, None, FEW, tmp_path)
    found = collect_results(tmp_path, real, None, FEW, {}, {})
    assert [(s["arm"], s["reason"]) for s in found["data"]["skipped_arms"]] == [
        ("hybrid", "there are no generated pairs")
    ]
    assert found["comparisons"] == [] and found["verdicts"][0]["verdict"] is None
    with pytest.raises(BadInput, match="needs generated pairs"):
        run_cell(Cell("hybrid", "classification", 0), real, None, FEW, tmp_path)


def test_cells_go_seed_by_seed(data: tuple[Manifest, Manifest]) -> None:
    seeds = [c.seed for c in plan_cells(SETTINGS, data[0].counts(), True) if c.task == "segmentation"]
    assert seeds == sorted(seeds)
    assert len(plan_cells(BenchmarkSettings(), data[0].counts(), True)) == (4 + 3) * 3


def test_a_class_without_test_pairs_is_noted_and_its_metrics_are_null(
    data: tuple[Manifest, Manifest], tmp_path: Path
) -> None:
    classes = ("nv", "mel", "bkl")
    counts = {split: by_dx | {"bkl": 3} for split, by_dx in COUNTS.items() if split != "test"}
    real = manifest(tmp_path / "real", real_rows(counts | {"test": COUNTS["test"]}), classes=classes)
    settings = FEW.model_copy(update={"classification_arms": ("real",)})
    (cell,) = plan_cells(settings, real.counts(), False)
    run_cell(cell, real, None, settings, tmp_path / "work")
    found = collect_results(tmp_path / "work", real, None, settings, {}, {})
    assert found["data"]["notes"][0].startswith("class bkl has no test pair")
    recall = found["arms"][0]["metrics"]["recall:bkl"]
    assert (recall["mean"], recall["interval"], recall["per_seed"]) == (None, None, [None])
    assert recall["reason"] == "no test pair of class bkl"
    assert found["arms"][0]["metrics"]["macro_f1"]["mean"] is not None
