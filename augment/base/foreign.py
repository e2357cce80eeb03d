"""What people give as a base and is none: each kind is named for what it is, and nothing of it is loaded."""

from __future__ import annotations

import re
from collections.abc import Iterable, Mapping
from pathlib import Path
from typing import Any

from augment.base.parts import PARTS, XL_PARTS
from manifests.errors import BadInput

BASES = "a Stable Diffusion 1.5, 2 or XL base"
PICKLED = (".bin", ".ckpt", ".pt", ".pth", ".pkl")
_ARCHIVES = (".zip", ".tar", ".gz", ".tgz", ".7z", ".rar", ".zst")
_INPUTS = {5: "a depth", 7: "an upscaling", 8: "a picture-editing", 9: "an inpainting"}
"""Checkpoints that draw around a given picture, by the input channels of a UNet over four latent channels."""
_UNFED = ("class_embed_type", "num_class_embeds", "encoder_hid_dim_type")
_PREDICTIONS = ("epsilon", "v_prediction", "sample")
_UNPICKLED = "pickled weights are never loaded; take the .safetensors files that most checkpoints come with, or "
_UNPICKLED += "convert them where you trust them"
# By what the names of a file's tensors match; the first that does tells.
_FILES = (
    (r"(^|\.)(lora_|lycoris_|hada_w|lokr_w)|\.(lora_[AB]|lora_down|lora_up|lora\.down|lora\.up)\.", "a LoRA",
     "which changes a base and is none; give the base that it was made for"),
    (r"^(emb_params|clip_[lg]|string_to_param)$", "a textual inversion",
     "which adds words to a base and is none; give the base that it was made for"),
    (r"^(control_model|controlnet_\w+|zero_convs|controlnet)\.", "a ControlNet",
     f"which steers a base and is none; give {BASES}"),
    (r"(^|\.)(joint_blocks|double_blocks|transformer_blocks\.\d+\.attn\.norm_\w+|single_transformer_blocks)\.",
     "a transformer such as Stable Diffusion 3's or Flux's", f"and adapters are made for UNets; give {BASES}"),
    (r"^conditioner\.embedders\.0\.model\.", "the refiner of Stable Diffusion XL",
     "which draws nothing by itself; give the XL base that it refines"),
    (r"^model\.diffusion_model\.", "a UNet without its text encoder or VAE",
     "which a base needs; give the whole checkpoint"),
    (r"^(down_blocks|mid_block|up_blocks)\.\d*", "the UNet of a base alone",
     "give the folder in which unet, vae and text_encoder lie"),
    (r"^((first_stage_model|vae)\.)?(en|de)coder\.(conv_in|mid|up|down|conv_out)", "an autoencoder alone",
     f"which draws nothing by itself; give {BASES}"),
    (r"(^|\.)embeddings\.token_embedding\.", "a text encoder alone",
     f"which draws nothing by itself; give {BASES}"),
)  # fmt: skip


def refuse_file(path: Path) -> None:
    """BadInput that names a file which cannot be a checkpoint, by its ending."""
    ending = path.suffix.lower()
    if ending in PICKLED:
        raise BadInput(f"{path}: {_UNPICKLED}")
    if ending in _ARCHIVES:
        raise BadInput(f"{path}: is an archive; unpack it and give base.path what is in it")
    if ending in (".onnx", ".gguf"):
        raise BadInput(f"{path}: {ending[1:].upper()} weights cannot be trained; give {BASES} in safetensors")
    if path.name == "model_index.json":
        raise BadInput(f"{path}: is the table of a base's parts; give its folder, base.path={path.parent}")
    if ending != ".safetensors":
        raise BadInput(f"{path}: is no checkpoint; give a folder in the diffusers layout or a .safetensors file")


def refuse_tensors(path: Path, names: Iterable[str], metadata: Mapping[str, str]) -> None:
    """BadInput that names what a safetensors file holds, by the names of its tensors."""
    names = list(names)
    whole = path.parent.parent
    if path.parent.name in (*PARTS, *XL_PARTS) and (whole / "model_index.json").is_file():
        raise BadInput(f"{path}: is one part of a base; give the whole, base.path={whole}")
    if metadata.get("format", "").startswith("evenderm-adapter"):
        raise BadInput(f"{path}: is an adapter of Evenderm, not a base; give the base that it was made for")
    for pattern, kind, advice in _FILES:
        if any(re.search(pattern, name) for name in names):
            raise BadInput(f"{path}: is {kind}, {advice}")
    raise BadInput(f"{path}: holds no base that is known; give {BASES}, a folder or a .safetensors file")


def refuse_folder(path: Path, described: Mapping[str, Any]) -> None:
    """BadInput that names a folder in the diffusers layout whose parts are not those of a base.

    described: the content of its model_index.json.
    """
    kind = str(described.get("_class_name", "its pipeline"))
    if kind.startswith("Onnx") or (path / "unet" / "model.onnx").is_file():
        raise BadInput(f"{path}: ONNX weights cannot be trained; give {BASES} in safetensors")
    if (path / "transformer").is_dir() and not (path / "unet").is_dir():
        raise BadInput(f"{path}: {kind} draws with a transformer, and adapters are made for UNets; give {BASES}")
    without_first = "XLImg2Img" in kind and not (path / "text_encoder").is_dir()
    if described.get("requires_aesthetics_score") or without_first:
        raise BadInput(
            f"{path}: is the refiner of Stable Diffusion XL, which draws nothing by itself; give the XL base that it "
            "refines"
        )


def refuse_unet(path: Path, config: Mapping[str, Any], latent: int) -> None:
    """BadInput that names a UNet (its config) which is told more than noise, prompt and size; latent: VAE's channels.

    A UNet with as many channels going in as coming out may be a joint one, and passes.
    """
    found, out = int(config.get("in_channels") or 0), int(config.get("out_channels") or 0)
    check_inputs(path, found, out, latent)
    if config.get("time_cond_proj_dim"):
        raise BadInput(
            f"{path}: its UNet is distilled for a few steps (a consistency model) and cannot be taught; give the base "
            "that it was made from"
        )
    unfed = [name for name in _UNFED if config.get(name)]
    if config.get("addition_embed_type") not in (None, "text_time"):
        unfed.append("addition_embed_type")
    if unfed:
        raise BadInput(f"{path}: its UNet needs {unfed[0]} {config[unfed[0]]!r}, which pairs do not have; give {BASES}")


def refuse_schedule(path: Path, config: Mapping[str, Any]) -> None:
    """BadInput that names a noise schedule (its config) which is none of Stable Diffusion 1, 2 or XL."""
    kind, said = str(config.get("_class_name", "")), config.get("prediction_type", "epsilon")
    if kind.startswith(("EDM", "FlowMatch")) or said not in _PREDICTIONS:
        raise BadInput(f"{path}: its noise schedule ({kind}, {said}) is not Stable Diffusion's; give {BASES}")


def check_inputs(path: Path, found: int, out: int, latent: int) -> None:
    """BadInput that names a UNet with `found` input and `out` output channels if it draws around a given picture."""
    if found != out and latent == 4 and found in _INPUTS:
        raise BadInput(
            f"{path}: is {_INPUTS[found]} checkpoint ({found} input channels), which draws around a given picture; "
            f"give the text-to-image checkpoint that it was made from, {BASES}"
        )


def refuse_layout(path: Path) -> None:
    """BadInput that tells what a folder without model_index.json is, and what to give instead."""
    if path.name in (*PARTS, *XL_PARTS) and (path.parent / "model_index.json").is_file():
        raise BadInput(f"{path}: is one part of a base; give the whole, base.path={path.parent}")
    if any((path / name).is_file() for name in ("adapter_config.json", "pytorch_lora_weights.safetensors")):
        raise BadInput(f"{path}: is a LoRA, which changes a base and is none; give the base that it was made for")
    deeper = sorted(index for below in ("*", "*/*") for index in path.glob(f"{below}/model_index.json"))
    if deeper:
        raise BadInput(f"{path}: the base lies deeper; give base.path={deeper[0].parent}")
    checkpoints = sorted(path.glob("*.safetensors"))
    if checkpoints:
        raise BadInput(f"{path}: holds checkpoint files; give one of them, such as base.path={checkpoints[0]}")
    for file in sorted(path.glob("*")):
        if file.suffix.lower() in PICKLED:
            raise BadInput(f"{file}: {_UNPICKLED}")
    raise BadInput(f"{path}: model_index.json is missing, so this is no base in Stable Diffusion layout")


def refuse_weights(folder: Path) -> None:
    """BadInput that names weights of a part which are in no form that is loaded, if there are any."""
    for file in sorted(folder.iterdir()):
        if file.suffix.lower() in PICKLED:
            raise BadInput(f"{file}: {_UNPICKLED}")
        if file.suffix in (".msgpack", ".h5", ".onnx"):
            raise BadInput(f"{file}: are weights for another framework; take the base's .safetensors files")
