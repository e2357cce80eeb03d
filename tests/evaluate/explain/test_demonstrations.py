"""Pictures of a diagnosis, drawn by the shipped base: seeded, changed inside the mask alone, and told apart."""

from __future__ import annotations

from pathlib import Path

import numpy as np
import pytest

from augment.base.folder import open_base
from augment.fine_detail import FineDetail
from augment.settings import CheckpointSettings, SamplingSettings
from evaluate.explain.demonstrations import ClassSampler, ClassSamplers, best_of, references, seed_for
from evaluate.explain.personal import Manner, blended, personalised
from evaluate.studies.strategy_figures import outside_likeness
from manifests.pairs import PairArrays
from manifests.phantom.draw import draw_pair

PAIR = draw_pair("nv", 4, 2, 128)


@pytest.fixture(scope="module")
def chosen(tmp_path_factory: pytest.TempPathFactory) -> ClassSampler:
    base = open_base(CheckpointSettings())
    return ClassSamplers(base, tmp_path_factory.mktemp("none"), SamplingSettings(steps=4)).of("mel")


def greenness(images: np.ndarray) -> np.ndarray:
    """Stands for a classifier: any score by picture."""
    return images[..., 1].mean((1, 2)) / 255


def test_a_changed_picture_keeps_every_pixel_outside_the_mask() -> None:
    pair = draw_pair("mel", 1, 1, 96)
    changed = blended(pair.image, np.zeros((48, 48, 3), np.uint8), pair.mask, detail=0.5)
    assert (changed[~pair.mask] == pair.image[~pair.mask]).all()
    assert changed[pair.mask].mean() < pair.image[pair.mask].mean()
    psnr, ssim = outside_likeness(pair.image[None], changed[None], pair.mask[None])
    assert psnr[0] == 99 and ssim[0] > 0.85


def test_the_pictures_own_fine_structure_makes_a_changed_one_sharper() -> None:
    soft = np.full((32, 32, 3), 128, np.uint8)
    rough = [np.abs(np.diff(blended(PAIR.image, soft, PAIR.mask, share).astype(int), axis=1))[PAIR.mask[:, 1:]].mean()
             for share in (0.0, 0.5, 1.0)]  # fmt: skip
    assert rough[0] < rough[1] < rough[2]


def test_a_personalised_picture_changes_the_lesion_alone_and_is_the_same_again(chosen: ClassSampler) -> None:
    manner = Manner(0.8, 4.0, tries=2, detail=0.5)
    one, again = (personalised(chosen, "mel", PAIR.image, PAIR.mask, manner, 5, "nv", greenness) for _ in range(2))
    assert np.array_equal(one.image, again.image) and one.seed == again.seed
    assert np.array_equal(one.image[~PAIR.mask], PAIR.image[~PAIR.mask])
    assert np.abs(one.image.astype(int) - PAIR.image)[PAIR.mask].mean() > 3
    assert one.probability is not None and one.probability[0] == pytest.approx(greenness(PAIR.image[None])[0], abs=1e-3)


def test_of_several_tries_the_one_most_like_its_class_is_kept(chosen: ClassSampler) -> None:
    one, several = (
        personalised(chosen, "mel", PAIR.image, PAIR.mask, Manner(0.8, 4.0, tries), 5, "nv", greenness)
        for tries in (1, 4)
    )
    assert one.probability and several.probability and several.probability[1] >= one.probability[1]


def test_classes_differ_more_when_guided_away_from_each_other(chosen: ClassSampler) -> None:
    def apart(rivals: tuple[str | None, str | None]) -> float:
        drawn = [
            personalised(chosen, dx, PAIR.image, PAIR.mask, Manner(0.8, 4.0), 5, rival).image.astype(int)
            for dx, rival in zip(("mel", "bkl"), rivals, strict=True)
        ]
        return float(np.abs(drawn[0] - drawn[1])[PAIR.mask].mean())

    assert apart(("bkl", "mel")) > apart((None, None))


def test_references_are_the_best_of_their_draws_and_do_not_depend_on_the_image(chosen: ClassSampler) -> None:
    plain = references(chosen, "mel", 2, 0)
    best = references(chosen, "mel", 2, 0, 2, greenness)
    assert len(plain) == len(best) == 2 and all(demo.synthetic for demo in best)
    assert np.mean(greenness(np.stack([demo.image for demo in best]))) > 0
    assert best_of(np.array([0.1, 0.9, 0.5, 0.2]), 2).tolist() == [1, 2]


def test_references_take_their_fine_detail_from_real_pairs_and_say_of_which(chosen: ClassSampler) -> None:
    side = chosen.sampler.side
    masks = np.zeros((1, side, side), bool)
    masks[:, 40:80, 40:80] = True
    image = np.random.default_rng(0).integers(0, 255, (1, side, side, 3), dtype=np.uint8)
    real = PairArrays(["isic:1"], image, masks, np.zeros(1, np.int64), ("mel",), ["lesion 1"])
    plain = references(chosen, "mel", 1, 0)
    detailed = references(chosen, "mel", 1, 0, detail=FineDetail.of(real, 1.0, 0))
    assert detailed[0].group_id == "lesion 1" and plain[0].group_id is None
    assert np.abs(detailed[0].image.astype(int) - plain[0].image).mean() > 20


def test_seeds_depend_on_all_of_their_parts() -> None:
    seeds = {seed_for("a", 1), seed_for("a", 2), seed_for("b", 1), seed_for("a", "1")}
    assert len(seeds) == 4 and seed_for("a", 1) == seed_for("a", 1)


def test_without_an_adapter_the_base_draws_and_says_so(chosen: ClassSampler, tmp_path: Path) -> None:
    assert chosen.adapter_digest is None and chosen.problem and "no usable adapter for mel" in chosen.problem
