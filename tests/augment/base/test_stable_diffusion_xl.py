"""Stable Diffusion XL: two text encoders, a pooled embedding and sizes reach the denoiser, as in plain diffusers."""

from __future__ import annotations

import gc
import weakref
from typing import Any

import pytest
import torch
from diffusers import StableDiffusionXLPipeline

from augment.adapters import AdapterFile, read_adapter
from augment.base.conditioning import conditioning_of
from augment.base.folder import BaseFolder
from augment.joint import widen_unet
from augment.prompts import prompt_for
from augment.sampling import PairSampler, make_sampler, noise_for, noise_levels
from augment.settings import AdaptSettings, SamplingSettings
from augment.training.adapter import DOMAIN, AdapterTrainer, AdaptTask
from manifests.pairs import PairArrays
from tests.augment.test_adapters import readme_block

SHORT = AdaptSettings(
    steps=2, domain_steps=2, batch=4, warmup=1, rank=2, alpha=2, learning_rate=5e-3, validate_every=2, bf16=False,
    targets=("to_q", "to_v"),
)  # fmt: skip
PROMPTS = [prompt_for("mel"), "", prompt_for("nv")]


@pytest.fixture(scope="module")
def pipeline(xl_base: BaseFolder) -> StableDiffusionXLPipeline:
    """The same base in diffusers' own pipeline."""
    parts = {name: xl_base.tokenizer(name) for name in ("tokenizer", "tokenizer_2")}
    parts |= {name: xl_base.text_encoder(name) for name in ("text_encoder", "text_encoder_2")}
    return StableDiffusionXLPipeline(xl_base.vae(), **parts, unet=xl_base.unet(), scheduler=xl_base.scheduler())


@pytest.fixture(scope="module")
def encoders() -> list[weakref.ref]:
    """Weak references to the text encoders that were loaded for the trainer."""
    return []


@pytest.fixture(scope="module")
def trainer(drawn_pairs: PairArrays, xl_base: BaseFolder, encoders, tmp_path_factory) -> AdapterTrainer:
    """A domain adapter after two steps."""
    load, out = BaseFolder.text_encoder, tmp_path_factory.mktemp("xl")

    def watched(base: BaseFolder, part: str = "text_encoder"):
        found = load(base, part)
        encoders.append(weakref.ref(found))
        return found

    with pytest.MonkeyPatch.context() as patch:
        patch.setattr(BaseFolder, "text_encoder", watched)
        trainer = AdapterTrainer(drawn_pairs, AdaptTask(DOMAIN, 0, "data"), xl_base, SHORT, out)
    for _ in range(2):
        trainer.step()
    trainer.validate()  # the first validation is the best so far, so that these weights are the ones written
    return trainer


@pytest.fixture(scope="module")
def adapter(trainer: AdapterTrainer, xl_base: BaseFolder, tmp_path_factory) -> AdapterFile:
    """That adapter, written and read."""
    out = tmp_path_factory.mktemp("adapter") / "domain.safetensors"
    trainer.write(out)
    return read_adapter(out, xl_base)


def test_prompts_are_told_as_diffusers_pipeline_tells_them(xl_base: BaseFolder, pipeline) -> None:
    told = conditioning_of(xl_base, PROMPTS)
    for place, prompt in enumerate(PROMPTS):
        with torch.no_grad():
            if prompt:
                embeddings, _, pooled, _ = pipeline.encode_prompt(prompt, do_classifier_free_guidance=False)
            else:
                _, embeddings, _, pooled = pipeline.encode_prompt("of anything", negative_prompt=None)
        assert torch.allclose(told.embeddings[place], embeddings[0], atol=1e-5)
        assert torch.allclose(told.pooled[place], pooled[0], atol=1e-5)
    sizes = pipeline._get_add_time_ids((64, 64), (0, 0), (64, 64), torch.float32, 32)
    assert torch.equal(told.sizes, sizes.repeat(3, 1))


def test_the_image_output_is_that_of_the_plain_unet_until_something_is_learned(xl_base: BaseFolder) -> None:
    told, latents = conditioning_of(xl_base, PROMPTS), torch.randn(3, 8, 8, 8)
    added = {"text_embeds": told.pooled, "time_ids": told.sizes}
    with torch.no_grad():
        joint = told.output_of(widen_unet(xl_base.unet(), 4).eval(), latents, torch.tensor(500))
        plain = xl_base.unet().eval()(latents[:, :4], 500, told.embeddings, added_cond_kwargs=added).sample
        other = told[torch.tensor([2, 1, 0])].output_of(xl_base.unet().eval(), latents[:, :4], torch.tensor(500))
    assert torch.equal(joint[:, :4], plain) and torch.equal(joint[:, 4:], torch.zeros(3, 4, 8, 8))
    assert not torch.allclose(other[0], plain[0], atol=1e-4)


def test_no_text_encoder_is_in_memory_while_an_adapter_trains(trainer: AdapterTrainer, encoders) -> None:
    gc.collect()
    assert len(encoders) == 2 and all(reference() is None for reference in encoders)
    assert len(trainer.prompts) == len(trainer.prompts.pooled) == len(trainer.prompts.sizes) == 4


def test_plain_diffusers_pipeline_draws_with_an_adapter_what_is_drawn_here(
    adapter: AdapterFile, xl_base: BaseFolder, pipeline
) -> None:
    names: dict[str, Any] = {}
    exec(readme_block(adapter.path, xl_base.path), names)
    settings = SamplingSettings(steps=3, spacing=1.0, guidance=3.0, guidance_above=0.0, sampler="dpm++")
    ours = PairSampler(xl_base, adapter, settings).latents(PROMPTS[:1], [7])
    pipeline.register_modules(unet=names["unet"].eval(), scheduler=make_sampler(xl_base.scheduler().config, "dpm++"))
    size, steps = {"height": 64, "width": 64}, {"timesteps": noise_levels(3, 1000, 1.0), "guidance_scale": 3.0}
    theirs = pipeline(PROMPTS[0], **size, **steps, latents=noise_for([7], (8, 8, 8)), output_type="latent").images
    assert torch.allclose(ours, theirs, atol=1e-3)
    pipeline.unet.delete_adapters("default_0")
    without = pipeline(PROMPTS[0], **size, **steps, latents=noise_for([7], (8, 8, 8)), output_type="latent").images
    assert not torch.allclose(ours[:, :4], without[:, :4], atol=1e-2)


def test_pairs_are_drawn_by_their_seeds_and_follow_their_prompts(adapter: AdapterFile, xl_base: BaseFolder) -> None:
    sampler = PairSampler(xl_base, adapter, SamplingSettings(steps=3, guidance_above=0.0))
    first, again = (sampler.latents([PROMPTS[0], PROMPTS[2]], [1, 1]) for _ in range(2))
    assert torch.equal(first, again) and not torch.allclose(first[0], first[1], atol=1e-4)
    drawn = sampler.draw(PROMPTS[:1], [1])
    assert drawn.images.shape == (1, 64, 64, 3) and drawn.masks.shape == (1, 64, 64)
