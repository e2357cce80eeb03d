"""A checkpoint in one .safetensors file becomes a base folder once, by diffusers' own loaders and without network."""

from __future__ import annotations

import fcntl
import hashlib
import json
import logging
import re
import shutil
from collections.abc import Mapping
from dataclasses import dataclass
from pathlib import Path
from typing import Any

from augment.base.clip_tokenizer import END, TOKENS, VOCABULARY, clip_tokenizer
from augment.base.file_configs import Header, text_config, unet_config, vae_config
from augment.base.foreign import check_inputs, refuse_tensors
from manifests.errors import BadInput, first_line
from manifests.files import TEMPORARY, write_json

_LOG = logging.getLogger(__name__)
_FIRST_CLIP, _SECOND_CLIP = "cond_stage_model.transformer.text_model.", "cond_stage_model.model."
_XL_CLIPS = ("conditioner.embedders.0.transformer.text_model.", "conditioner.embedders.1.model.")


@dataclass(frozen=True)
class _Kind:
    """A generation of Stable Diffusion: its name, the prefixes of its text encoders in a file (CLIP's or, with
    `.model.`, OpenCLIP's), the sides that its published checkpoints draw, and its VAE's scaling factor."""

    name: str
    encoders: tuple[str, ...]
    sides: tuple[int, ...]
    scale: float = 0.18215


_KINDS = (
    _Kind("Stable Diffusion 1.5", (_FIRST_CLIP,), (512,)),
    _Kind("Stable Diffusion 2", (_SECOND_CLIP,), (512, 768)),
    _Kind("Stable Diffusion XL", _XL_CLIPS, (1024,), 0.13025),
)


def read_header(file: Path) -> Header:
    """What a safetensors file says of its tensors; BadInput if it is none."""
    try:
        with file.open("rb") as stream:
            length = int.from_bytes(stream.read(8), "little")
            found = json.loads(stream.read(length if length <= file.stat().st_size else 0))
        metadata = found.pop("__metadata__", {})
        shapes = {name: tuple(entry["shape"]) for name, entry in found.items()}
        types = {name: str(entry["dtype"]) for name, entry in found.items()}
    except (OSError, ValueError, KeyError, TypeError, AttributeError) as error:
        raise BadInput(f"{file}: cannot be read as safetensors; copy the file from its source again") from error
    return Header(shapes, types, metadata)


def converted_folder(file: Path, resolution: int, cache: Path | None) -> tuple[Path, str]:
    """The base folder that `file` was converted into below `cache`, and the digest that stands for it.

    It is made where it is not there yet. The digest is the file's, so that the base stays the same wherever and with
    whatever version of diffusers it was converted. resolution: side in pixels that the caller wants, taken where
    checkpoints of that kind draw it. BadInput if the file is no base.
    """
    header = read_header(file)
    kind = _kind_of(file, header)
    side = _side(kind, header.metadata, resolution)
    if cache is None:
        raise BadInput(f"{file}: is a checkpoint in one file; name the folder that it is to be converted into")
    with file.open("rb") as stream:
        digest = hashlib.file_digest(stream, "sha256").hexdigest()
    folder = cache / f"{digest[:16]}-{side}"
    cache.mkdir(parents=True, exist_ok=True)
    with (cache / ".lock").open("w") as lock:
        fcntl.flock(lock, fcntl.LOCK_EX)  # of two that want it, one makes it
        if not folder.is_dir():
            _LOG.info("%s: %s in one file, converted once into %s", file, kind.name, folder)
            unfinished = cache / f"{TEMPORARY}{folder.name}"
            shutil.rmtree(unfinished, ignore_errors=True)
            _convert(file, header, kind, side, unfinished)
            unfinished.rename(folder)
    return folder, digest


def _kind_of(file: Path, header: Header) -> _Kind:
    latent = header.shapes.get("first_stage_model.decoder.conv_in.weight", (0, 0))[1]
    first = header.shapes.get("model.diffusion_model.input_blocks.0.0.weight", ())
    if len(first) == 4:
        check_inputs(file, first[1], latent or 4, latent or 4)
    if len(first) != 4 or not latent or "edm_mean" in header.shapes:
        refuse_tensors(file, header.shapes, header.metadata)
    for kind in _KINDS:
        if all(any(name.startswith(prefix) for name in header.shapes) for prefix in kind.encoders):
            _check_vocabulary(file, header, kind)
            return kind
    refuse_tensors(file, header.shapes, header.metadata)
    raise AssertionError  # which refuse_tensors never lets it come to


def _check_vocabulary(file: Path, header: Header, kind: _Kind) -> None:
    for prefix in kind.encoders:
        found = header.shapes.get(f"{prefix}token_embedding.weight")
        found = found or header.shapes.get(f"{prefix}embeddings.token_embedding.weight", (0,))
        if found[0] != VOCABULARY:
            raise BadInput(
                f"{file}: its text encoder knows {found[0]} tokens, not CLIP's {VOCABULARY}, and a single file holds "
                "no tokenizer; give the checkpoint as a folder in the diffusers layout, with its tokenizer"
            )


def _side(kind: _Kind, metadata: Mapping[str, str], resolution: int) -> int:
    """Side in pixels: what the file says of itself, or what checkpoints of its kind draw, `resolution` if it is one."""
    told = re.fullmatch(r"(\d+)x\1", metadata.get("modelspec.resolution", ""))
    sides = (int(told[1]),) if told else kind.sides
    return resolution if resolution in sides else sides[0]


def _convert(file: Path, header: Header, kind: _Kind, side: int, out: Path) -> None:
    import torch
    from diffusers import AutoencoderKL, UNet2DConditionModel
    from diffusers.loaders.single_file_utils import create_diffusers_clip_model_from_ldm, load_single_file_checkpoint
    from transformers import CLIPTextModel, CLIPTextModelWithProjection

    types = {"F16": torch.float16, "BF16": torch.bfloat16}
    dtype = types.get(header.types["model.diffusion_model.input_blocks.0.0.weight"], torch.float32)
    vae = vae_config(header, side, kind.scale)
    configs = {"unet": unet_config(header, side // 2 ** (len(vae["block_out_channels"]) - 1)), "vae": vae}
    parts = ("text_encoder", "text_encoder_2")[: len(kind.encoders)]
    configs |= {part: text_config(header, prefix) for part, prefix in zip(parts, kind.encoders, strict=True)}
    for part, config in configs.items():
        write_json(out / part / "config.json", config)
    told = {"config": str(out), "local_files_only": True, "torch_dtype": dtype}
    try:
        checkpoint = load_single_file_checkpoint(str(file))
        for part, encoder in zip(parts, (CLIPTextModel, CLIPTextModelWithProjection), strict=False):
            read = create_diffusers_clip_model_from_ldm(encoder, checkpoint, subfolder=part, **told)
            read.save_pretrained(out / part)
        # These loaders take what they use out of the checkpoint that they are given.
        AutoencoderKL.from_single_file(dict(checkpoint), subfolder="vae", **told).save_pretrained(out / "vae")
        unet: Any = UNet2DConditionModel.from_single_file(dict(checkpoint), subfolder="unet", **told)
    except (OSError, ValueError, RuntimeError, KeyError) as error:
        raise BadInput(
            f"{file}: cannot be converted ({first_line(error)}); give the base as a folder of its parts"
        ) from error
    unet.save_pretrained(out / "unet")
    for part, prefix in zip(parts, kind.encoders, strict=True):
        tokenizer = clip_tokenizer("!" if prefix.endswith(".model.") else END)
        tokenizer.save_pretrained(out / part.replace("text_encoder", "tokenizer"))
    prediction = "epsilon" if predicts_noise(unet.float().eval()) else "v_prediction"
    noise_schedule(prediction).save_pretrained(out / "scheduler")
    pipeline = "StableDiffusionXLPipeline" if len(parts) == 2 else "StableDiffusionPipeline"
    write_json(out / "model_index.json", {"_class_name": pipeline, "made_of": file.name})


def noise_schedule(prediction: str) -> Any:
    """Stable Diffusion's noise schedule (Rombach et al. 2022) for a network that predicts `prediction`."""
    from diffusers import DDPMScheduler

    return DDPMScheduler(
        beta_start=0.00085,
        beta_end=0.012,
        beta_schedule="scaled_linear",
        prediction_type=prediction,
        steps_offset=1,
        clip_sample=False,
    )


def predicts_noise(unet: Any) -> bool:
    """Whether a trained UNet predicts the noise rather than the velocity, which a single file does not tell.

    At the highest noise level of Stable Diffusion its input is noise all but 7 %: the noise that it predicts is then
    its input, and the velocity nearly the picture (Salimans and Ho 2022, appendix D), which that tells nothing of.
    """
    import torch

    config = unet.config
    latents = torch.randn(2, config.in_channels, 16, 16, generator=torch.Generator().manual_seed(0))
    silence: dict[str, Any] = {}
    if config.addition_embed_type:
        pooled = config.projection_class_embeddings_input_dim - 6 * config.addition_time_embed_dim
        silence = {"added_cond_kwargs": {"text_embeds": torch.zeros(2, pooled), "time_ids": torch.zeros(2, 6)}}
    with torch.inference_mode():
        output = unet(latents, 999, torch.zeros(2, TOKENS, config.cross_attention_dim), **silence).sample
    both = torch.stack([output.flatten(), latents.flatten()])
    return bool(torch.corrcoef(both)[0, 1] > 0.5)
