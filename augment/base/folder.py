"""A base: a checkpoint folder in the diffusers layout of Stable Diffusion, checked before any of it is loaded."""

from __future__ import annotations

from collections.abc import Callable
from dataclasses import dataclass
from pathlib import Path
from typing import TYPE_CHECKING, Any

from augment.base.foreign import refuse_file, refuse_folder, refuse_layout, refuse_schedule, refuse_unet, refuse_weights
from augment.base.parts import (
    PARTS,
    VARIANTS,
    XL_PARTS,
    check_weights,
    digest_folder,
    file_patterns,
    has_weights,
    read_json,
    variant_of,
)
from augment.mask_codec import SignedDistanceCodec, distance_codec_from
from augment.settings import CheckpointSettings
from manifests.errors import BadInput, first_line

if TYPE_CHECKING:
    import numpy as np
    from torch import Tensor

SHIPPED = Path(__file__).parents[1] / "shipped_base"
AUTOENCODERS = ("AutoencoderKL", "AutoencoderDC")
CODEC_FILE = "mask_codec.json"


@dataclass(frozen=True)
class BaseFolder:
    """A checked base folder; its parts are loaded one at a time, when they are needed.

    codec: the mask codec of a joint base, None for a base without mask channels; xl: whether it is told as Stable
    Diffusion XL is, by two text encoders and sizes; silent_zeros: whether its empty prompt is zeros.
    """

    path: Path
    digest: str
    codec: SignedDistanceCodec | None
    latent_channels: int
    scaling_factor: float
    downscale: int
    unet_side: int
    xl: bool = False
    silent_zeros: bool = False

    @property
    def text_encoders(self) -> tuple[str, ...]:
        """Names of its text encoders, in the order in which their embeddings are joined."""
        return ("text_encoder", "text_encoder_2") if self.xl else ("text_encoder",)

    def unet(self) -> Any:
        """The UNet as it is in the folder, float32."""
        from diffusers import UNet2DConditionModel

        return _loaded(self.path / "unet", UNet2DConditionModel.from_pretrained)

    def vae(self) -> Any:
        """The autoencoder, float32, in evaluation mode: Stable Diffusion's kind or the shipped base's."""
        import diffusers

        kind = read_json(self.path / "vae" / "config.json").get("_class_name")
        if kind not in AUTOENCODERS:
            raise BadInput(f"{self.path / 'vae'}: a VAE of class {kind!r} is not one of {', '.join(AUTOENCODERS)}")
        return _loaded(self.path / "vae", getattr(diffusers, kind).from_pretrained).eval()

    def text_encoder(self, part: str = "text_encoder") -> Any:
        """A CLIP text encoder, float32, in evaluation mode; the second one of XL with the projection that pools."""
        from transformers import CLIPTextModel, CLIPTextModelWithProjection

        kind = CLIPTextModel if part == "text_encoder" else CLIPTextModelWithProjection
        return _loaded(self.path / part, kind.from_pretrained).eval()

    def tokenizer(self, part: str = "tokenizer") -> Any:
        """A CLIP tokenizer."""
        from transformers import CLIPTokenizer

        return _loaded(self.path / part, CLIPTokenizer.from_pretrained)

    def scheduler(self) -> Any:
        """The noise schedule as a DDPMScheduler: prediction type and alphas."""
        from diffusers import DDPMScheduler

        return _loaded(self.path / "scheduler", DDPMScheduler.from_pretrained)


def open_base(settings: CheckpointSettings, cache: Path | None = None) -> BaseFolder:
    """The base that `settings` name: shipped, a local folder or file, or a hub id at its pinned revision.

    cache: where a checkpoint in one file is converted into a folder, and found again. Raises BadInput if a part is
    missing, pickled or does not fit the others.
    """
    if settings.path == "shipped":
        return check_base(SHIPPED)
    path = Path(settings.path).expanduser()
    if path.is_file():
        return _converted(path, settings.resolution, cache)
    if path.exists():
        return check_base(path)
    if settings.path.count("/") == 1 and not settings.path.startswith((".", "/", "~")):
        return check_base(_downloaded(settings.path, settings.revision))
    raise BadInput(f"{settings.path}: no such base folder; name a folder in Stable Diffusion layout or a hub id")


def _converted(file: Path, resolution: int, cache: Path | None) -> BaseFolder:
    from augment.base.single_file import converted_folder

    refuse_file(file)
    folder, digest = converted_folder(file, resolution, cache)
    return check_base(folder, digest)


def check_base(path: Path, digest: str = "") -> BaseFolder:
    """Checks the layout of a base folder and digests it, unless its digest is known; loads no weights."""
    if not (path / "model_index.json").is_file():
        refuse_layout(path)
    described = read_json(path / "model_index.json")
    refuse_folder(path, described)
    unet, vae = _config(path, "unet"), _config(path, "vae")
    latent = int(vae.get("latent_channels", 4))
    refuse_unet(path, unet, latent)
    xl = unet.get("addition_embed_type") == "text_time"
    _check_parts(path, (*PARTS, *(XL_PARTS if xl else ())))
    refuse_schedule(path, read_json(path / "scheduler" / "scheduler_config.json"))
    codec_path = path / CODEC_FILE
    codec = distance_codec_from(read_json(codec_path), str(codec_path)) if codec_path.is_file() else None
    _check_channels(path, unet, latent, codec)
    _check_widths(path, unet, xl)
    scale = vae.get("scaling_factor", 0.18215)
    if not isinstance(scale, int | float) or not 0 < scale < 100:
        raise BadInput(f"{path / 'vae' / 'config.json'}: scaling_factor is {scale!r}; it must be between 0 and 100")
    levels = len(vae.get("block_out_channels") or vae.get("encoder_block_out_channels") or (0,) * 4)
    side, zeros = int(unet.get("sample_size") or 64), xl and described.get("force_zeros_for_empty_prompt", True)
    digest = digest or digest_folder(path)
    return BaseFolder(path, digest, codec, latent, float(scale), 2 ** (levels - 1), side, xl, bool(zeros))


def _check_parts(path: Path, parts: tuple[str, ...]) -> None:
    """BadInput if a part is missing, or its weights are."""
    for part in parts:
        if part.startswith("tokenizer"):
            if not any((path / part / name).is_file() for name in ("tokenizer.json", "vocab.json")):
                raise BadInput(f"{path / part}: the tokenizer is missing; copy it from the checkpoint's source")
        else:
            _config(path, part, file_patterns(part)[0])
    for part in parts:
        if has_weights(part):
            if not list((path / part).glob("*.safetensors")):
                refuse_weights(path / part)
            check_weights(path / part)


def image_encoder(vae: Any, base: BaseFolder) -> Callable[[np.ndarray], Tensor]:
    """A function from uint8 images (B, S, S, 3) to scaled latents (B, C, S/8, S/8): the posterior's mean.

    It goes on with fewer images at a time where a GPU's memory is full.
    """
    import torch
    from diffusers import AutoencoderDC

    from augment.base.memory import MemoryBatch, joined
    from augment.base.patch_code import image_tensor, without_idle_blocks

    memory = MemoryBatch(f"{base.path / 'vae'}", "take a base for smaller images")

    lean = without_idle_blocks(vae.encoder) if isinstance(vae, AutoencoderDC) else None

    @torch.inference_mode()
    def encode(images: np.ndarray) -> Tensor:
        pixels = image_tensor(images)
        parts = memory.fit(lambda: [encode_part(pixels[part]) for part in memory.parts(len(pixels))])
        return joined(parts)

    def encode_part(pixels: Tensor) -> Tensor:
        pixels = pixels.to(vae.device, vae.dtype)
        latents = lean(pixels) if lean is not None else vae.encode(pixels).latent_dist.mean
        return (latents * base.scaling_factor).float()

    return encode


def decode_images(vae: Any, base: BaseFolder, latents: Tensor) -> np.ndarray:
    """Scaled latents (B, C, h, w) -> uint8 images (B, H, W, 3)."""
    import torch

    with torch.inference_mode():
        pixels = vae.decode((latents / base.scaling_factor).to(vae.device, vae.dtype)).sample.float()
        levels = ((pixels.clamp(-1, 1) + 1) * 127.5).round()
    return levels.permute(0, 2, 3, 1).to("cpu").to(dtype=torch.uint8).numpy()


def _config(path: Path, part: str, name: str = "config.json") -> dict[str, Any]:
    file = path / part / name
    if not file.is_file():
        raise BadInput(f"{file} is missing; the base needs unet, vae, text_encoder, tokenizer and scheduler")
    return read_json(file)


def _check_channels(path: Path, unet: dict, latent: int, codec: SignedDistanceCodec | None) -> None:
    wanted = latent + (codec.channels if codec else 0)
    found = unet.get("in_channels")
    if found != wanted or unet.get("out_channels") != wanted:
        raise BadInput(
            f"{path / 'unet' / 'config.json'}: {found} channels do not fit the VAE's {latent}"
            f"{f' and {codec.channels} mask channels' if codec else ''}; take both from one checkpoint"
        )


def _check_widths(path: Path, unet: dict, xl: bool) -> None:
    """BadInput if what the text encoders give is not what the UNet takes."""
    first = _config(path, "text_encoder").get("hidden_size")
    second = _config(path, "text_encoder_2") if xl else {}
    told, cross = int(first or 0) + int(second.get("hidden_size", 0)), unet.get("cross_attention_dim")
    if told != cross:
        both = f" and {second.get('hidden_size')} of text_encoder_2" if xl else ""
        raise BadInput(
            f"{path / 'text_encoder' / 'config.json'}: hidden_size {first}{both} does not fit the UNet's "
            f"cross_attention_dim {cross}; take both from one checkpoint"
        )
    pooled = int(second.get("projection_dim", 0)) + 6 * int(unet.get("addition_time_embed_dim") or 0)
    if xl and pooled != unet.get("projection_class_embeddings_input_dim"):
        raise BadInput(
            f"{path / 'text_encoder_2' / 'config.json'}: projection_dim {second.get('projection_dim')} does not fit "
            "the UNet's projection_class_embeddings_input_dim; take both from one checkpoint"
        )


def _loaded(folder: Path, load: Callable[..., Any]) -> Any:
    import torch
    from safetensors import SafetensorError

    keywords: dict[str, Any] = {"local_files_only": True}
    if has_weights(folder.name):
        dtype = "dtype" if folder.name.startswith("text_encoder") else "torch_dtype"
        keywords |= {"use_safetensors": True, "variant": variant_of(folder) or None, dtype: torch.float32}
    try:
        return load(folder, **keywords)
    except (OSError, ValueError, RuntimeError, KeyError, SafetensorError) as error:
        said = first_line(error)
        raise BadInput(f"{folder}: cannot be loaded ({said}); copy the checkpoint from its source again") from error


def _downloaded(name: str, revision: str | None) -> Path:
    """The local copy of a base of the hub: what is loaded of it alone, a variant of weights that have no others."""
    from huggingface_hub import snapshot_download
    from huggingface_hub.errors import HfHubHTTPError, LocalEntryNotFoundError

    parts = (*PARTS, *XL_PARTS)
    patterns = ["model_index.json", CODEC_FILE, *(f"{part}/{file}" for part in parts for file in file_patterns(part))]
    try:
        found = Path(snapshot_download(name, revision=revision, allow_patterns=patterns))
        for variant in VARIANTS:
            there = [part for part in parts if (found / part).is_dir() and has_weights(part)]
            if bare := [part for part in there if not any((found / part).glob("*.safetensors"))]:
                patterns = [f"{part}/{file}" for part in bare for file in file_patterns(part, variant)]
                found = Path(snapshot_download(name, revision=revision, allow_patterns=patterns))
    except (HfHubHTTPError, LocalEntryNotFoundError, OSError, ValueError) as error:
        raise BadInput(
            f"{name}: cannot be had from the hub ({type(error).__name__}); download it once and give base.path"
        ) from error
    return found
