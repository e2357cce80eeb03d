"""The segmenter that finds missing masks: shipped or a run's own, calibrated, the same again, resumable."""

from __future__ import annotations

from pathlib import Path

import numpy as np
import pytest
from safetensors import safe_open

from evaluate.found_masks.calibration import NONE_IS_GOOD, least_confidence
from evaluate.found_masks.finder import CALIBRATION, FinderMaker
from evaluate.found_masks.pretraining import pretrain_segmenter, write_shipped
from evaluate.found_masks.segmenter import FindingSegmenter
from evaluate.metrics.masks import dice
from evaluate.settings.found_masks import SHIPPED_SEGMENTER, WEIGHTS, FinderSettings
from manifests.errors import BadInput
from manifests.pairs import PairArrays
from manifests.phantom.draw import phantom_arrays
from manifests.progress import StopRequested, no_progress
from manifests.settings import MaskSettings

TINY = FinderSettings(updates=2, pretrain_updates=3, checkpoint_every=1, size=32, batch_size=2)


@pytest.fixture(scope="module")
def pairs() -> PairArrays:
    return phantom_arrays(24, 5, 96)


@pytest.mark.parametrize(
    ("dice", "share", "least"),
    [([0.9, 0.9, 0.9, 0.9], 0.1, 0.6), ([0.9, 0.9, 0.9, 0.1], 0.1, 0.7), ([0.1, 0.9, 0.9, 0.9], 0.25, 0.6),
     ([0.1, 0.1, 0.1, 0.1], 0.1, NONE_IS_GOOD)],
)  # fmt: skip
def test_as_many_found_masks_teach_as_fail_no_more_often_than_allowed(dice: list, share: float, least: float) -> None:
    confidence = np.array([0.9, 0.8, 0.7, 0.6])
    assert least_confidence(np.array(dice), confidence, MaskSettings(doubtful=share)) == pytest.approx(least, abs=1e-4)


def test_the_shipped_segmenter_is_small_and_finds_lesions_that_it_never_saw(pairs: PairArrays, tmp_path: Path) -> None:
    assert sum(path.stat().st_size for path in SHIPPED_SEGMENTER.iterdir()) < 15_000_000
    finder = FinderMaker(MaskSettings(), FinderSettings(), 0, tmp_path)(pairs.select([]), pairs.select([]), no_progress)
    assert finder.said["segmenter"] == "shipped" and 0.5 < finder.said["least_confidence"] < 1
    masks, confidence = finder(pairs.images[:12])
    assert dice(masks, pairs.masks[:12]).mean() > 0.7 and ((confidence >= 0) & (confidence <= 1)).all()
    alone = finder(pairs.images[2:3])
    assert np.array_equal(masks[2], alone[0][0]) and confidence[2] == alone[1][0], "no mask depends on its company"


def test_enough_masks_of_its_own_make_a_run_train_its_own_segmenter_once(pairs: PairArrays, tmp_path: Path) -> None:
    maker, steps = FinderMaker(MaskSettings(own=20), TINY, 0, tmp_path), []
    first = maker(pairs, pairs.select([0]), lambda done, total, **_: steps.append(done))
    assert first.said["segmenter"] == "own" and first.said["calibrated_on"] < 20 and max(steps) == 2
    again = maker(pairs, pairs.select([0]), no_progress)
    assert again.said == first.said
    other = FinderMaker(MaskSettings(own=20), TINY, 0, tmp_path / "other")(pairs, pairs.select([0]), no_progress)
    assert other.said == first.said, "trained anew it gives the same bytes"


def test_the_pretraining_of_the_segmenter_resumes_to_the_same_bits(pairs: PairArrays, tmp_path: Path) -> None:
    def stop(done: int, total: int, **_: float | str) -> None:
        if done == 2:
            raise StopRequested

    with pytest.raises(StopRequested):
        pretrain_segmenter(pairs, TINY, 0, "digest", tmp_path / "work", stop)
    with pytest.raises(BadInput, match="belongs to other data"):
        pretrain_segmenter(pairs, TINY, 0, "another", tmp_path / "work")
    resumed = pretrain_segmenter(pairs, TINY, 0, "digest", tmp_path / "work")
    whole = pretrain_segmenter(pairs, TINY, 0, "digest", tmp_path / "whole")
    ends = [segmenter.fitted().state_dict() for segmenter in (resumed, whole)]
    assert all((value == ends[1][name]).all() for name, value in ends[0].items())
    said = {"pairs": 24, "sources": ["phantom"], "licences": ["CC0"], "digest": "d", "updates": 3}
    write_shipped(whole, pairs.select([0, 1]), tmp_path / "out", {**said, "batch": 2, "size": 32})
    with safe_open(tmp_path / "out" / WEIGHTS, "pt") as file:
        assert str(file.get_tensor("encoder.model.conv_stem.weight").dtype) == "torch.float16"
    assert FindingSegmenter.load(tmp_path / "out").masks(pairs.images[:1]).shape == (1, 96, 96)
    assert (tmp_path / "out" / CALIBRATION).exists() and "24 pairs" in (tmp_path / "out" / "README.md").read_text()
