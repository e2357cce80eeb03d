"""A base from scratch, at a toy size: it resumes to the bit and comes out as a whole joint base."""

from __future__ import annotations

from functools import partial
from pathlib import Path

import numpy as np
import pytest
import torch
from safetensors.torch import load_file

from augment.base.card import base_card
from augment.base.folder import decode_images, image_encoder
from augment.settings import PretrainSettings
from augment.training.pretrain import Pretraining
from manifests.errors import BadInput, EvendermError
from manifests.pairs import PairArrays
from manifests.progress import StopRequested

SMALL = PretrainSettings(
    steps=6,
    decoder_steps=6,
    batch=4,
    decoder_batch=4,
    warmup=1,
    zooms=1,
    latent_channels=8,
    unet_widths=(32, 64),
    text_width=32,
    checkpoint_every=2,
)


def pretraining(pairs: PairArrays, work: Path) -> Pretraining:
    return Pretraining(pairs, 64, SMALL, 0, "data", work)


@pytest.mark.parametrize("part", ["decoder", "denoiser"])
def test_a_resumed_part_equals_an_uninterrupted_one_to_the_bit(part, drawn_pairs: PairArrays, tmp_path: Path) -> None:
    pairs = drawn_pairs.select(range(12))
    pretraining(pairs, tmp_path / "whole").train(part)

    def stop(done: int, total: int, **figures: float | str) -> None:
        if figures and done == 3:
            raise StopRequested

    with pytest.raises(StopRequested):
        pretraining(pairs, tmp_path / "cut").train(part, stop)
    pretraining(pairs, tmp_path / "cut").train(part)
    whole, cut = (load_file(tmp_path / side / f"{part}.safetensors") for side in ("whole", "cut"))
    assert whole.keys() == cut.keys() and all(torch.equal(whole[name], cut[name]) for name in whole)


@pytest.mark.parametrize("part", ["decoder", "denoiser"])
def test_training_that_diverges_is_one_sentence_with_the_step(part, drawn_pairs: PairArrays, tmp_path: Path) -> None:
    wild = SMALL.model_copy(update={"learning_rate": 1e30, "decoder_learning_rate": 1e30})
    made = Pretraining(drawn_pairs.select(range(12)), 64, wild, 0, "data", tmp_path)
    with pytest.raises(EvendermError, match=rf"training the {part} diverged at step \d; .* lower pretrain\..*rate"):
        made.train(part)


def test_the_parts_become_one_joint_base_in_stable_diffusions_layout(drawn_pairs: PairArrays, tmp_path: Path) -> None:
    pairs = drawn_pairs.select(range(12))
    made = pretraining(pairs, tmp_path / "work")
    with pytest.raises(BadInput, match="train the decoder first"):
        made.write_base(tmp_path / "base", lambda folder: "card")
    made.train("decoder")
    made.train("denoiser")
    card = partial(
        base_card,
        settings=made.settings,
        resolution=made.side,
        classes={"nv": 12},
        sources=["phantom"],
        licences=["CC0-1.0"],
        data_digest=made.data_digest,
        samples=made.samples(),
    )
    base = made.write_base(tmp_path / "base", card)
    written = (base.path / "README.md").read_text()
    assert "24 pairs shown, 4 at a time" in written
    assert "12 nv" in written and "license: cc0-1.0" in written and "0.0 M" not in written.split("text_encoder")[0]
    assert base.codec is not None and base.latent_channels == 8 and base.downscale == 8
    vae = base.vae()
    encode = image_encoder(vae, base)
    back = decode_images(vae, base, encode(pairs.images[:2]))
    assert np.abs(back.astype(int) - pairs.images[:2]).mean() < 12
    for part in ("unet", "vae", "text_encoder"):
        (weights,) = (tmp_path / "base" / part).glob("*.safetensors")
        assert all(value.dtype == torch.float16 for value in load_file(weights).values() if value.is_floating_point())


def test_pretraining_goes_on_from_a_base_and_keeps_its_autoencoder(drawn_pairs: PairArrays, tmp_path: Path) -> None:
    pairs = drawn_pairs.select(range(12))
    first = pretraining(pairs, tmp_path / "first")
    for part in first.parts:
        first.train(part)
    start = first.write_base(tmp_path / "start", lambda folder: "card")
    further = Pretraining(pairs, 64, SMALL, 0, "data", tmp_path / "further", start)
    assert further.parts == ("denoiser",)
    before = {name: value.detach().clone() for name, value in further.denoiser_parts().named_parameters().items()}
    further.train("denoiser")
    base = further.write_base(tmp_path / "base", lambda folder: "card")
    (old,), (new,) = ((tmp_path / name / "vae").glob("*.safetensors") for name in ("start", "base"))
    assert old.read_bytes() == new.read_bytes()
    assert not any(str(tmp_path) in path.read_text() for path in base.path.rglob("*.json")), "where it lay"
    after = dict(base.unet().named_parameters())
    moved = [not torch.equal(before[f"unet.{name}"], value) for name, value in after.items()]
    assert np.mean(moved) > 0.9 and (before["unet.conv_in.weight"] - after["conv_in.weight"]).abs().max() < 0.1


def test_stable_diffusions_own_pipeline_loads_the_parts_of_the_base() -> None:
    from diffusers import AutoencoderDC, DDPMScheduler, UNet2DConditionModel
    from transformers import CLIPTextModel, CLIPTokenizer

    from augment.base.folder import SHIPPED

    assert UNet2DConditionModel.from_pretrained(SHIPPED / "unet").config.in_channels == 36
    assert AutoencoderDC.from_pretrained(SHIPPED / "vae").config.latent_channels == 32
    assert CLIPTextModel.from_pretrained(SHIPPED / "text_encoder").config.hidden_size == 128
    assert len(CLIPTokenizer.from_pretrained(SHIPPED / "tokenizer")) > 500
    assert DDPMScheduler.from_pretrained(SHIPPED / "scheduler").config.prediction_type == "v_prediction"
