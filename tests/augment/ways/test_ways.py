"""Ways to draw a pair: what each keeps of real pairs, where it says it came from, and that no seam shows."""

from __future__ import annotations

from dataclasses import replace
from itertools import pairwise
from pathlib import Path

import numpy as np
import pytest
import torch

from augment.fine_detail import FineDetail
from augment.sampling import Drawn, Known
from augment.settings import WAYS, SamplingSettings, SynthesisSettings
from augment.synthesis import ClassJob, Settlement, draw_shard, write_class
from augment.ways.drawing import WaySources, draft_of, draw_candidates, finished
from augment.ways.outlines import turned_and_bent
from augment.ways.painting import drawn_region, joined, placed
from augment.ways.plan import WayPlan, candidate_numbers, mix_of, plan_of
from manifests.errors import BadInput
from manifests.format.reading import open_manifest
from manifests.format.writing import ManifestWriter
from manifests.pairs import PairArrays
from manifests.storage import storage_at

EVERY = WayPlan(tuple((way, 0.25) for way in WAYS), (0.5, 0.7), 0.9, "real")
PLAIN = ClassJob("mel", 0, 24, 24, 7, 8, SamplingSettings(batch=4), "base", "adapter", "", "CC-0", 1.0, "real")
JOB = replace(PLAIN, plan=EVERY)


class FlatPainter:
    """Stands in for the denoiser where the way round it is tested: a flat colour by seed wherever nothing is held."""

    def __init__(self) -> None:
        self.kinds: list[float] = []

    def encode_pair(self, images: np.ndarray, masks: np.ndarray) -> torch.Tensor:
        both = np.concatenate([images.astype(np.float32), masks[..., None].astype(np.float32)], axis=-1)
        return torch.from_numpy(both).permute(0, 3, 1, 2)

    def given_mask(self, masks: np.ndarray) -> Known:
        latents = self.encode_pair(np.zeros((*masks.shape, 3), np.uint8), masks)
        held = torch.zeros_like(latents)
        held[:, -1] = 1
        return Known(latents, held)

    def inside_mask(self, images, masks, strength, regions, rounds) -> Known:
        latents = self.encode_pair(images, masks)
        held = torch.ones_like(latents)
        held[:, :3] = 1 - torch.from_numpy(regions[:, None].astype(np.float32))
        return Known(latents, held, strength, rounds)

    def draw(self, prompts, seeds, known=None, tidy=True) -> Drawn:
        shape = (len(seeds), 64, 64, 3)
        colours = np.stack([np.random.default_rng(seed).integers(30, 220, 3) for seed in seeds])
        images = np.broadcast_to(colours[:, None, None], shape).astype(np.uint8)
        masks = np.zeros(shape[:3], bool)
        masks[:, 20:44, 20:44] = True
        self.kinds += [1.0 if known is None else known.strength] * len(seeds)
        if known is not None:
            held = known.region.permute(0, 2, 3, 1).numpy()
            given = known.latents.permute(0, 2, 3, 1).numpy()
            images = np.where(held[..., :3] > 0, given[..., :3], images).astype(np.uint8)
            masks = np.where(held[..., 3] > 0, given[..., 3] > 0.5, masks)
        return Drawn(images, masks)


@pytest.fixture(scope="module")
def sources(drawn_pairs: PairArrays) -> WaySources:
    return WaySources.of(drawn_pairs, "mel")


@pytest.fixture(scope="module")
def detail(sources: WaySources) -> FineDetail:
    return FineDetail.of(sources.own, 1.0, 7)


def table_of(job: ClassJob, sources: WaySources, detail: FineDetail | None, folder: Path, order=list) -> list[dict]:
    """The rows of a class that is drawn shard by shard in `order`."""
    storage = storage_at(folder / "candidates")
    for shard in order(range(job.shards)):
        draw_shard(job, shard, FlatPainter(), None, storage, detail=detail, sources=sources)  # type: ignore[arg-type]
    provenance = {"inputs": {"real": "r"}}
    writer = ManifestWriter(folder / "out", classes=("mel",), kind="synthetic", provenance=provenance)
    writer.commit([("mel", n) for n in range(write_class(Settlement(job, storage), writer))])
    manifest = open_manifest(folder / "out")
    return manifest.table(manifest.columns()).to_pylist()


def test_each_row_says_its_way_its_real_pairs_and_what_was_drawn(sources, detail, tmp_path: Path) -> None:
    rows = table_of(JOB, sources, detail, tmp_path)
    assert {row["way"] for row in rows} == set(WAYS)
    own, others = set(sources.own.pair_ids), set(sources.others.pair_ids)
    for row in rows:
        kind = row["way"], row["region"]
        assert kind in {("text", "pair"), ("variation", "pair"), ("skin", "lesion"), ("outline", "image")}
        assert row["detail_pair_id"] in own
        assert (row["source_pair_id"] in own) == (row["way"] == "variation")
        assert (row["source_pair_id"] in others) == (row["way"] == "skin")
        assert (row["mask_pair_id"] in own) == (row["way"] in ("skin", "outline"))
        levels = {"variation": {0.5, 0.7}, "skin": {0.9}}.get(row["way"], {1.0})
        assert row["noise_level"] in levels


def test_a_pair_bears_the_group_of_the_real_one_that_it_began_at(sources, detail, tmp_path: Path) -> None:
    both = [*zip(sources.own.pair_ids, sources.own.group_ids, strict=True)]
    groups = dict([*both, *zip(sources.others.pair_ids, sources.others.group_ids, strict=True)])
    for row in table_of(JOB, sources, detail, tmp_path):
        began = row["source_pair_id"] or row["mask_pair_id"] or row["detail_pair_id"]
        assert row["group_id"] == groups[began]


def test_pairs_are_the_same_in_whatever_order_shards_are_drawn(sources, detail, tmp_path: Path) -> None:
    first = table_of(JOB, sources, detail, tmp_path / "a")
    again = table_of(JOB, sources, detail, tmp_path / "b", order=lambda shards: reversed(list(shards)))
    assert first == again
    other = table_of(replace(JOB, seed=8), sources, detail, tmp_path / "c")
    assert [row["way"] for row in other] != [row["way"] for row in first]


def test_a_draft_follows_from_seed_class_and_index_and_uses_every_pair_before_one_comes_again(sources) -> None:
    plan = WayPlan((("variation", 1.0),), (0.5,), source_digest="real")
    drafts = [draft_of(plan, sources, 7, "mel", index) for index in range(len(sources.own))]
    assert sorted(draft.place for draft in drafts) == list(range(len(sources.own)))
    assert drafts[3].view == draft_of(plan, sources, 7, "mel", 3).view


def test_text_alone_needs_no_real_pair_and_draws_as_ever() -> None:
    draft = draft_of(WayPlan(), None, 0, "mel", 5)
    painter = FlatPainter()
    drawn = draw_candidates(painter, [draft], ["prompt"], [1], 4)  # type: ignore[arg-type]
    images, (origin,), groups = finished(drawn, [draft], [5], ["own"])
    assert np.array_equal(images, painter.draw(["prompt"], [1]).images)
    assert (origin.way, origin.source_pair_id, origin.detail_pair_id, groups) == ("text", None, None, ["own"])


def test_kinds_are_drawn_together_and_come_back_in_their_order(sources) -> None:
    drafts = [draft_of(EVERY, sources, 7, "mel", index) for index in range(16)]
    painter = FlatPainter()
    drawn = draw_candidates(painter, drafts, ["p"] * 16, list(range(16)), 16)  # type: ignore[arg-type]
    assert len([1 for one, other in pairwise(painter.kinds) if one != other]) < len({*painter.kinds}) + 1
    alone = [draw_candidates(FlatPainter(), [d], ["p"], [n], 1) for n, d in enumerate(drafts)]  # type: ignore[arg-type]
    assert all(np.array_equal(drawn.images[n], one.images[0]) for n, one in enumerate(alone))


def test_outside_the_drawn_region_a_painted_picture_is_the_real_one(sources, detail) -> None:
    plan = WayPlan((("skin", 1.0),), (), 1.0, "real")
    drafts = [draft_of(plan, sources, 7, "mel", index) for index in range(4)]
    drawn = draw_candidates(FlatPainter(), drafts, ["p"] * 4, [1, 2, 3, 4], 4)  # type: ignore[arg-type]
    images, _, _ = finished(drawn, drafts, range(4), [""] * 4, sources, detail)
    for draft, image, mask in zip(drafts, images, drawn.masks, strict=True):
        assert np.array_equal(image[~draft.region], draft.image[~draft.region])
        assert (draft.region & mask).sum() == mask.sum(), "a painted lesion lies within what is drawn anew"
        assert not np.array_equal(image[draft.region], draft.image[draft.region])


def edge_strength(image: np.ndarray, region: np.ndarray) -> float:
    """Mean size of the grey gradient on the border of `region`, within the frame."""
    import cv2

    grey = cv2.GaussianBlur(image.astype(np.float32).mean(axis=-1), (0, 0), 1)
    rows, columns = np.gradient(grey)
    border = cv2.morphologyEx(region.astype(np.uint8), cv2.MORPH_GRADIENT, np.ones((3, 3), np.uint8)) > 0
    border[[0, -1]] = border[:, [0, -1]] = False
    return float(np.hypot(rows, columns)[border].mean())


def test_a_painted_lesion_shows_no_seam(drawn_pairs: PairArrays) -> None:
    """On the border of what is drawn anew the gradient is no stronger than in the real picture; a mere paste's is."""
    seams, pastes, reals = [], [], []
    for number in range(12):
        real, mask = np.asarray(drawn_pairs.images[number]), np.asarray(drawn_pairs.masks[number])
        region = drawn_region(mask, mask)
        if region.mean() > 0.8:
            continue
        # Another shade of the whole picture, as another camera or another decoder would give it.
        drawn = np.clip(real.astype(int) + 25, 0, 255).astype(np.uint8)
        reals.append(edge_strength(real, region))
        seams.append(edge_strength(joined(real, drawn, region), region))
        pastes.append(edge_strength(np.where(region[..., None], drawn, real), region))
    assert np.mean(seams) <= 1.05 * np.mean(reals)
    assert np.mean(pastes) > 1.5 * np.mean(reals), "else the test could not see a seam"


def test_an_outline_is_turned_and_bent_and_stays_a_lesion_of_its_size(sources) -> None:
    for number in range(10):
        mask = np.asarray(sources.own.masks[number % len(sources.own)])
        found = turned_and_bent(mask, candidate_numbers(0, "mel", number))
        assert found.dtype == bool and found.any() and not found.all()
        assert 0.6 <= found.sum() / mask.sum() <= 1.6
        assert not np.array_equal(found, mask)


def test_a_borrowed_outline_is_laid_over_the_old_lesion_and_never_leaves_the_frame() -> None:
    mask, old = np.zeros((64, 64), bool), np.zeros((64, 64), bool)
    mask[5:25, 5:15], old[50:62, 40:60] = True, True
    moved = placed(mask, old)
    assert moved.sum() == mask.sum() and (moved & old).any()
    at_frame = np.zeros((64, 64), bool)
    at_frame[:20, 30:50] = True
    assert np.array_equal(placed(at_frame, old), at_frame), "what the frame cuts off stays at the frame"


def test_a_class_has_the_mix_of_its_own_or_that_of_every_class() -> None:
    ways = {"text": 1.0, "variation": 3.0, "df": {"outline": 2.0}}
    assert mix_of(ways, "mel") == (("text", 0.25), ("variation", 0.75))
    assert mix_of(ways, "df") == (("outline", 1.0),)
    counted = [WayPlan(mix_of(ways, "mel")).way(candidate_numbers(0, "mel", index)) for index in range(400)]
    assert 0.68 < counted.count("variation") / 400 < 0.82


@pytest.mark.parametrize(
    ("ways", "said"),
    [
        ({"drawing": 1}, "'drawing' is no way to draw a pair; name text, variation, skin, outline"),
        ({"text": -1}, "the share of text is -1"),
        ({"text": 0}, "the shares are all 0"),
        ({"df": {"skin": 0}}, "the shares of df are all 0"),
        ({"df": {"skins": 1}}, "'skins' of df is no way"),
    ],
)
def test_a_mix_that_is_none_is_one_sentence(ways: dict, said: str) -> None:
    with pytest.raises(ValueError, match=said):
        SynthesisSettings(ways=ways)


def test_a_mix_for_a_class_that_the_run_has_not_and_skin_without_other_classes_are_refused() -> None:
    with pytest.raises(BadInput, match="'df' is no class of this run; name one of mel, nv"):
        plan_of(SynthesisSettings(ways={"df": {"text": 1}}), "mel", {"mel": 5, "nv": 4}, "real")
    with pytest.raises(BadInput, match="no other class has a training pair with a mask; leave it out"):
        plan_of(SynthesisSettings(ways={"skin": 1}), "mel", {"mel": 5, "nv": 0}, "real")


def test_candidates_of_text_alone_do_not_depend_on_the_real_manifest() -> None:
    plan = plan_of(SynthesisSettings(ways={"text": 1}), "mel", {"mel": 5, "nv": 4}, "real")
    assert plan == WayPlan() and plan.source_digest == ""
