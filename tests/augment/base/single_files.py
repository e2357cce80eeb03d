"""Checkpoints in one file as Stable Diffusion's own programs write them, from narrow parts of diffusers' kind."""

from __future__ import annotations

import copy
import re
from pathlib import Path
from typing import Any

import torch
from diffusers import UNet2DConditionModel
from safetensors.torch import save_file
from torch import Tensor
from transformers import CLIPTextConfig, CLIPTextModel, CLIPTextModelWithProjection

from tests.augment.base.tiny_bases import narrow_vae, scaled_to_one

Tensors = dict[str, Tensor]
KINDS = ("1.5", "2", "XL")
_RESNET = {"norm1": "in_layers.0", "conv1": "in_layers.2", "norm2": "out_layers.0", "conv2": "out_layers.3",
           "time_emb_proj": "emb_layers.1", "conv_shortcut": "skip_connection"}  # fmt: skip
_OUTER = {"conv_in": "input_blocks.0.0", "time_embedding.linear_1": "time_embed.0", "conv_norm_out": "out.0",
          "time_embedding.linear_2": "time_embed.2", "conv_out": "out.2", "add_embedding.linear_1": "label_emb.0.0",
          "add_embedding.linear_2": "label_emb.0.2", "mid_block.resnets.0": "middle_block.0",
          "mid_block.attentions.0": "middle_block.1", "mid_block.resnets.1": "middle_block.2"}  # fmt: skip
_ATTENTION = {"group_norm": "norm", "to_q": "q", "to_k": "k", "to_v": "v", "to_out.0": "proj_out"}
_OPEN = {"layer_norm1": "ln_1", "layer_norm2": "ln_2", "mlp.fc1": "mlp.c_fc", "mlp.fc2": "mlp.c_proj",
         "self_attn.out_proj": "attn.out_proj"}  # fmt: skip


def renamed(name: str, table: dict[str, str]) -> str:
    for old, new in table.items():
        name = re.sub(rf"(^|\.){re.escape(old)}(?=\.)", rf"\g<1>{new}", name)
    return name


def original_unet(unet: Any) -> Tensors:
    """The UNet's tensors under the names of the original program."""
    per_level = unet.config.layers_per_block
    attends = ["CrossAttn" in kind for kind in unet.config.up_block_types]

    def place(found: re.Match) -> str:
        side, level, kind, number = found[1], int(found[2]), found[3], int(found[4])
        if side == "down":
            inner = {"resnets": ".0", "attentions": ".1"}.get(kind, ".0.op")
            index = 1 + level * (per_level + 1) + (per_level if kind == "downsamplers" else number)
            return f"input_blocks.{index}{inner}"
        inner = {"resnets": ".0", "attentions": ".1"}.get(kind, f".{1 + attends[level]}")
        return f"output_blocks.{level * (per_level + 1) + (per_level if kind == 'upsamplers' else number)}{inner}"

    tensors = {}
    for name, value in unet.state_dict().items():
        placed = re.sub(r"^(down|up)_blocks\.(\d+)\.(\w+)\.(\d+)", place, renamed(name, _OUTER))
        placed = placed.replace(".op.conv.", ".op.")
        tensors[f"model.diffusion_model.{placed if 'transformer' in placed else renamed(placed, _RESNET)}"] = value
    return tensors


def original_vae(vae: Any) -> Tensors:
    """The autoencoder's tensors under the names of the original program."""
    last = len(vae.config.block_out_channels) - 1
    tensors = {}
    for name, value in vae.state_dict().items():
        placed = re.sub(r"down_blocks\.(\d+)\.resnets", r"down.\1.block", name)
        placed = re.sub(r"up_blocks\.(\d+)\.resnets", lambda found: f"up.{last - int(found[1])}.block", placed)
        placed = re.sub(r"down_blocks\.(\d+)\.downsamplers\.0\.conv", r"down.\1.downsample.conv", placed)
        sampled = r"up_blocks\.(\d+)\.upsamplers\.0\.conv"
        placed = re.sub(sampled, lambda found: f"up.{last - int(found[1])}.upsample.conv", placed)
        placed = re.sub(r"mid_block\.resnets\.(\d)", lambda found: f"mid.block_{int(found[1]) + 1}", placed)
        placed = renamed(placed, {"conv_norm_out": "norm_out", "conv_shortcut": "nin_shortcut"})
        if "mid_block.attentions.0" in placed:
            placed = renamed(placed.replace("mid_block.attentions.0", "mid.attn_1"), _ATTENTION)
            value = value[..., None, None] if value.ndim == 2 else value
        tensors[f"first_stage_model.{placed}"] = value
    return tensors


def original_clip(encoder: Any, prefix: str) -> Tensors:
    """The tensors of CLIP's text encoder as transformers named them when checkpoints were published."""
    tensors = encoder.state_dict().items()
    return {f"{prefix}text_model.{name.removeprefix('text_model.')}": value for name, value in tensors}


def original_open_clip(encoder: Any, prefix: str) -> Tensors:
    """The tensors of OpenCLIP's text encoder under its own names."""
    parts = {name.removeprefix("text_model."): value for name, value in encoder.state_dict().items()}
    width = encoder.config.hidden_size
    tensors = {
        "token_embedding.weight": parts.pop("embeddings.token_embedding.weight"),
        "positional_embedding": parts.pop("embeddings.position_embedding.weight"),
        "text_projection": parts.pop("text_projection.weight", torch.eye(width)).T,
    }
    for end in ("weight", "bias"):
        tensors[f"ln_final.{end}"] = parts.pop(f"final_layer_norm.{end}")
        for layer in range(encoder.config.num_hidden_layers):
            three = [parts.pop(f"encoder.layers.{layer}.self_attn.{part}_proj.{end}") for part in "qkv"]
            tensors[f"transformer.resblocks.{layer}.attn.in_proj_{end}"] = torch.cat(three)
    for name, value in parts.items():
        tensors[renamed(name.replace("encoder.layers", "transformer.resblocks"), _OPEN)] = value
    return {f"{prefix}{name}": value for name, value in tensors.items()}


def narrow_parts(kind: str) -> dict[str, Any]:
    """Untrained parts of a generation, with CLIP's vocabulary and as narrow as 32 groups per norm allow."""
    torch.manual_seed(0)
    xl = {"addition_embed_type": "text_time", "addition_time_embed_dim": 8, "transformer_layers_per_block": (1, 2),
          "projection_class_embeddings_input_dim": 32 + 48}  # fmt: skip
    attending, plain = ("CrossAttnDownBlock2D", "CrossAttnUpBlock2D"), ("DownBlock2D", "UpBlock2D")
    down, up = zip(*((plain, attending) if kind == "XL" else (attending, plain)), strict=True)
    unet = UNet2DConditionModel(
        sample_size=8,
        block_out_channels=(32, 64),
        layers_per_block=1,
        down_block_types=down,
        up_block_types=up[::-1],
        cross_attention_dim=48 if kind == "XL" else 32,
        attention_head_dim=8 if kind == "1.5" else (1, 1),
        use_linear_projection=kind != "1.5",
        **(xl if kind == "XL" else {}),
    )
    vae = narrow_vae(32, scaling_factor=0.13025 if kind == "XL" else 0.18215)
    # A published VAE's latents have a standard deviation of one over its scaling factor.
    factor = scaled_to_one(copy.deepcopy(vae)).config.scaling_factor / vae.config.scaling_factor
    for value in vae.quant_conv.parameters():
        value.data *= factor
    told = {
        "hidden_size": 16 if kind == "XL" else 32,
        "intermediate_size": 64,
        "projection_dim": 32,
        "num_hidden_layers": 2,
    }
    config = CLIPTextConfig(vocab_size=49408, num_attention_heads=1, max_position_embeddings=77, **told)
    config.eos_token_id, config.hidden_act = 49407, "gelu" if kind == "2" else "quick_gelu"
    parts = {"unet": unet, "vae": vae, "text_encoder": CLIPTextModel(config)}
    if kind == "XL":
        second = CLIPTextConfig(**{**config.to_dict(), "hidden_act": "gelu", "hidden_size": 32})
        parts["text_encoder_2"] = CLIPTextModelWithProjection(second)
    return {name: part.eval() for name, part in parts.items()}


def original_tensors(parts: dict[str, Any], kind: str) -> Tensors:
    """All tensors of a checkpoint in one file."""
    tensors = original_unet(parts["unet"]) | original_vae(parts["vae"])
    if kind == "1.5":
        return tensors | original_clip(parts["text_encoder"], "cond_stage_model.transformer.")
    if kind == "2":
        opened = original_open_clip(parts["text_encoder"], "cond_stage_model.model.")
        # The last layer, which Stable Diffusion 2 does not take, is in the file all the same.
        last = {name.replace(".1.", ".2."): value.clone() for name, value in opened.items() if "resblocks.1." in name}
        return tensors | opened | last
    first = original_clip(parts["text_encoder"], "conditioner.embedders.0.transformer.")
    return tensors | first | original_open_clip(parts["text_encoder_2"], "conditioner.embedders.1.model.")


def write_single_file(file: Path, kind: str, dtype: torch.dtype = torch.float32) -> dict[str, Any]:
    """Writes a checkpoint for 64 px and returns its parts."""
    parts = narrow_parts(kind)
    tensors = {name: value.to(dtype).contiguous() for name, value in original_tensors(parts, kind).items()}
    save_file(tensors, file, {"modelspec.resolution": "64x64"})
    return parts
