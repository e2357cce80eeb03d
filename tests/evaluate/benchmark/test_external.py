"""External sets: which pairs of other hospitals may test a run's models, and what the models reach on them."""

from __future__ import annotations

from dataclasses import replace
from pathlib import Path
from typing import Any

import pytest
from pydantic import ValidationError

from evaluate.benchmark.cells import has_model, is_finished, model_folder, plan_cells, run_cell
from evaluate.benchmark.collect import collect_results
from evaluate.benchmark.external import (
    admit_pairs,
    external_notes,
    external_results,
    predict_sets,
    sets_left,
    untested,
)
from evaluate.benchmark.folds import Round
from evaluate.downstream.network import Downstream
from evaluate.settings.arms import TASKS
from evaluate.settings.benchmark import BenchmarkSettings
from manifests.copying import Changes, write_subset
from manifests.duplicates.sketches import sketched, thumbnails, training_pictures
from manifests.errors import BadInput
from manifests.format.reading import Manifest, open_manifest
from manifests.format.schema import UNLABELLED, PairRow
from manifests.phantom.draw import draw_pair
from manifests.png import encode_mask, encode_png
from tests.evaluate.benchmark.benchmark_fixture import FEW, manifest, real_and_generated

SPLITS = ("train", "train", "train", "validation", "test")


def drawn(name: str, dx: str, seed: int, index: int, masked: bool = True, **changed: Any) -> PairRow:
    """A pair of the phantom; the same seed and index show the same lesion."""
    pair = draw_pair("nv" if dx == UNLABELLED else dx, seed, index, 128)
    fields = {"dx": dx, "split": SPLITS[index % 5], "group_id": f"{name}-{dx}-{index}"} | changed
    mask = encode_mask(pair.mask) if masked else None
    return PairRow(f"{name}:{dx}-{index}", encode_png(pair.image), mask, source=name, licence="CC0-1.0", **fields)


def drawn_manifest(folder: Path, rows: list[PairRow], **provenance: Any) -> Manifest:
    return manifest(folder, rows, classes=sorted({row.dx for row in rows} - {UNLABELLED}), **provenance)


@pytest.fixture(scope="module")
def home(tmp_path_factory: pytest.TempPathFactory) -> Manifest:
    rows = [drawn("home", dx, 1, index) for dx in ("bkl", "mel", "nv") for index in range(5)]
    return drawn_manifest(tmp_path_factory.mktemp("home") / "real", rows)


def admitted(home: Manifest, rows: list[PairRow], folder: Path, **renamed: str | None) -> Manifest:
    source = drawn_manifest(folder / "source", rows)
    return admit_pairs("away", source, home, renamed, folder / "out", folder / "work")


def test_what_the_base_was_trained_on_is_left_out_and_counted(home: Manifest, tmp_path: Path) -> None:
    source = drawn_manifest(tmp_path / "source", [drawn("away", dx, 2, 0) for dx in ("mel", "nv")])
    pair = draw_pair("mel", 2, 0, 128)
    pictures = training_pictures(sketched(thumbnails(pair.image, pair.mask)[None]))
    pairs = admit_pairs("away", source, home, {}, tmp_path / "out", tmp_path / "work", pictures=pictures)
    assert pairs.table(["pair_id"])["pair_id"].to_pylist() == ["away:nv-0"]
    assert "away:mel-0, which is like a picture that the base was trained on" in external_notes(pairs, TASKS)[0]


def test_classes_are_matched_by_code_and_others_left_out_and_counted(home: Manifest, tmp_path: Path) -> None:
    rows = [drawn("away", "mel", 2, 0), drawn("away", "nv", 2, 1)]
    rows += [replace(drawn("away", "nv", 2, 5 + i), pair_id=f"away:{dx}", dx=dx) for i, dx in enumerate(("df", "ak"))]
    pairs = admitted(home, rows, tmp_path, ak="bkl")
    assert pairs.classes == home.classes
    assert pairs.counts()["test"] == {"bkl": 1, "mel": 1, "nv": 1}
    assert external_notes(pairs, TASKS) == ["1 pairs of classes that this run does not train are left out: df 1"]


def test_pictures_of_lesions_that_the_run_trains_or_chooses_by_are_left_out_and_told(
    home: Manifest, tmp_path: Path
) -> None:
    seen = [drawn("away", "mel", 1, index) for index in (0, 3, 4)]  # of train, validation and test
    pairs = admitted(home, [*seen, drawn("away", "nv", 2, 0)], tmp_path)
    assert pairs.table(["pair_id"])["pair_id"].to_pylist() == ["away:mel-4", "away:nv-0"]
    assert external_notes(pairs, TASKS) == [
        "2 pairs show a lesion that this run or its base trains or chooses by and are left out, the first away:mel-0, "
        "which is like home:mel-0"
    ]
    with pytest.raises(
        BadInput, match=r"away: every picture .* shows a lesion that this run or its base trains on; give pictures"
    ):
        admitted(home, seen[:2], tmp_path / "all")


def test_a_set_without_a_class_of_the_run_is_refused_with_both_lists(home: Manifest, tmp_path: Path) -> None:
    rows = [replace(drawn("away", "nv", 2, 0), dx="wart")]
    with pytest.raises(BadInput, match=r"external away: .* has the classes wart, none .* \(bkl, mel, nv\); prepare it"):
        admitted(home, rows, tmp_path)


def test_without_given_masks_only_classes_are_tested_and_without_classes_only_masks(
    home: Manifest, tmp_path: Path
) -> None:
    unmasked = [drawn("away", dx, 2, 0, masked=False) for dx in ("mel", "nv")]
    found = [replace(drawn("away", "mel", 2, 1), mask_origin="predicted", mask_confidence=0.9)]
    pairs = admitted(home, unmasked + found, tmp_path)
    assert untested(pairs, TASKS) == {"segmentation": "no masks are given"}
    lesions = [replace(drawn("masks", "nv", 2, index), dx="lesion") for index in range(2)]
    source = drawn_manifest(tmp_path / "masks", lesions, task="segmentation")
    alone = admit_pairs("masks", source, home, {}, tmp_path / "alone", tmp_path / "work")
    assert list(untested(alone, TASKS)) == ["classification"]
    assert "classification is not tested: its pairs are of fewer than two" in external_notes(alone, TASKS)[0]


def test_generated_pairs_are_no_external_set(home: Manifest, tmp_path: Path) -> None:
    _, synthetic = real_and_generated(tmp_path)
    with pytest.raises(BadInput, match="holds generated pairs; give a set of real ones"):
        admit_pairs("away", synthetic, home, {}, tmp_path / "out", tmp_path / "work")


@pytest.mark.parametrize("sets", [{"../up": "x"}, {"": "x"}, {"a": " "}, {"a": "x", "A": "y"}, {"a/b": "x"}])
def test_a_name_that_is_no_folder_of_its_own_is_refused(sets: dict[str, str]) -> None:
    with pytest.raises(ValidationError, match=r"name of letters|capital letters"):
        BenchmarkSettings(external=sets)


@pytest.fixture(scope="module")
def trained(tmp_path_factory: pytest.TempPathFactory) -> Round:
    """Cells of both tasks that were trained before anybody asked for an external set."""
    folder = tmp_path_factory.mktemp("trained")
    real, synthetic = real_and_generated(folder)
    settings = FEW.model_copy(update={"tasks": TASKS, "segmentation_arms": ("real", "hybrid")})
    for cell in plan_cells(settings, real.counts(), True):
        run_cell(cell, real, synthetic, settings, folder / "work", arrays=folder / "arrays")
    return Round(folder / "work", real, synthetic, settings, folder / "arrays")


def own_test_pairs(trained: Round, folder: Path) -> Manifest:
    """The run's own test pairs as if they came from elsewhere."""
    ids = trained.real.table(["pair_id"], split="test")["pair_id"].to_pylist()
    noted = {"external": {"left_out": {}, "seen": 0, "first_seen": []}}
    return write_subset(trained.real, ids, folder, changes=Changes(trained.real.classes, noted=noted))


def test_trained_models_are_tested_elsewhere_without_being_trained_again(
    trained: Round, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    externals = {"own": own_test_pairs(trained, tmp_path / "own")}
    cells = plan_cells(trained.settings, trained.real.counts(), True)
    monkeypatch.setattr(Downstream, "fit", None)
    for cell in cells:
        assert sets_left(cell, externals, trained) == ["own"]
        predict_sets(cell, externals, trained)
        assert sets_left(cell, externals, trained) == []
    results = collect_results(
        trained.work, trained.real, trained.synthetic, trained.settings, {}, {}, arrays=trained.arrays
    )
    elsewhere = external_results("own", externals["own"], [trained], results["arms"])
    assert elsewhere["counts"] == trained.real.counts()["test"]
    # What is tested on the same pairs reaches the same, and the same is said of it.
    assert [arm["metrics"] for arm in elsewhere["arms"]] == [arm["metrics"] for arm in results["arms"]]
    assert elsewhere["comparisons"] == results["comparisons"]
    assert elsewhere["verdicts"] == results["verdicts"]
    # The seeds of a fold count once: what differs between models is told by the folds.
    arms = [arm | {"seeds": [0, 0]} for arm in results["arms"]]
    of_folds = external_results("own", externals["own"], [trained, trained, trained], arms)
    dice = next(arm for arm in of_folds["arms"] if arm["task"] == "segmentation")["metrics"]["dice"]
    assert len(dice["per_seed"]) == 3 and dice["mean"] == pytest.approx(dice["per_seed"][0])
    # Folds are no seeds: of one seed there is no verdict, here as on the run's own pairs.
    assert {verdict["verdict"] for verdict in of_folds["verdicts"] + results["verdicts"]} == {None}


def test_a_changed_set_or_prediction_is_tested_again(trained: Round, tmp_path: Path) -> None:
    cell = plan_cells(trained.settings, trained.real.counts(), True)[0]
    externals = {"set": own_test_pairs(trained, tmp_path / "set")}
    predict_sets(cell, externals, trained)
    (trained.work / "external" / "set" / f"{cell.name}-test.npy").write_bytes(b"other")
    assert sets_left(cell, externals, trained) == ["set"]
    predict_sets(cell, externals, trained)
    fewer = write_subset(
        externals["set"], externals["set"].table(["pair_id"])["pair_id"].to_pylist()[1:], tmp_path / "fewer"
    )
    assert sets_left(cell, {"set": open_manifest(fewer.location)}, trained) == ["set"]


def test_a_model_that_is_gone_is_trained_again_only_where_it_is_needed(trained: Round) -> None:
    cell = plan_cells(trained.settings, trained.real.counts(), True)[0]
    for file in model_folder(trained.work, cell.name).iterdir():
        file.unlink()
    inputs = (trained.real, trained.synthetic, trained.settings, trained.work)
    assert is_finished(cell, *inputs) and not has_model(trained.work, cell)
    run_cell(cell, *inputs, arrays=trained.arrays)
    assert not has_model(trained.work, cell)
    before = (trained.work / f"{cell.name}-test.npy").read_bytes()
    run_cell(cell, *inputs, arrays=trained.arrays, with_model=True)
    assert has_model(trained.work, cell)
    assert (trained.work / f"{cell.name}-test.npy").read_bytes() == before
