"""The gates let held-out real pairs pass, stop what is wrong, and are made from the training split in parts."""

from __future__ import annotations

import json
from dataclasses import replace
from pathlib import Path
from typing import Any

import numpy as np
import pyarrow as pa
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from augment.ways.plan import Origin
from evaluate.copies.threshold import plant
from evaluate.gates.fitting import copy_index, grouped_folds
from evaluate.gates.judge import GATES, Judge, calibrate, fit_judge, load_judge
from evaluate.gates.report import gates_report
from evaluate.settings.gates import CopySettings, GateSettings, JudgeClassifierSettings, JudgeSegmenterSettings
from manifests.errors import BadInput
from manifests.pairs import PairArrays
from manifests.progress import StopRequested
from tests.evaluate.drawn_pairs import CLASSES, drawn_pairs

SETTINGS = GateSettings(
    folds=2,
    batch=8,
    segmenter=JudgeSegmenterSettings(architecture="plain", updates=40, size=32, batch_size=16),
    copies=CopySettings(calibration_pairs=60, planted_per_attack=4),
)
QUICK = SETTINGS.model_copy(
    update={"segmenter": JudgeSegmenterSettings(architecture="plain", updates=4, size=32, batch_size=8)}
)


@pytest.fixture(scope="module")
def real() -> PairArrays:
    return drawn_pairs({"nv": 60, "mel": 30, "bkl": 6}, size=64)


@pytest.fixture(scope="module")
def held_out() -> PairArrays:
    return drawn_pairs({"nv": 30, "mel": 30, "bkl": 6}, seed=1, size=64)


@pytest.fixture(scope="module")
def folder(real: PairArrays, tmp_path_factory: pytest.TempPathFactory) -> Path:
    folder = tmp_path_factory.mktemp("judge")
    fit_judge(real, SETTINGS, folder, painted=True)
    return folder


@pytest.fixture(scope="module")
def judge(folder: Path) -> Judge:
    return load_judge(folder)


def reasons(judge: Judge, pairs: PairArrays, dx: str) -> list[str | None]:
    return [verdict.reject_reason for verdict in judge(pairs, dx)]


def contents(folder: Path) -> dict[str, bytes]:
    return {str(path.relative_to(folder)): path.read_bytes() for path in folder.rglob("*") if path.is_file()}


def test_most_held_out_real_pairs_pass(judge: Judge, held_out: PairArrays) -> None:
    for dx in ("nv", "mel"):
        verdicts = judge(held_out.of_class(dx), dx)
        assert np.mean([verdict.reject_reason is None for verdict in verdicts]) >= 0.6
        assert all(verdict.nearest_real_id and verdict.nearest_similarity is not None for verdict in verdicts)
        assert {*verdicts[0].scores} == {*GATES}
        assert all(0 <= score <= 1 for verdict in verdicts for score in verdict.scores.values())


def test_an_empty_full_or_speckled_mask_is_implausible(judge: Judge, held_out: PairArrays) -> None:
    three = held_out.of_class("nv").select([0, 1, 2])
    specks = np.random.default_rng(0).random(three.masks.shape[1:]) > 0.6
    masks = np.stack([np.zeros_like(specks), np.ones_like(specks), specks])
    assert reasons(judge, replace(three, masks=masks), "nv") == ["mask_plausibility"] * 3


def test_a_mask_beside_the_lesion_does_not_agree_with_the_image(judge: Judge, held_out: PairArrays) -> None:
    pairs = held_out.of_class("nv")
    beside = replace(pairs, masks=np.roll(pairs.masks, 24, axis=2))
    right, wrong = judge.scores(pairs, "nv"), judge.scores(beside, "nv")
    assert wrong["mask_agreement"].mean() < 0.5 * right["mask_agreement"].mean()
    stopped = [reason in ("mask_plausibility", "mask_agreement") for reason in reasons(judge, beside, "nv")]
    assert np.mean(stopped) >= 0.7


def test_a_pair_of_another_class_is_less_consistent(judge: Judge, held_out: PairArrays) -> None:
    nevi = held_out.of_class("nv")
    assert judge.scores(nevi, "nv")["class_consistency"].mean() > judge.scores(nevi, "mel")["class_consistency"].mean()
    assert reasons(judge, nevi, "mel").count("class_consistency") > reasons(judge, nevi, "nv").count(
        "class_consistency"
    )


def test_copies_of_training_pairs_are_named(judge: Judge, real: PairArrays) -> None:
    nevi = real.of_class("nv").select(range(12))
    verdicts = judge(replace(nevi, images=plant(nevi.images, "recompressed", 0)), "nv")
    assert [verdict.nearest_real_id for verdict in verdicts] == nevi.pair_ids
    assert all(judge.copies.is_copy(verdict.nearest_similarity) for verdict in verdicts)
    assert {verdict.reject_reason for verdict in verdicts} <= {"copy", *GATES}


def test_a_verdict_does_not_depend_on_the_company(judge: Judge, held_out: PairArrays) -> None:
    pairs = held_out.of_class("mel").select(range(11))
    together = judge(pairs, "mel")
    assert [judge(pairs.select([i]), "mel")[0] for i in range(len(pairs))] == together
    assert judge(pairs, "mel") == together


def test_an_unknown_class_is_refused(judge: Judge, held_out: PairArrays) -> None:
    with pytest.raises(BadInput, match="'vasc'"):
        judge(held_out.select([0]), "vasc")


def test_a_class_too_rare_for_the_class_gate_passes_it_and_the_header_says_so(
    judge: Judge, held_out: PairArrays
) -> None:
    assert judge.header["thresholds"]["class_consistency"]["bkl"] is None
    assert judge.header["thresholds"]["mask_agreement"]["bkl"] is not None
    assert judge.header["skipped"] == [
        {"gate": "class_consistency", "dx": "bkl", "reason": "6 training pairs, fewer than 20"}
    ]
    assert "class_consistency" not in reasons(judge, held_out.of_class("bkl"), "bkl")


def test_the_stated_share_of_held_out_real_pairs_passes_each_gate() -> None:
    rng = np.random.default_rng(0)
    labels = np.repeat([0, 1], [300, 200])
    held_out = {gate: np.round(rng.random(500), 4) for gate in GATES}
    thresholds = calibrate(held_out, labels, ("a", "b"), SETTINGS)["thresholds"]
    for gate in GATES:
        for label, dx in enumerate("ab"):
            passed = (held_out[gate][labels == label] >= thresholds[gate][dx]).mean()
            assert 0 <= passed - (1 - getattr(SETTINGS, f"{gate}_quantile")) < 0.02


def test_a_finished_judge_is_not_made_again(real: PairArrays, tmp_path: Path) -> None:
    fit_judge(real, QUICK, tmp_path)
    before = contents(tmp_path)
    seen: list[dict[str, Any]] = []
    fit_judge(real, QUICK, tmp_path, lambda done, total, **figures: seen.append({"done": done, **figures}))
    assert contents(tmp_path) == before
    assert not any("loss" in figures for figures in seen)
    assert seen[-1]["done"] > 0


def test_a_stopped_fit_goes_on_and_ends_with_the_same_bytes(real: PairArrays, tmp_path: Path) -> None:
    fit_judge(real, QUICK, tmp_path / "whole")
    calls = 0

    def stop_in_the_second_segmenter(done: int, total: int, **figures: float | str) -> None:
        nonlocal calls
        calls += figures.get("part") == "segmenter-1"
        if calls == 2:
            raise StopRequested

    with pytest.raises(StopRequested):
        fit_judge(real, QUICK, tmp_path / "stopped", stop_in_the_second_segmenter)
    with pytest.raises(BadInput, match="no finished judge"):
        load_judge(tmp_path / "stopped")
    fit_judge(real, QUICK, tmp_path / "stopped")
    assert contents(tmp_path / "stopped") == contents(tmp_path / "whole")


def test_other_pairs_or_settings_make_another_judge(real: PairArrays, tmp_path: Path) -> None:
    first = fit_judge(real, QUICK, tmp_path).header
    fewer = fit_judge(real.select(range(len(real) - 4)), QUICK, tmp_path).header
    assert fewer["data"] != first["data"]
    part = tmp_path / "segmenter-0" / "part.json"
    before = json.loads(part.read_text())["digest"]
    fit_judge(real, QUICK.model_copy(update={"seed": 1}), tmp_path)
    assert json.loads(part.read_text())["digest"] != before


def test_the_classifier_can_be_a_network(real: PairArrays, held_out: PairArrays, tmp_path: Path) -> None:
    small = JudgeClassifierSettings(updates=2, size=32, batch_size=8, probe=8)
    network = {"class_judge": "network", "classifier": small}
    judge = fit_judge(real, QUICK.model_copy(update=network), tmp_path)
    scores = judge.scores(held_out.select(range(3)), "nv")["class_consistency"]
    assert scores.shape == (3,) and (scores > 0).all()


def test_too_few_groups_are_refused(tmp_path: Path) -> None:
    with pytest.raises(BadInput, match="1 groups"):
        fit_judge(drawn_pairs({"nv": 1}, size=64), QUICK, tmp_path)


@settings(max_examples=30, deadline=None)
@given(st.lists(st.tuples(st.integers(0, 12), st.integers(0, 2)), min_size=13, max_size=60), st.integers(2, 4))
def test_folds_keep_groups_whole_and_do_not_depend_on_the_order(rows: list[tuple[int, int]], folds: int) -> None:
    rows += [(group, 0) for group in range(folds)]
    count = len(rows)
    images, masks = np.zeros((count, 1, 1, 3), np.uint8), np.zeros((count, 1, 1), bool)
    labels, groups = np.array([label for _, label in rows], np.int64), [f"g{group}" for group, _ in rows]
    pairs = PairArrays([str(i) for i in range(count)], images, masks, labels, CLASSES, groups)
    found = grouped_folds(pairs, folds, 0)
    assert len({(group, fold) for group, fold in zip(groups, found, strict=True)}) == len(set(groups))
    assert set(found) == set(range(folds))
    order = np.random.default_rng(0).permutation(count)
    np.testing.assert_array_equal(grouped_folds(pairs.select(order), folds, 0), found[order])


def test_the_report_tells_what_each_gate_did() -> None:
    table = pa.table(
        {
            "dx": ["mel", "mel", "mel", "nv"],
            "accepted": [True, False, False, True],
            "reject_reason": [None, "copy", "mask_agreement", None],
            "score_mask_plausibility": [1.0, 0.9, 0.8, None],
            "score_mask_agreement": [0.9, 0.8, 0.1, None],
            "score_class_consistency": [0.5, 0.6, 0.7, None],
        }
    )
    header = {"thresholds": {}, "skipped": [], "held_out": {}, "settings": {}}
    report = gates_report(table, header)
    assert set(report["judge"]) == {"thresholds", "skipped", "held_out"}
    assert report["all"]["candidates"] == 4 and report["all"]["accepted"] == 2
    assert report["per_class"]["mel"]["rejected"] == {"copy": 1, "mask_agreement": 1}
    assert report["per_class"]["mel"]["acceptance"] == pytest.approx(1 / 3)
    assert report["per_class"]["mel"]["scores"]["mask_agreement"]["q50"] == 0.8
    assert report["per_class"]["nv"]["scores"]["mask_agreement"] is None


def test_the_copy_audit_takes_the_index_of_the_judge(real: PairArrays, judge: Judge, folder: Path) -> None:
    stamp = (folder / "copies" / "index.json").stat().st_mtime_ns
    index = copy_index(real, SETTINGS, folder)
    assert (folder / "copies" / "index.json").stat().st_mtime_ns == stamp
    assert index.threshold == judge.copies.threshold


def test_too_few_groups_for_the_folds_name_a_setting_that_there_is() -> None:
    pairs = drawn_pairs({"nv": 2}, size=32)
    with pytest.raises(BadInput, match=r"has 2 groups but the gates need 3; add pairs or set gates.folds lower"):
        grouped_folds(pairs, 3, 0)
    assert "folds" in GateSettings.model_fields


def test_a_variation_is_compared_with_its_own_source_and_a_painted_lesion_with_lesions(
    judge: Judge, real: PairArrays, held_out: PairArrays
) -> None:
    source = real.pair_ids[5]
    (verdict,) = judge(held_out.select([0]), held_out.dx(0), [Origin("variation", source)])
    assert verdict.nearest_similarity is not None
    assert verdict.nearest_similarity >= judge.copies.similarity_to(held_out.images[0], source)
    copied = real.select([5])
    (verdict,) = judge(copied, copied.dx(0), [Origin("variation", source)])
    assert (verdict.nearest_real_id, verdict.nearest_similarity) == (source, 1.0)


def test_a_real_lesion_painted_into_other_skin_is_a_copy_although_the_picture_is_none(
    judge: Judge, real: PairArrays
) -> None:
    """All around a painted lesion is real, so that only the lesion tells."""
    lesion, skin = real.select([30]), real.select([70])
    pasted = np.where(lesion.masks[0][..., None], lesion.images[0], skin.images[0])[None]
    pasted_pair = replace(lesion, images=pasted)
    (painted,) = judge(pasted_pair, lesion.dx(0), [Origin("skin", skin.pair_ids[0], region="lesion")])
    assert painted.nearest_real_id == lesion.pair_ids[0]
    unchanged = replace(lesion, images=skin.images, masks=skin.masks)
    (whole,) = judge(unchanged, lesion.dx(0))
    assert whole.nearest_real_id == skin.pair_ids[0] and judge.copies.is_copy(whole.nearest_similarity or 0)
