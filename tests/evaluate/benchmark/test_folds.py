"""Cross-validation: every pair is tested once, no lesion is on two sides, and all folds are judged together."""

from __future__ import annotations

from collections import Counter, defaultdict
from pathlib import Path
from typing import Any

import numpy as np
import pytest
import torch
from hypothesis import given
from hypothesis import strategies as st

from evaluate.benchmark import folds as cross_validation
from evaluate.benchmark.cells import plan_cells, run_cell
from evaluate.benchmark.collect import collect_results
from evaluate.benchmark.folds import Round, deal_groups, fold_splits
from evaluate.benchmark.summary import JudgedSet, mean_counts
from evaluate.metrics.statistics import group_weights
from evaluate.results import write_results
from evaluate.settings.benchmark import BenchmarkSettings
from manifests.copying import write_subset
from manifests.errors import BadInput
from manifests.format.reading import Manifest
from tests.evaluate.benchmark.benchmark_fixture import CLASSES, COUNTS, FEW, manifest, real_rows, row

torch.set_num_threads(1)
FOLDED = FEW.model_copy(update={"folds": 3, "classification_arms": ("real",), "seeds": 2})


@pytest.fixture(scope="module")
def real(tmp_path_factory: pytest.TempPathFactory) -> Manifest:
    return manifest(tmp_path_factory.mktemp("data") / "real", real_rows(COUNTS))


@given(st.lists(st.tuples(st.integers(0, 25), st.sampled_from("abc")), min_size=1, max_size=80), st.integers(2, 6))
def test_lesions_stay_whole_and_each_class_is_dealt_out_evenly(rows: list[tuple[int, str]], folds: int) -> None:
    groups = [f"{dx}{lesion}" for lesion, dx in rows]
    known = set(groups[:3])
    dealt = deal_groups(groups, [dx for _, dx in rows], known, folds, seed=1)
    assert dealt.keys() == set(groups) - known and set(dealt.values()) <= set(range(folds))
    sizes = Counter(groups)
    of_class: defaultdict[str, Counter[int]] = defaultdict(Counter)
    for group, fold in dealt.items():
        of_class[group[0]][fold] += sizes[group]
    for dx, counts in of_class.items():
        largest = max(sizes[group] for group in dealt if group[0] == dx)
        assert max(counts.values()) - min(counts[fold] for fold in range(folds)) <= largest


def test_every_pair_is_tested_once_and_every_fold_can_train_and_choose(real: Manifest) -> None:
    splits = fold_splits(real, FOLDED, 0.2, seed=0)
    ids = real.table(["pair_id"])["pair_id"].to_pylist()
    tested = Counter(pair_id for of_fold in splits for pair_id, split in of_fold.items() if split == "test")
    assert tested == Counter(ids)
    dx_of = dict(zip(ids, real.table(["dx"])["dx"].to_pylist(), strict=True))
    for of_fold in splits:
        assert of_fold.keys() == set(ids)
        there = {(split, dx_of[pair_id]) for pair_id, split in of_fold.items()}
        assert there == {(split, dx) for split in ("train", "validation", "test") for dx in CLASSES}


def test_an_official_test_split_stays_out_where_it_is_asked_to(real: Manifest) -> None:
    settings = FOLDED.model_copy(update={"fold_splits": ("train", "validation")})
    official = set(real.table(["pair_id"], split="test")["pair_id"].to_pylist())
    assert official and all(not official & of_fold.keys() for of_fold in fold_splits(real, settings, 0.2, 0))


def test_what_the_base_has_seen_is_never_tested_nor_its_lesion(real: Manifest, monkeypatch: pytest.MonkeyPatch) -> None:
    table = real.table(["pair_id", "group_id"]).to_pylist()
    seen = frozenset(entry["pair_id"] for entry in table[:4])
    monkeypatch.setattr(cross_validation, "seen_by_base", lambda _: seen)
    for of_fold in fold_splits(real, FOLDED, 0.2, 0):
        assert {of_fold[pair_id] for pair_id in seen} == {"train"}


@pytest.mark.parametrize(("folds", "fix"), [(6, "set benchmark.folds=3, or merge it"), (3, "")])
def test_fewer_lesions_of_a_class_than_folds_are_refused_with_what_can_be_done(
    folds: int, fix: str, tmp_path: Path
) -> None:
    # Six pictures of melanomas, of three lesions.
    rows = [row(f"discs:nv-{i}", "nv", "train", i) for i in range(12)]
    rows += [row(f"discs:mel-{i}", "mel", "train", i, group_id=f"lesion-{i // 2}") for i in range(6)]
    few, settings = manifest(tmp_path / "real", rows), FOLDED.model_copy(update={"folds": folds})
    if not fix:
        assert len(fold_splits(few, settings, 0.2, 0)) == folds
        with pytest.raises(BadInput, match=r"prepare\.validation_fraction=0 leaves a fold nothing to validate on"):
            fold_splits(few, settings, 0, 0)
        return
    with pytest.raises(BadInput, match=rf"without class mel, of which 3 lesions can be tested; {fix}"):
        fold_splits(few, settings, 0.2, 0)


@pytest.fixture(scope="module")
def judged(real: Manifest, tmp_path_factory: pytest.TempPathFactory) -> dict[str, Any]:
    """What two seeds came to over three folds."""
    place, rounds = tmp_path_factory.mktemp("folds"), []
    own = FOLDED.model_copy(update={"folds": 0})
    for number, splits in enumerate(fold_splits(real, FOLDED, 0.2, seed=0), 1):
        work = place / str(number) / "work"
        part = write_subset(real, splits, place / str(number) / "real")
        for cell in plan_cells(own, part.counts(), has_synthetic=False):
            run_cell(cell, part, None, own, work)
        rounds.append(Round(work, part, None, own, work / "arrays", fold=number))
    found = collect_results(place, real, None, FOLDED, {}, {}, folds=rounds)
    write_results(place / "results.json", found)
    return found


def test_results_name_the_folds_and_judge_all_pairs_together(judged: dict[str, Any], real: Manifest) -> None:
    folds = judged["data"]["folds"]
    assert [fold["fold"] for fold in folds] == [1, 2, 3]
    assert sum(sum(fold["counts"]["test"].values()) for fold in folds) == real.header["rows"]
    assert judged["data"]["test_groups"] == real.header["rows"]
    assert any(note.startswith("cross-validation in 3 folds") for note in judged["data"]["notes"])
    for arm in judged["arms"]:
        assert [(run["seed"], run["fold"]) for run in arm["runs"]] == [(s, f) for s in (0, 1) for f in (1, 2, 3)]
        assert arm["seeds"] == [0, 1]
        assert sum(sum(line) for line in arm["confusion"]) == pytest.approx(real.header["rows"])
        auroc = arm["metrics"]["auroc"]
        assert len(auroc["per_fold"]) == 3 and len(auroc["per_seed"]) == 2
        assert auroc["mean"] == pytest.approx(np.mean(auroc["per_fold"]))


def test_counts_of_folds_are_joined_where_only_one_trains_on_pairs_without_a_class() -> None:
    folds = [{"real": {"nv": 4}}, {"real": {"nv": 2, "unlabelled": 2}}]
    joined = {"real": {"nv": 3, "unlabelled": 1}}
    assert mean_counts(folds) == mean_counts(folds[::-1]) == joined


def test_what_ranks_predictions_is_ranked_within_folds_alone() -> None:
    labels = np.tile([0, 1], 20)
    folds = np.repeat([1, 2], 20)
    # Each fold's model tells the classes apart; the second says higher numbers for both.
    scores = 0.2 + 0.2 * labels + 0.4 * (folds == 2)
    ids = [str(i) for i in range(40)]
    pairs = JudgedSet("classification", CLASSES, (), labels, ids, group_weights(ids, 100, 0), {}, folds)
    predictions = np.stack([1 - scores, scores], axis=1)
    assert pairs.figures(predictions).values["auroc"] == 1
    assert pairs.replicates(predictions)["auroc"] == pytest.approx(np.ones(100))
    assert JudgedSet(**{**vars(pairs), "folds": None}).figures(predictions).values["auroc"] < 0.9


def test_settings_without_folds_keep_the_one_split() -> None:
    assert not BenchmarkSettings().cross_validated and not BenchmarkSettings(folds=1).cross_validated
