"""The gates' segmenters learn from given masks, and from found ones only where too few are given."""

from __future__ import annotations

from dataclasses import replace

import numpy as np

from evaluate.benchmark.arms import task_pairs
from evaluate.gates.fitting import segmenter_pairs
from evaluate.gates.judge import calibrate
from evaluate.report.pairs.gallery import outline_note, real_alt
from evaluate.settings.gates import GateSettings
from manifests.phantom.draw import phantom_arrays

PAIRS = phantom_arrays(12, 3, 32)
HALF = replace(PAIRS, predicted=np.arange(12) % 2 == 0)


def test_found_masks_stand_aside_where_enough_are_given() -> None:
    few, enough = GateSettings(given_minimum=7), GateSettings(given_minimum=6)
    assert segmenter_pairs(PAIRS, enough) is PAIRS and segmenter_pairs(HALF, few) is HALF
    assert segmenter_pairs(HALF, enough).pair_ids == PAIRS.pair_ids[1::2]
    assert task_pairs(HALF, "segmentation").pair_ids == PAIRS.pair_ids[1::2]
    assert len(task_pairs(HALF, "classification")) == 12


def test_a_class_without_given_masks_takes_the_agreement_of_all_that_have_one() -> None:
    scores = {"mask_plausibility": np.ones(4), "class_consistency": np.full(4, np.nan)}
    agreement = np.array([0.9, 0.8, np.nan, np.nan])
    settings = GateSettings(class_minimum=2, mask_agreement_quantile=0.0)
    made = calibrate(scores | {"mask_agreement": agreement}, np.array([-1, -1, 0, 0]), ("nv",), settings)
    assert made["thresholds"]["mask_agreement"] == {"nv": 0.8}, "masks without classes are all there is to go by"


def test_a_found_outline_is_not_shown_as_given() -> None:
    row = {"pair_id": "p", "dx": "nv", "split": "train", "origin": "real", "mask_origin": "predicted"}
    assert outline_note(row) and "by a segmenter" in real_alt(row)
    assert not outline_note(row | {"mask_origin": "given"}) and "segmenter" not in real_alt(row | {"mask_origin": None})
