"""Bases of real architectures, narrow and untrained: what SD 1.5 and SD 2 look like to the code, at a toy size."""

from __future__ import annotations

import json
import shutil
from pathlib import Path
from typing import Any

import torch
from diffusers import AutoencoderKL, UNet2DConditionModel
from transformers import CLIPTextModelWithProjection

from augment.base.folder import SHIPPED
from augment.base.single_file import noise_schedule
from augment.base.text_encoder import make_text_encoder, make_tokenizer


def scaled_to_one(vae: AutoencoderKL) -> AutoencoderKL:
    """The VAE with the scaling factor that its own latents ask for, as published ones have."""
    pictures = torch.nn.functional.interpolate(torch.rand(4, 3, 4, 4) * 2 - 1, size=(64, 64), mode="bicubic")
    with torch.no_grad():
        spread = float(vae.encode(pictures).latent_dist.mean.std())
    vae.register_to_config(scaling_factor=1 / spread)
    return vae


def write_narrow_base(out: Path, prediction: str = "epsilon", linear_projection: bool = True, text: int = 32) -> Path:
    """A Stable Diffusion layout without mask channels: 64 px, 8x8 latents of 4 channels.

    linear_projection and per-level head counts are SD 2's; SD 1.5 has convolutions and eight heads.
    """
    torch.manual_seed(0)
    unet = UNet2DConditionModel(
        sample_size=8,
        in_channels=4,
        out_channels=4,
        block_out_channels=(32, 64),
        layers_per_block=1,
        down_block_types=("CrossAttnDownBlock2D", "DownBlock2D"),
        up_block_types=("UpBlock2D", "CrossAttnUpBlock2D"),
        cross_attention_dim=text,
        attention_head_dim=(2, 4) if linear_projection else 8,
        use_linear_projection=linear_projection,
        norm_num_groups=8,
    )
    tokenizer = make_tokenizer(out / "tokenizer")
    unet.save_pretrained(out / "unet")
    make_text_encoder(tokenizer, text).save_pretrained(out / "text_encoder")
    return with_shared_parts(out, prediction, "StableDiffusionPipeline")


def write_narrow_xl_base(out: Path) -> Path:
    """A Stable Diffusion XL layout, 64 px: two text encoders, of which the second pools, and size conditioning."""
    torch.manual_seed(0)
    unet = UNet2DConditionModel(
        sample_size=8,
        block_out_channels=(32, 64),
        layers_per_block=1,
        down_block_types=("DownBlock2D", "CrossAttnDownBlock2D"),
        up_block_types=("CrossAttnUpBlock2D", "UpBlock2D"),
        transformer_layers_per_block=(1, 2),
        cross_attention_dim=16 + 32,
        attention_head_dim=(2, 4),
        use_linear_projection=True,
        addition_embed_type="text_time",
        addition_time_embed_dim=8,
        projection_class_embeddings_input_dim=32 + 6 * 8,
        norm_num_groups=8,
    )
    unet.save_pretrained(out / "unet")
    tokenizer = make_tokenizer(out / "tokenizer")
    tokenizer.save_pretrained(out / "tokenizer_2")
    make_text_encoder(tokenizer, 16).save_pretrained(out / "text_encoder")
    config = make_text_encoder(tokenizer, 32).config
    CLIPTextModelWithProjection(config).save_pretrained(out / "text_encoder_2")
    return with_shared_parts(out, "epsilon", "StableDiffusionXLPipeline")


def write_narrow_joint_base(out: Path) -> Path:
    """The shipped base with a narrow, untrained denoiser in the place of its own: as many channels, far less work."""
    torch.manual_seed(0)
    shutil.copytree(SHIPPED, out, ignore=shutil.ignore_patterns("unet"))
    config = UNet2DConditionModel.load_config(SHIPPED / "unet") | {"block_out_channels": (32, 32, 64)}
    UNet2DConditionModel.from_config(config).save_pretrained(out / "unet")
    return out


def with_shared_parts(out: Path, prediction: str, pipeline: str) -> Path:
    """What all of these bases have alike: a narrow VAE, Stable Diffusion's noise schedule, and the table of parts."""
    scaled_to_one(narrow_vae(8, norm_num_groups=4)).save_pretrained(out / "vae")
    noise_schedule(prediction).save_pretrained(out / "scheduler")
    (out / "model_index.json").write_text(json.dumps({"_class_name": pipeline}))
    return out


def narrow_vae(width: int, **config: Any) -> AutoencoderKL:
    """A random VAE with four levels of `width` channels, in the form of Stable Diffusion's."""
    return AutoencoderKL(
        block_out_channels=(width,) * 4,
        down_block_types=("DownEncoderBlock2D",) * 4,
        up_block_types=("UpDecoderBlock2D",) * 4,
        latent_channels=4,
        sample_size=64,
        **config,
    )
