"""Drawing pairs: seeded, batch by batch, around given masks and images."""

from __future__ import annotations

from copy import copy
from itertools import pairwise

import cv2
import numpy as np
import pytest
import torch

from augment.base.folder import image_encoder, open_base
from augment.base.text_encoder import embeddings_of, tokens_of
from augment.prompts import DESCRIPTIONS, prompt_for
from augment.sampling import PairSampler, make_sampler, noise_for, noise_levels, rescaled_guidance, tidy_mask
from augment.settings import CheckpointSettings, SamplingSettings
from evaluate.found_masks.finder import SHIPPED_SEGMENTER, found_masks
from evaluate.found_masks.segmenter import FindingSegmenter
from manifests.errors import BadInput
from manifests.pairs import PairArrays

QUICK = SamplingSettings(steps=6)
PROMPTS = [prompt_for("mel"), prompt_for("nv")]


@pytest.fixture(scope="module")
def sampler() -> PairSampler:
    return PairSampler(open_base(CheckpointSettings()), None, QUICK)


def as_set(sampler: PairSampler, settings: SamplingSettings) -> PairSampler:
    """The same denoiser and decoder, which draw by other settings."""
    other = copy(sampler)
    other.settings = settings
    return other


@pytest.fixture(scope="module")
def pairs_128(real_manifest) -> PairArrays:
    from manifests.format.reading import open_manifest

    return open_manifest(real_manifest).arrays(split="validation", size=128).select([0, 1])


def dice(first: np.ndarray, second: np.ndarray) -> float:
    return 2 * (first & second).sum() / max(1, first.sum() + second.sum())


def test_the_same_seeds_draw_the_same_pairs_and_others_draw_others(sampler: PairSampler) -> None:
    first, again, other = (sampler.draw(PROMPTS, seeds) for seeds in ([1, 2], [1, 2], [3, 4]))
    assert np.array_equal(first.images, again.images) and np.array_equal(first.masks, again.masks)
    assert not np.array_equal(first.images, other.images)
    assert first.images.shape == (2, 128, 128, 3) and first.masks.shape == (2, 128, 128)


def test_drawing_goes_on_with_fewer_pairs_from_the_same_seeds_when_gpu_memory_is_full(
    sampler: PairSampler, pairs_128: PairArrays, monkeypatch, caplog
) -> None:
    prompts, seeds = PROMPTS * 2, [1, 2, 3, 4]
    known = sampler.given_mask(pairs_128.select([0, 1, 1, 0]).masks, rounds=1)
    free, held = sampler.draw(prompts, seeds), sampler.draw(prompts, seeds, known)
    tight = PairSampler(sampler.base, None, QUICK)
    denoise, decode = tight.unet.forward, tight.vae.decode

    def denoise_few(latents, *others):
        if len(latents) > 4:  # two pairs, each with and without a prompt
            raise torch.OutOfMemoryError("CUDA out of memory")
        return denoise(latents, *others)

    def decode_one(latents):
        if len(latents) > 1:
            raise torch.OutOfMemoryError("CUDA out of memory")
        return decode(latents)

    monkeypatch.setattr(tight.unet, "forward", denoise_few)
    monkeypatch.setattr(tight.vae, "decode", decode_one)
    for whole, parted in ((free, tight.draw(prompts, seeds)), (held, tight.draw(prompts, seeds, known))):
        assert np.abs(whole.images.astype(int) - parted.images).max() <= 2
        assert (whole.masks != parted.masks).mean() < 0.001
    assert [record.message for record in caplog.records if "same samples" in record.message] == [
        "GPU memory is full: going on with 2 pairs at a time, same samples",
        "GPU memory is full: going on with 2 pairs at a time, same samples",
        "GPU memory is full: going on with one pair at a time, same samples",
    ]


def test_encoding_goes_on_with_fewer_images_when_gpu_memory_is_full(pairs_128: PairArrays, monkeypatch) -> None:
    base = open_base(CheckpointSettings())
    vae, images = base.vae(), pairs_128.select([0, 1, 1, 0, 1]).images
    whole, encode = image_encoder(vae, base)(images), vae.encode

    def encode_two(pixels):
        if len(pixels) > 2:
            raise torch.OutOfMemoryError("CUDA out of memory")
        return encode(pixels)

    monkeypatch.setattr(vae, "encode", encode_two)
    assert torch.allclose(image_encoder(vae, base)(images), whole, atol=1e-5)


@pytest.mark.parametrize("steps", [1, 8, 20, 50, 1000])
@pytest.mark.parametrize("spacing", [1.0, 1.7, 4.0])
def test_noise_levels_fall_from_the_noisiest_and_are_all_different(steps: int, spacing: float) -> None:
    levels = noise_levels(steps, 1000, spacing)
    assert len(levels) == steps and levels[0] == 999 and levels[-1] >= 0
    assert all(first > second for first, second in pairwise(levels))


def test_a_spacing_of_one_is_even_and_a_greater_one_puts_more_steps_at_high_noise() -> None:
    assert noise_levels(20, 1000, 1.0) == list(range(999, 0, -50))
    shares = [np.mean(np.array(noise_levels(20, 1000, spacing)) >= 500) for spacing in (1.0, 1.7, 2.2)]
    assert shares[0] == 0.5 and shares == sorted(set(shares))


def test_ddim_is_that_of_diffusers() -> None:
    from diffusers import DDIMScheduler

    config = open_base(CheckpointSettings()).scheduler().config
    ours = make_sampler(config, "ddim")
    theirs = DDIMScheduler.from_config(config, timestep_spacing="trailing", set_alpha_to_one=True)
    ours.set_timesteps(timesteps=noise_levels(5, 1000, 1.0))
    theirs.set_timesteps(5)
    first = second = noise_for([1], (20, 16, 16))
    for timestep in ours.timesteps:
        first = ours.step(torch.sin(first), timestep, first).prev_sample
        second = theirs.step(torch.sin(second), timestep, second).prev_sample
    assert torch.allclose(first, second, atol=1e-4)


def test_a_pairs_noise_depends_on_its_own_seed_alone() -> None:
    assert torch.equal(noise_for([5, 6], (2, 3))[1], noise_for([6], (2, 3))[0])


@pytest.mark.parametrize("name", ["dpm++", "dpm++sde", "ddim", "euler"])
def test_every_sampler_draws_images_that_are_neither_flat_nor_noise(sampler: PairSampler, name: str) -> None:
    named = as_set(sampler, QUICK.model_copy(update={"sampler": name, "steps": 12}))
    images = named.draw(PROMPTS, [1, 2]).images.astype(float)
    assert images.std() > 10
    neighbours = np.abs(np.diff(images, axis=2)).mean()
    assert neighbours < 0.5 * images.std()


def test_the_callers_mask_is_kept_through_sampling(sampler: PairSampler, pairs_128: PairArrays) -> None:
    drawn = sampler.draw(PROMPTS, [1, 2], sampler.given_mask(pairs_128.masks))
    assert dice(drawn.masks, pairs_128.masks) > 0.95


@pytest.fixture(scope="module")
def two_places() -> np.ndarray:
    """A round lesion on the left and one on the right, which share no pixel: bool (2, 128, 128)."""
    rows, columns = np.mgrid[:128, :128]
    return np.stack([(rows - 64) ** 2 + (columns - place) ** 2 < 22**2 for place in (34, 94)])


def test_the_image_follows_the_callers_mask(sampler: PairSampler, two_places: np.ndarray) -> None:
    # One seed, two places: the dark lesion lies where the mask says.
    drawn = sampler.draw([prompt_for("nv")] * 2, [1, 1], sampler.given_mask(two_places))
    left, right = drawn.images.mean(axis=-1)
    for image, mask in zip((left, right), two_places, strict=True):
        assert image[mask].mean() < image[~mask].mean() - 8
    assert left[two_places[0]].mean() < right[two_places[0]].mean() - 8


def test_the_mask_found_for_an_image_lies_on_its_lesion(sampler: PairSampler, two_places: np.ndarray) -> None:
    patient = as_set(sampler, SamplingSettings(steps=10))
    prompts = [prompt_for("nv")] * 2
    images = patient.draw(prompts, [3, 4], patient.given_mask(two_places)).images
    found = patient.draw(prompts, [13, 14], patient.given_image(images)).masks
    own = [dice(mask, place) for mask, place in zip(found, two_places, strict=True)]
    other_place = [dice(mask, place) for mask, place in zip(found, two_places[::-1], strict=True)]
    assert np.mean(own) > 0.55 and np.mean(other_place) < 0.15, (own, other_place)


@pytest.fixture(scope="module")
def segmenter() -> FindingSegmenter:
    return FindingSegmenter.load(SHIPPED_SEGMENTER)


@pytest.mark.parametrize("name", ["dpm++", "dpm++sde", "ddim", "euler"])
def test_more_rounds_make_the_image_fit_the_callers_mask(
    sampler: PairSampler, segmenter: FindingSegmenter, two_places: np.ndarray, name: str
) -> None:
    patient = as_set(sampler, SamplingSettings(steps=8, sampler=name))

    def fit(rounds: int) -> float:
        drawn = patient.draw([prompt_for("nv")] * 2, [3, 4], patient.given_mask(two_places, rounds))
        found, _ = found_masks(segmenter, drawn.images)
        return float(np.mean([dice(own, mask) for own, mask in zip(found, two_places, strict=True)]))

    assert fit(4) > max(0.7, fit(1) + 0.05)


@pytest.mark.parametrize("name", ["dpm++sde", "euler"])
def test_a_step_taken_back_stands_at_the_noise_level_that_it_began_at(sampler: PairSampler, name: str) -> None:
    named = as_set(sampler, SamplingSettings(sampler=name))
    scheduler = make_sampler(named.schedule.config, name)
    scheduler.set_timesteps(timesteps=noise_levels(20, 1000, 1.0))
    clean, noise = torch.full((1, 16, 64, 64), 2.0), noise_for([1], (16, 64, 64))
    at = [scheduler.add_noise(clean, noise, scheduler.timesteps[level].reshape(1)) for level in (9, 10)]
    scheduler.set_begin_index(9)
    scheduler.step(torch.zeros_like(clean), scheduler.timesteps[9], at[0])
    back = named._noised_again(at[1], scheduler, [torch.Generator().manual_seed(2)])
    assert back.mean().item() == pytest.approx(at[0].mean().item(), abs=0.02)
    assert back.std().item() == pytest.approx(at[0].std().item(), rel=0.02)
    assert scheduler.begin_index == 9 and not torch.allclose(back, at[0], atol=0.1)


@pytest.mark.parametrize("kind", ["empty", "full"])
def test_a_mask_without_lesion_or_without_skin_is_one_sentence(sampler: PairSampler, kind: str) -> None:
    masks = np.zeros((2, 128, 128), bool)
    masks[0, 20:90, 20:90] = True
    masks[1] = kind == "full"
    with pytest.raises(BadInput, match=f"mask 2 of 2 is {kind}"):
        sampler.given_mask(masks)


def test_the_callers_image_is_kept_and_a_mask_is_found(sampler: PairSampler, pairs_128: PairArrays) -> None:
    drawn = sampler.draw(PROMPTS, [1, 2], sampler.given_image(pairs_128.images))
    assert np.abs(drawn.images.astype(int) - pairs_128.images).mean() < 12
    assert drawn.masks.any(axis=(1, 2)).all()


def test_only_the_lesion_changes_when_the_rest_is_held(sampler: PairSampler, pairs_128: PairArrays) -> None:
    known = sampler.inside_mask(pairs_128.images, pairs_128.masks, strength=0.8)
    drawn = sampler.draw(PROMPTS, [1, 2], known)
    wide = np.stack([cv2.dilate(mask.astype(np.uint8), np.ones((33, 33))) for mask in pairs_128.masks]) > 0
    change = np.abs(drawn.images.astype(int) - pairs_128.images).mean(axis=-1)
    assert change[~wide].mean() < 12 and change[pairs_128.masks].mean() > change[~wide].mean()


def test_guidance_of_one_is_the_conditional_prediction_and_rescale_keeps_its_spread() -> None:
    conditional, unconditional = torch.randn(2, 4, 8, 8), torch.randn(2, 4, 8, 8)
    assert torch.allclose(rescaled_guidance(conditional, unconditional, 1.0, 0.0), conditional, atol=1e-6)
    rescaled = rescaled_guidance(conditional, unconditional, 5.0, 1.0)
    assert torch.allclose(rescaled.std(dim=(1, 2, 3)), conditional.std(dim=(1, 2, 3)), rtol=1e-4)


def test_a_negative_prompt_changes_the_picture(sampler: PairSampler) -> None:
    against = SamplingSettings(steps=6, negative_prompt=prompt_for("bkl"))
    drawn = as_set(sampler, against).draw(PROMPTS, [1, 2])
    assert not np.array_equal(drawn.images, sampler.draw(PROMPTS, [1, 2]).images)


def test_tidying_fills_holes_and_drops_specks() -> None:
    mask = np.zeros((64, 64), bool)
    mask[10:40, 10:40] = True
    wanted = mask.copy()
    mask[20:22, 20:22] = False
    mask[60:62, 60:62] = True
    assert np.array_equal(tidy_mask(mask), wanted)
    assert not tidy_mask(np.zeros((8, 8), bool)).any()


def test_the_shipped_text_encoder_tells_the_classes_apart() -> None:
    base = open_base(CheckpointSettings())
    with torch.no_grad():
        tokens = tokens_of(base.tokenizer(), [prompt_for(dx) for dx in ("bkl", "mel", "nv")])
        found = embeddings_of(base.text_encoder(), tokens).flatten(1)
    assert len({tuple(row.tolist()) for row in tokens}) == 3
    assert torch.corrcoef(found).fill_diagonal_(0).max() < 0.95


def test_every_class_has_a_prompt_of_its_own_and_attributes_are_told() -> None:
    assert len({prompt_for(dx) for dx in DESCRIPTIONS}) == 7
    assert prompt_for("nv", {"sex": "female", "site": None}).endswith(", sex female")
    assert prompt_for("nv", {"age_group": "20-29"}).endswith(", age group 20 to 29")
    assert "my class" in prompt_for("my_class")
