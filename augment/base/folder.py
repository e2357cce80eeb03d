"""A base: a checkpoint folder in the diffusers layout of Stable Diffusion, checked before any of it is loaded."""

from __future__ import annotations

import hashlib
import json
from collections.abc import Callable
from dataclasses import dataclass
from pathlib import Path
from typing import TYPE_CHECKING, Any

from augment.mask_codec import SignedDistanceCodec, distance_codec_from
from augment.settings import CheckpointSettings
from manifests.errors import BadInput

if TYPE_CHECKING:
    import numpy as np
    from torch import Tensor

SHIPPED = Path(__file__).parents[1] / "shipped_base"
AUTOENCODERS = ("AutoencoderKL", "AutoencoderDC")
CODEC_FILE = "mask_codec.json"
_MODEL_PARTS = ("unet", "vae", "text_encoder")
# Patterns of the files that are loaded; a checkpoint's other variants are neither fetched nor part of its digest.
_DIFFUSERS = (
    "config.json",
    "diffusion_pytorch_model.safetensors",
    "diffusion_pytorch_model.safetensors.index.json",
    "diffusion_pytorch_model-?????-of-?????.safetensors",
)
_FILES = {
    "unet": _DIFFUSERS,
    "vae": _DIFFUSERS,
    "text_encoder": tuple(name.replace("diffusion_pytorch_model", "model") for name in _DIFFUSERS),
    "tokenizer": (
        "tokenizer.json",
        "tokenizer_config.json",
        "vocab.json",
        "merges.txt",
        "special_tokens_map.json",
        "added_tokens.json",
    ),
    "scheduler": ("scheduler_config.json",),
}
_PROMPTS = 64  # encoded at once
_PICKLED = (".bin", ".ckpt", ".pt", ".pth", ".pkl")


@dataclass(frozen=True)
class BaseFolder:
    """A checked base folder; its parts are loaded one at a time, when they are needed.

    codec: the mask codec of a joint base, None for a base without mask channels.
    """

    path: Path
    digest: str
    codec: SignedDistanceCodec | None
    latent_channels: int
    scaling_factor: float
    downscale: int
    unet_side: int

    def unet(self) -> Any:
        """The UNet as it is in the folder, float32."""
        from diffusers import UNet2DConditionModel

        return _loaded(self.path / "unet", UNet2DConditionModel.from_pretrained)

    def vae(self) -> Any:
        """The autoencoder, float32, in evaluation mode: Stable Diffusion's kind or the shipped base's."""
        import diffusers

        kind = _json(self.path / "vae" / "config.json").get("_class_name")
        if kind not in AUTOENCODERS:
            raise BadInput(f"{self.path / 'vae'}: a VAE of class {kind!r} is not one of {', '.join(AUTOENCODERS)}")
        return _loaded(self.path / "vae", getattr(diffusers, kind).from_pretrained).eval()

    def text_encoder(self) -> Any:
        """The CLIP text encoder, float32, in evaluation mode."""
        from transformers import CLIPTextModel

        return _loaded(self.path / "text_encoder", CLIPTextModel.from_pretrained).eval()

    def tokenizer(self) -> Any:
        """The CLIP tokenizer."""
        from transformers import CLIPTokenizer

        return _loaded(self.path / "tokenizer", CLIPTokenizer.from_pretrained)

    def scheduler(self) -> Any:
        """The noise schedule as a DDPMScheduler: prediction type and alphas."""
        from diffusers import DDPMScheduler

        return _loaded(self.path / "scheduler", DDPMScheduler.from_pretrained)


def open_base(settings: CheckpointSettings) -> BaseFolder:
    """The base that `settings` name: shipped, a local folder, or a hub id at its pinned revision.

    Raises BadInput if a part is missing, pickled or does not fit the others.
    """
    if settings.path == "shipped":
        return check_base(SHIPPED)
    folder = Path(settings.path).expanduser()
    if folder.exists():
        return check_base(folder)
    if settings.path.count("/") == 1 and not settings.path.startswith((".", "/", "~")):
        return check_base(_downloaded(settings.path, settings.revision))
    raise BadInput(f"{settings.path}: no such base folder; name a folder in Stable Diffusion layout or a hub id")


def check_base(path: Path) -> BaseFolder:
    """Checks the layout of a base folder and digests it; loads no weights."""
    if not (path / "model_index.json").is_file():
        raise BadInput(f"{path}: model_index.json is missing, so this is no base in Stable Diffusion layout")
    configs = {part: _config(path, part) for part in _MODEL_PARTS}
    _config(path, "scheduler", "scheduler_config.json")
    if not any((path / "tokenizer" / name).is_file() for name in ("tokenizer.json", "vocab.json")):
        raise BadInput(f"{path / 'tokenizer'}: the tokenizer is missing; copy it from the checkpoint's source")
    for part in _MODEL_PARTS:
        _check_weights(path / part)
    codec_path = path / CODEC_FILE
    codec = distance_codec_from(_json(codec_path), str(codec_path)) if codec_path.is_file() else None
    latent = int(configs["vae"].get("latent_channels", 4))
    _check_channels(path, configs, latent, codec)
    scale = configs["vae"].get("scaling_factor", 0.18215)
    if not isinstance(scale, int | float) or not 0 < scale < 100:
        raise BadInput(f"{path / 'vae' / 'config.json'}: scaling_factor is {scale!r}; it must be between 0 and 100")
    widths = configs["vae"].get("block_out_channels") or configs["vae"].get("encoder_block_out_channels")
    levels = len(widths or (0,) * 4)
    side = int(configs["unet"].get("sample_size") or 64)
    return BaseFolder(path, digest_folder(path), codec, latent, float(scale), 2 ** (levels - 1), side)


def digest_folder(path: Path) -> str:
    """sha256 over the configs and weights of a base that are loaded: what an adapter is tied to."""
    digest = hashlib.sha256()
    for part in _FILES:
        for file in _loaded_files(path / part):
            digest.update(f"{part}/{file.name}\0".encode())
            with file.open("rb") as stream:
                digest.update(hashlib.file_digest(stream, "sha256").digest())
    return digest.hexdigest()


def _loaded_files(folder: Path) -> list[Path]:
    return sorted({file for pattern in _FILES[folder.name] for file in folder.glob(pattern)})


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


def prompt_embeddings(base: BaseFolder, prompts: list[str]) -> Tensor:
    """Embeddings (B, L, D) of `prompts`; the text encoder is in memory only meanwhile.

    BadInput if the tokenizer does not fit the text encoder.
    """
    import torch

    from augment.base.text_encoder import embeddings_of

    encoder = base.text_encoder()
    with torch.inference_mode():
        tokens = _fitting_tokens(base, encoder.config, prompts)
        return torch.cat([embeddings_of(encoder, part).float() for part in tokens.split(_PROMPTS)]).clone()


def _fitting_tokens(base: BaseFolder, config: Any, prompts: list[str]) -> Tensor:
    from augment.base.text_encoder import tokens_of

    tokenizer = base.tokenizer()
    positions, vocabulary = config.max_position_embeddings, config.vocab_size
    # A tokenizer whose files tell no length claims 1e30.
    length = int(min(tokenizer.model_max_length, 1_000_000))
    length = positions if length == 1_000_000 else length
    if length > positions:
        raise BadInput(
            f"{base.path / 'tokenizer'}: prompts of {length} tokens do not fit the text encoder's {positions} "
            "positions; take both from one checkpoint"
        )
    tokens = tokens_of(tokenizer, prompts, length)
    if int(tokens.max()) >= vocabulary:
        raise BadInput(
            f"{base.path / 'tokenizer'}: token {int(tokens.max())} does not fit the text encoder's vocabulary of "
            f"{vocabulary}; take both from one checkpoint"
        )
    return tokens


def _config(path: Path, part: str, name: str = "config.json") -> dict[str, Any]:
    file = path / part / name
    if not file.is_file():
        raise BadInput(f"{file} is missing; the base needs unet, vae, text_encoder, tokenizer and scheduler")
    return _json(file)


def _json(file: Path) -> dict[str, Any]:
    try:
        found = json.loads(file.read_text())
    except (OSError, ValueError) as error:
        raise BadInput(f"{file}: not readable as JSON ({error}); copy the file from its source again") from error
    if not isinstance(found, dict):
        raise BadInput(f"{file}: expected a JSON object; copy the file from its source again")
    return found


def _check_weights(folder: Path) -> None:
    if any(file.suffix == ".safetensors" for file in _loaded_files(folder)):
        return
    pickled = [file.name for file in sorted(folder.iterdir()) if file.suffix in _PICKLED]
    if pickled:
        raise BadInput(f"{folder / pickled[0]}: pickled weights are never loaded; convert them to safetensors")
    raise BadInput(f"{folder}: the weights are missing; put the .safetensors file there")


def _check_channels(path: Path, configs: dict, latent: int, codec: SignedDistanceCodec | None) -> None:
    wanted = latent + (codec.channels if codec else 0)
    found = configs["unet"].get("in_channels")
    if found != wanted or configs["unet"].get("out_channels") != wanted:
        raise BadInput(
            f"{path / 'unet' / 'config.json'}: {found} channels do not fit the VAE's {latent}"
            f"{f' and {codec.channels} mask channels' if codec else ''}; take both from one checkpoint"
        )
    cross, width = configs["unet"].get("cross_attention_dim"), configs["text_encoder"].get("hidden_size")
    if cross != width:
        raise BadInput(
            f"{path / 'text_encoder' / 'config.json'}: hidden_size {width} does not fit the UNet's "
            f"cross_attention_dim {cross}; take both from one checkpoint"
        )


def _loaded(folder: Path, load: Callable[..., Any]) -> Any:
    import torch
    from safetensors import SafetensorError

    keywords: dict[str, Any] = {"local_files_only": True}
    if folder.name in _MODEL_PARTS:
        keywords |= {
            "use_safetensors": True,
            "torch_dtype" if folder.name != "text_encoder" else "dtype": torch.float32,
        }
    try:
        return load(folder, **keywords)
    except (OSError, ValueError, RuntimeError, KeyError, SafetensorError) as error:
        reason = str(error).splitlines()[0][:200]
        raise BadInput(f"{folder}: cannot be loaded ({reason}); copy the checkpoint from its source again") from error


def _downloaded(name: str, revision: str | None) -> Path:
    from huggingface_hub import snapshot_download
    from huggingface_hub.errors import HfHubHTTPError, LocalEntryNotFoundError

    files = [f"{part}/{name}" for part, names in _FILES.items() for name in names]
    patterns = ["model_index.json", CODEC_FILE, *files]
    try:
        return Path(snapshot_download(name, revision=revision, allow_patterns=patterns))
    except (HfHubHTTPError, LocalEntryNotFoundError, OSError, ValueError) as error:
        raise BadInput(
            f"{name}: cannot be had from the hub ({type(error).__name__}); download it once and give base.path"
        ) from error
