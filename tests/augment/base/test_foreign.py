"""What is given as a base and is none is named for what it is, with advice that works; nothing of it is loaded."""

from __future__ import annotations

import json
import shutil
from pathlib import Path

import pytest
import torch
from safetensors.torch import save_file

from augment.base.folder import BaseFolder, check_base, open_base
from augment.settings import CheckpointSettings
from manifests.errors import BadInput

DOWN = "model.diffusion_model.input_blocks.0.0.weight"


def opened(path: Path) -> BaseFolder:
    return open_base(CheckpointSettings(path=str(path)))


@pytest.mark.parametrize(
    ("names", "said"),
    [
        (("lora_unet_down_blocks_0_attentions_0_proj_in.lora_down.weight",), "is a LoRA, which changes a base"),
        (("lora_te_text_model_encoder_layers_0_mlp_fc1.alpha",), "is a LoRA"),
        (("unet.down_blocks.0.attentions.0.to_q.lora_A.weight",), "is a LoRA"),
        (("lora_unet_mid_block_attentions_0.hada_w1_a",), "is a LoRA"),
        (("emb_params",), "is a textual inversion"),
        (("control_model.time_embed.0.weight",), "is a ControlNet"),
        (("model.diffusion_model.joint_blocks.0.context_block.attn.qkv.weight",), "is a transformer such as"),
        (("double_blocks.0.img_attn.norm.key_norm.scale",), "is a transformer such as Stable Diffusion 3's or Flux's"),
        ((DOWN, "conditioner.embedders.0.model.text_projection"), "is the refiner of Stable Diffusion XL"),
        ((DOWN,), "is a UNet without its text encoder or VAE, which a base needs"),
        (("down_blocks.0.resnets.0.conv1.weight", "conv_in.weight"), "is the UNet of a base alone"),
        (("decoder.conv_in.weight",), "is an autoencoder alone"),
        (("first_stage_model.encoder.conv_in.weight",), "is an autoencoder alone"),
        (("text_model.embeddings.token_embedding.weight",), "is a text encoder alone"),
        (("fc.weight",), "holds no base that is known"),
    ],
)
def test_a_safetensors_file_is_named_by_what_it_holds(names: tuple, said: str, tmp_path: Path) -> None:
    save_file({name: torch.zeros(2, 2) for name in names}, tmp_path / "given.safetensors")
    with pytest.raises(BadInput, match=rf"given\.safetensors: {said}.*[;,] give"):
        opened(tmp_path / "given.safetensors")


def test_an_adapter_of_ours_and_a_part_of_a_base_are_named(sd15_base: BaseFolder, tmp_path: Path) -> None:
    save_file({"conv_in.weight": torch.zeros(1)}, tmp_path / "mel.safetensors", {"format": "evenderm-adapter/1"})
    with pytest.raises(BadInput, match="is an adapter of Evenderm, not a base; give the base that it was made for"):
        opened(tmp_path / "mel.safetensors")
    for part in (sd15_base.path / "unet", sd15_base.path / "unet" / "diffusion_pytorch_model.safetensors"):
        with pytest.raises(BadInput, match=rf"is one part of a base; give the whole, base\.path={sd15_base.path}$"):
            opened(part)
    with pytest.raises(BadInput, match=rf"give its folder, base\.path={sd15_base.path}$"):
        opened(sd15_base.path / "model_index.json")


@pytest.mark.parametrize(("channels", "kind"), [(9, "an inpainting"), (8, "a picture-editing"), (5, "a depth")])
def test_a_checkpoint_that_draws_around_a_given_picture_is_named(
    channels: int, kind: str, sd15_base: BaseFolder, tmp_path: Path
) -> None:
    parts = {DOWN: torch.zeros(2, channels, 3, 3), "cond_stage_model.transformer.x": torch.zeros(1)}
    save_file({**parts, "first_stage_model.encoder.conv_in.weight": torch.zeros(1)}, tmp_path / "one.safetensors")
    copied = Path(shutil.copytree(sd15_base.path, tmp_path / "base"))
    rewrite(copied / "unet" / "config.json", in_channels=channels)
    for given in (tmp_path / "one.safetensors", copied):
        with pytest.raises(BadInput, match=f"is {kind} checkpoint .* give the text-to-image checkpoint"):
            opened(given)


@pytest.mark.parametrize(
    ("name", "said"),
    [
        ("model.ckpt", "pickled weights are never loaded; take the .safetensors files"),
        ("model.PTH", "pickled weights are never loaded"),
        ("model.zip", "is an archive; unpack it"),
        ("model.onnx", "ONNX weights cannot be trained"),
        ("model.gguf", "GGUF weights cannot be trained"),
        ("model.txt", "is no checkpoint; give a folder"),
        ("model.safetensors", "cannot be read as safetensors"),
    ],
)
def test_a_file_that_is_no_checkpoint_is_named_by_its_ending(name: str, said: str, tmp_path: Path) -> None:
    (tmp_path / name).write_bytes(b"\x80\x04K\x01.")
    with pytest.raises(BadInput, match=f"{name}: {said}"):
        opened(tmp_path / name)


def rewrite(config: Path, **values) -> None:
    config.write_text(json.dumps(json.loads(config.read_text()) | values))


@pytest.mark.parametrize(
    ("changed", "values", "said"),
    [
        ("model_index.json", {"requires_aesthetics_score": True}, "is the refiner of Stable Diffusion XL"),
        ("model_index.json", {"_class_name": "OnnxStableDiffusionPipeline"}, "ONNX weights cannot be trained"),
        ("unet/config.json", {"time_cond_proj_dim": 256}, "is distilled for a few steps"),
        ("unet/config.json", {"num_class_embeds": 1000}, "needs num_class_embeds 1000"),
        ("unet/config.json", {"addition_embed_type": "image"}, "needs addition_embed_type 'image'"),
        ("scheduler/scheduler_config.json", {"_class_name": "EDMEulerScheduler"}, "noise schedule .EDMEuler"),
        ("scheduler/scheduler_config.json", {"prediction_type": "flow"}, "noise schedule .DDPMScheduler, flow. is not"),
    ],
)
def test_a_folder_of_another_kind_is_named(
    changed: str, values: dict, said: str, sd15_base: BaseFolder, tmp_path: Path
) -> None:
    copied = Path(shutil.copytree(sd15_base.path, tmp_path / "base"))
    rewrite(copied / changed, **values)
    with pytest.raises(BadInput, match=rf"{said}.*; give"):
        check_base(copied)


def test_a_folder_that_draws_with_a_transformer_is_named(tmp_path: Path) -> None:
    (tmp_path / "transformer").mkdir()
    (tmp_path / "model_index.json").write_text(json.dumps({"_class_name": "StableDiffusion3Pipeline"}))
    with pytest.raises(BadInput, match="StableDiffusion3Pipeline draws with a transformer"):
        check_base(tmp_path)


def test_a_folder_around_a_base_or_of_single_files_says_what_to_give(sd15_base: BaseFolder, tmp_path: Path) -> None:
    deep = tmp_path / "models--some--base" / "snapshots" / "0123"
    shutil.copytree(sd15_base.path, deep)
    with pytest.raises(BadInput, match=rf"the base lies deeper; give base\.path={deep}$"):
        check_base(deep.parents[1])
    (tmp_path / "files").mkdir()
    for name, said in (("b.ckpt", "b.ckpt: pickled"), ("a.safetensors", "one of them, such as base.path=.*/a.safeten")):
        (tmp_path / "files" / name).touch()
        with pytest.raises(BadInput, match=said):
            check_base(tmp_path / "files")
    (tmp_path / "files" / "adapter_config.json").touch()
    with pytest.raises(BadInput, match="is a LoRA"):
        check_base(tmp_path / "files")


@pytest.mark.parametrize("name", ["flax_model.msgpack", "model.onnx", "tf_model.h5"])
def test_weights_for_another_framework_are_named(name: str, sd15_base: BaseFolder, tmp_path: Path) -> None:
    copied = shutil.copytree(sd15_base.path, tmp_path / "base", ignore=shutil.ignore_patterns("model.safetensors"))
    (Path(copied) / "text_encoder" / name).touch()
    with pytest.raises(BadInput, match=f"{name}: are weights for another framework"):
        check_base(Path(copied))
