"""Fine detail from real pairs: from which one, in which view, and what a generated pair keeps of its own."""

from __future__ import annotations

from dataclasses import replace
from pathlib import Path

import cv2
import numpy as np

from augment.fine_detail import FineDetail
from augment.sampling import Drawn
from augment.settings import SamplingSettings
from augment.synthesis import ClassJob, Settlement, draw_shard, write_class
from augment.training.latents import dihedral
from manifests.format.writing import ManifestWriter
from manifests.pairs import PairArrays
from manifests.storage import storage_at

SIDE = 64
JOB = ClassJob("mel", 0, 6, 64, 7, 8, SamplingSettings(batch=4), "base", "adapter", "", "CC-0", 1.0, "real")


def pairs_of(count: int, seed: int) -> PairArrays:
    """Noise with an L-shaped lesion at a different corner distance in each."""
    rng = np.random.default_rng(seed)
    masks = np.zeros((count, SIDE, SIDE), bool)
    for number in range(count):
        masks[number, 8 : 40 + number, 8:16] = masks[number, 8:16, 8 : 28 + number] = True
    images = rng.integers(60, 190, (count, SIDE, SIDE, 3), dtype=np.uint8)
    ids = [f"{seed}:{number}" for number in range(count)]
    return PairArrays(ids, images, masks, np.zeros(count, np.int64), ("mel",), [f"lesion {name}" for name in ids])


def blurred(image: np.ndarray) -> np.ndarray:
    return cv2.GaussianBlur(image.astype(np.float32), (0, 0), 1.5 * SIDE / 128)


def test_the_coarse_picture_stays_and_the_fine_one_comes_from_the_real_pair() -> None:
    real, generated = pairs_of(1, 1), pairs_of(1, 2)
    given = FineDetail.of(real, 1.0, seed=0).given_to(generated, [0])
    drawn, changed, source = (pairs.images[0].astype(np.float32) for pairs in (generated, given, real))
    wanted = blurred(drawn) + source - blurred(source)
    assert np.abs(changed - wanted).max() <= 0.5
    assert given.group_ids == real.group_ids and given.pair_ids == generated.pair_ids
    assert (given.masks == generated.masks).all()


def test_a_share_of_nothing_changes_nothing() -> None:
    generated = pairs_of(2, 2)
    assert (FineDetail.of(pairs_of(3, 1), 0.0, 0).given_to(generated, [0, 1]).images == generated.images).all()


def test_the_real_pair_is_turned_and_flipped_until_its_lesion_fits() -> None:
    real = pairs_of(1, 1)
    detail = FineDetail.of(real, 1.0, 0)
    for view in range(8):
        mask = dihedral(real.masks[0], view)
        generated = replace(pairs_of(1, 2), masks=mask[None], images=np.full((1, SIDE, SIDE, 3), 128, np.uint8))
        changed = detail.given_to(generated, [view]).images[0].astype(np.float32)
        source = dihedral(real.images[0], view).astype(np.float32)
        assert np.abs(changed - (128 + source - blurred(source))).max() <= 0.5


def test_of_the_pairs_the_best_fit_is_taken_and_an_empty_mask_takes_any() -> None:
    real = pairs_of(6, 1)
    given = FineDetail.of(real, 1.0, 0).given_to(replace(real, group_ids=["own"] * 6), range(6))
    assert given.group_ids == real.group_ids
    empty = replace(real, masks=np.zeros_like(real.masks))
    assert len(FineDetail.of(empty, 1.0, 0).given_to(empty, range(6))) == 6


def test_what_a_candidate_gets_does_not_depend_on_what_comes_with_it() -> None:
    detail, generated = FineDetail.of(pairs_of(100, 1), 1.0, 0), pairs_of(5, 2)
    together = detail.given_to(generated, range(5))
    alone = detail.given_to(generated.select([3]), [3])
    assert (alone.images[0] == together.images[3]).all() and alone.group_ids[0] == together.group_ids[3]


def test_generated_pairs_in_the_manifest_are_of_the_group_that_their_detail_is_from(tmp_path: Path) -> None:
    class Drawing:
        def draw(self, prompts, seeds, known=None, tidy=True):
            made = pairs_of(len(seeds), 2)
            return Drawn(made.images, made.masks)

    real, candidates = pairs_of(3, 1), storage_at(tmp_path / "candidates")
    draw_shard(JOB, 0, Drawing(), None, candidates, detail=FineDetail.of(real, 1.0, 0))  # type: ignore[arg-type]
    writer = ManifestWriter(tmp_path / "out", classes=["mel"], kind="synthetic", provenance={"inputs": {}})
    shards = write_class(Settlement(JOB, candidates), writer)
    rows = writer.commit([(JOB.dx, index) for index in range(shards)]).table(["group_id"])
    assert set(rows["group_id"].to_pylist()) <= set(real.group_ids)


def test_detail_is_part_of_what_a_candidate_depends_on() -> None:
    assert len({JOB.key, replace(JOB, detail=0.5).key, replace(JOB, detail_digest="other").key}) == 3
