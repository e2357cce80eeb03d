"""The configs of a single-file checkpoint's parts, which it does not hold, from the shapes of its tensors."""

from __future__ import annotations

import re
from collections.abc import Mapping
from dataclasses import dataclass
from typing import Any

_UNET, _VAE = "model.diffusion_model.", "first_stage_model."
_HEAD = 64
"""Width of an attention head in all of them but Stable Diffusion 1's UNet, which has eight heads whatever the width."""


@dataclass(frozen=True)
class Header:
    """What a safetensors file says of itself: shapes and types of its tensors by name, and metadata."""

    shapes: Mapping[str, tuple[int, ...]]
    types: Mapping[str, str]
    metadata: Mapping[str, str]

    def count(self, pattern: str) -> int:
        """How many different numbers stand where `pattern`, which begins a name, has its group."""
        return len({found[1] for name in self.shapes if (found := re.match(pattern, name))})


def unet_config(header: Header, sample_size: int) -> dict[str, Any]:
    """diffusers' config of the UNet of Stable Diffusion 1, 2 or XL."""
    widths, depths, per_level = _levels(header)
    first = re.escape(_UNET) + r"input_blocks\.\d+\.1\."
    cross = next(shape[1] for name, shape in header.shapes.items() if re.match(first + r".*attn2\.to_k\.weight", name))
    linear = any(len(shape) == 2 for name, shape in header.shapes.items() if re.match(first + "proj_in.weight", name))
    heads = [max(1, width // _HEAD) for width in widths]
    latent = header.shapes[f"{_UNET}input_blocks.0.0.weight"][1]
    config = {
        "_class_name": "UNet2DConditionModel",
        "sample_size": sample_size,
        "in_channels": latent,
        "out_channels": latent,
        "block_out_channels": widths,
        "layers_per_block": per_level,
        "down_block_types": ["CrossAttnDownBlock2D" if depth else "DownBlock2D" for depth in depths],
        "up_block_types": ["CrossAttnUpBlock2D" if depth else "UpBlock2D" for depth in reversed(depths)],
        "transformer_layers_per_block": [max(1, depth) for depth in depths],
        "cross_attention_dim": cross,
        "attention_head_dim": heads if linear else 8,
        "use_linear_projection": linear,
    }
    if f"{_UNET}label_emb.0.0.weight" in header.shapes:
        told = header.shapes[f"{_UNET}label_emb.0.0.weight"][1]
        pooled = header.shapes["conditioner.embedders.1.model.text_projection"][1]
        config |= {
            "addition_embed_type": "text_time",
            "addition_time_embed_dim": (told - pooled) // 6,
            "projection_class_embeddings_input_dim": told,
        }
    return config


def _levels(header: Header) -> tuple[list[int], list[int], int]:
    """Widths of the UNet's levels, layers of their transformers (0 without), and residual blocks per level."""
    widths, depths, blocks = [], [], [0]
    for number in range(1, header.count(re.escape(_UNET) + r"input_blocks\.(\d+)\.")):
        name = f"{_UNET}input_blocks.{number}."
        if f"{name}0.op.weight" in header.shapes:  # halves the side: the next level begins
            blocks.append(0)
            continue
        if blocks[-1] == 0:
            widths.append(header.shapes[f"{name}0.out_layers.3.weight"][0])
            depths.append(header.count(re.escape(name) + r"1\.transformer_blocks\.(\d+)\."))
        blocks[-1] += 1
    return widths, depths, blocks[0]


def vae_config(header: Header, side: int, scale: float) -> dict[str, Any]:
    """diffusers' config of the autoencoder."""
    encoder = re.escape(_VAE) + r"encoder\.down\."
    levels = range(header.count(encoder + r"(\d+)\."))
    widths = [header.shapes[f"{_VAE}encoder.down.{level}.block.0.conv1.weight"][0] for level in levels]
    return {
        "_class_name": "AutoencoderKL",
        "block_out_channels": widths,
        "down_block_types": ["DownEncoderBlock2D"] * len(widths),
        "up_block_types": ["UpDecoderBlock2D"] * len(widths),
        "layers_per_block": header.count(encoder + r"0\.block\.(\d+)\."),
        "latent_channels": header.shapes[f"{_VAE}decoder.conv_in.weight"][1],
        "sample_size": side,
        "scaling_factor": scale,
    }


def text_config(header: Header, prefix: str) -> dict[str, Any]:
    """transformers' config of a CLIP text encoder whose tensors' names begin with `prefix`."""
    shapes, opened = header.shapes, prefix.endswith(".model.")
    embeddings = prefix if opened else f"{prefix}embeddings."
    vocabulary, width = shapes[f"{embeddings}token_embedding.weight"]
    positions = shapes[f"{prefix}positional_embedding" if opened else f"{embeddings}position_embedding.weight"][0]
    layers = f"{prefix}transformer.resblocks." if opened else f"{prefix}encoder.layers."
    count = header.count(re.escape(layers) + r"(\d+)\.")
    projection = shapes.get(f"{prefix}text_projection", (width, width))[1]
    return {
        "model_type": "clip_text_model",
        "vocab_size": vocabulary,
        "hidden_size": width,
        "intermediate_size": shapes[f"{layers}0.mlp.{'c_fc' if opened else 'fc1'}.weight"][0],
        # Stable Diffusion 2 takes what OpenCLIP says before its last layer.
        "num_hidden_layers": count - (prefix == "cond_stage_model.model."),
        "num_attention_heads": max(1, width // _HEAD),
        "max_position_embeddings": positions,
        "hidden_act": "gelu" if opened else "quick_gelu",
        "projection_dim": projection,
        "bos_token_id": vocabulary - 2,
        "eos_token_id": vocabulary - 1,
        "pad_token_id": 0 if opened else vocabulary - 1,
    }
