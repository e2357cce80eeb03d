"""A checkpoint in one file is converted once, without network, into the base that it is."""

from __future__ import annotations

import shutil
import types
from pathlib import Path
from typing import Any

import pytest
import torch
from diffusers import AutoencoderKL, UNet2DConditionModel
from safetensors.torch import save_file
from transformers import CLIPTextConfig, CLIPTextModelWithProjection

from augment.base import single_file
from augment.base.clip_tokenizer import VOCABULARY, clip_tokenizer
from augment.base.conditioning import conditioning_of
from augment.base.file_configs import Header, text_config, unet_config, vae_config
from augment.base.folder import open_base
from augment.base.single_file import predicts_noise
from augment.settings import CheckpointSettings
from manifests.errors import BadInput
from tests.augment.base.single_files import (
    KINDS,
    narrow_parts,
    original_open_clip,
    original_tensors,
    original_unet,
    original_vae,
    write_single_file,
)
from tests.benchmarks.stable_diffusion_speed import UNET, VAE

XL = {
    "sample_size": 128,
    "block_out_channels": (320, 640, 1280),
    "down_block_types": ("DownBlock2D", "CrossAttnDownBlock2D", "CrossAttnDownBlock2D"),
    "up_block_types": ("CrossAttnUpBlock2D", "CrossAttnUpBlock2D", "UpBlock2D"),
    "transformer_layers_per_block": (1, 2, 10),
    "attention_head_dim": (5, 10, 20),
    "cross_attention_dim": 2048,
    "use_linear_projection": True,
    "addition_embed_type": "text_time",
    "addition_time_embed_dim": 256,
    "projection_class_embeddings_input_dim": 2816,
}
ONE_AND_A_HALF = UNET | {"attention_head_dim": 8, "cross_attention_dim": 768, "use_linear_projection": False}


@pytest.fixture(scope="module")
def files(tmp_path_factory) -> dict[str, tuple[Path, dict[str, Any]]]:
    """A checkpoint in one file of each generation, and its parts."""
    folder = tmp_path_factory.mktemp("files")
    paths = {kind: folder / f"{kind}.safetensors" for kind in KINDS}
    return {kind: (path, write_single_file(path, kind)) for kind, path in paths.items()}


def plain(value: Any) -> Any:
    return tuple(value) if isinstance(value, list) else value


@pytest.mark.parametrize("kind", KINDS)
def test_every_weight_and_config_is_that_of_the_checkpoint(kind: str, files, tmp_path: Path) -> None:
    file, parts = files[kind]
    base = open_base(CheckpointSettings(path=str(file), resolution=64), tmp_path)
    assert base.xl == (kind == "XL") and base.unet_side * base.downscale == 64
    for name, part in parts.items():
        found = base.text_encoder(name) if name.startswith("text") else getattr(base, name)()
        expected = part.state_dict()
        assert found.state_dict().keys() == expected.keys()
        assert all(torch.equal(value, expected[key]) for key, value in found.state_dict().items())
    latents, told = torch.randn(1, 4, 8, 8), conditioning_of(base, ["melanoma"])
    with torch.no_grad():
        both = [told.output_of(unet.eval(), latents, torch.tensor(500)) for unet in (base.unet(), parts["unet"])]
    assert torch.allclose(*both, atol=1e-5)


@pytest.mark.parametrize(("full", "cross"), [(ONE_AND_A_HALF, 768), (UNET, 1024), (XL, 2048)])
def test_the_configs_of_the_published_sizes_are_those_that_were_published(full: dict, cross: int) -> None:
    with torch.device("meta"):
        unet, vae = UNet2DConditionModel(**full), AutoencoderKL(**VAE)
        second = {"hidden_size": 1280, "projection_dim": 1280, "intermediate_size": 5120, "num_hidden_layers": 32}
        encoder = CLIPTextModelWithProjection(CLIPTextConfig(vocab_size=49408, num_attention_heads=20, **second))
        tensors = original_unet(unet) | original_vae(vae)
        tensors |= original_open_clip(encoder, "conditioner.embedders.1.model.")
    header = Header({name: tuple(value.shape) for name, value in tensors.items()}, {}, {})
    config = unet_config(header, full["sample_size"])
    for key, value in {**full, "cross_attention_dim": cross, "layers_per_block": 2, "in_channels": 4}.items():
        assert plain(config[key]) == value, key
    config = vae_config(header, 512, 0.18215)
    assert {key: plain(config[key]) for key in VAE} == VAE
    told = text_config(header, "conditioner.embedders.1.model.")
    assert {key: told[key] for key in second} == second and told["num_attention_heads"] == 20


def test_a_file_is_converted_once_and_its_digest_is_its_own(files, tmp_path: Path, monkeypatch) -> None:
    settings = CheckpointSettings(path=str(files["1.5"][0]), resolution=64)
    first, elsewhere = (open_base(settings, tmp_path / place) for place in ("one", "other"))
    assert first.digest == elsewhere.digest and first.path != elsewhere.path
    leftover = tmp_path / "third" / f".part-of-{first.path.name}"
    shutil.copytree(first.path / "unet", leftover / "unet")  # of a conversion that was killed
    assert open_base(settings, tmp_path / "third").digest == first.digest and not leftover.exists()
    monkeypatch.setattr(single_file, "_convert", None)
    assert open_base(settings, tmp_path / "one") == first


def test_a_file_in_half_precision_stays_so_on_disk_and_is_loaded_in_float32(tmp_path: Path) -> None:
    parts = write_single_file(tmp_path / "half.safetensors", "2", torch.float16)
    base = open_base(CheckpointSettings(path=str(tmp_path / "half.safetensors"), resolution=64), tmp_path)
    assert (base.path / "unet" / "diffusion_pytorch_model.safetensors").stat().st_size < 1.2 * 2 * sum(
        value.numel() for value in parts["unet"].parameters()
    )
    weight = parts["unet"].conv_in.weight
    assert torch.equal(base.unet().conv_in.weight, weight.half().float())


def test_prompts_are_cut_into_clips_tokens() -> None:
    found = clip_tokenizer()("a photo of a cat", padding="max_length").input_ids
    assert len(clip_tokenizer()) == VOCABULARY
    assert found[:8] == [49406, 320, 1125, 539, 320, 2368, 49407, 49407] and len(found) == 77
    assert clip_tokenizer("!")("a", padding="max_length").input_ids[2:4] == [49407, 0]


def test_what_a_unet_predicts_is_measured() -> None:
    config = types.SimpleNamespace(in_channels=4, cross_attention_dim=8, addition_embed_type=None)

    class Trained:
        def __init__(self, noise: float) -> None:
            self.config, self.noise = config, noise

        def __call__(self, latents, level, context):
            picture = torch.linspace(-1, 1, 16).expand_as(latents)
            return types.SimpleNamespace(sample=self.noise * latents + (1 - self.noise) * picture)

    assert predicts_noise(Trained(0.95)) and not predicts_noise(Trained(0.07))


@pytest.mark.parametrize(("resolution", "told", "side"), [(768, None, 768), (640, None, 512), (512, "768x768", 768)])
def test_the_side_is_what_the_file_says_or_its_kind_draws(resolution: int, told: str | None, side: int) -> None:
    kind = single_file._KINDS[1]
    assert single_file._side(kind, {"modelspec.resolution": told} if told else {}, resolution) == side


def test_another_vocabulary_than_clips_is_one_sentence(tmp_path: Path) -> None:
    tensors = original_tensors(narrow_parts("1.5"), "1.5")
    name = "cond_stage_model.transformer.text_model.embeddings.token_embedding.weight"
    save_file({**tensors, name: tensors[name][:250].clone()}, tmp_path / "other.safetensors")
    with pytest.raises(BadInput, match=r"knows 250 tokens, not CLIP's 49408, .* give the checkpoint as a folder"):
        open_base(CheckpointSettings(path=str(tmp_path / "other.safetensors")), tmp_path)


def test_a_file_that_lacks_tensors_is_one_sentence_and_leaves_nothing(tmp_path: Path) -> None:
    tensors = original_tensors(narrow_parts("1.5"), "1.5")
    lacking = {name: value for name, value in tensors.items() if "middle_block.1." not in name}
    save_file(lacking, tmp_path / "cut.safetensors")
    with pytest.raises(BadInput, match=r"cut\.safetensors: cannot be converted .*; give the base as a folder"):
        open_base(CheckpointSettings(path=str(tmp_path / "cut.safetensors")), tmp_path / "cache")
    assert not [path for path in (tmp_path / "cache").iterdir() if not path.name.startswith(".")]
    with pytest.raises(BadInput, match="name the folder that it is to be converted into"):
        open_base(CheckpointSettings(path=str(tmp_path / "cut.safetensors")))
