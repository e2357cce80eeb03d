"""The files of a base that are loaded, by part: its weights, or the only variant of them that is there."""

from __future__ import annotations

import hashlib
import json
from pathlib import Path
from typing import Any

from manifests.errors import BadInput

PARTS = ("unet", "vae", "text_encoder", "tokenizer", "scheduler")
XL_PARTS = ("text_encoder_2", "tokenizer_2")
"""What Stable Diffusion XL has beside `PARTS`."""
VARIANTS = ("fp16", "bf16")
"""In which some weights are published alone; they are loaded as float32 all the same."""
_TOKENIZER = (
    "tokenizer.json",
    "tokenizer_config.json",
    "vocab.json",
    "merges.txt",
    "special_tokens_map.json",
    "added_tokens.json",
)
_LFS = b"version https://git-lfs"


def has_weights(part: str) -> bool:
    """Whether a part has weights."""
    return part.partition("_2")[0] in ("unet", "vae", "text_encoder")


def file_patterns(part: str, variant: str = "") -> tuple[str, ...]:
    """Glob patterns of the files of a part that are loaded; a checkpoint's other variants are none of them."""
    if part.startswith("tokenizer"):
        return _TOKENIZER
    if part == "scheduler":
        return ("scheduler_config.json",)
    stem, shard = "model" if part.startswith("text_encoder") else "diffusion_pytorch_model", "-?????-of-?????"
    told = f".{variant}" if variant else ""
    weights = [f"{stem}{told}.safetensors", f"{stem}.safetensors.index{told}.json", f"{stem}{told}{shard}.safetensors"]
    if variant:
        weights.append(f"{stem}{shard}{told}.safetensors")  # as shards of a variant were named at first
    return ("config.json", *weights)


def variant_of(folder: Path) -> str:
    """The variant in which the weights of a part are loaded: none where they are there without."""
    return next((name for name in ("", *VARIANTS) if _weights(folder, name)), "")


def loaded_files(folder: Path) -> list[Path]:
    """The files of a part that are loaded, in the order of their names."""
    return _matching(folder, variant_of(folder) if has_weights(folder.name) else "")


def _matching(folder: Path, variant: str) -> list[Path]:
    return sorted({file for pattern in file_patterns(folder.name, variant) for file in folder.glob(pattern)})


def _weights(folder: Path, variant: str) -> list[Path]:
    return [file for file in _matching(folder, variant) if file.suffix == ".safetensors"]


def digest_folder(path: Path) -> str:
    """sha256 over the configs and weights of a base that are loaded: what an adapter is tied to."""
    digest = hashlib.sha256()
    for part in (*PARTS, *XL_PARTS):
        for file in loaded_files(path / part):
            digest.update(f"{part}/{file.name}\0".encode())
            with file.open("rb") as stream:
                digest.update(hashlib.file_digest(stream, "sha256").digest())
    return digest.hexdigest()


def check_weights(folder: Path) -> None:
    """BadInput if weights of a part are missing or only pointers to them."""
    variant = variant_of(folder)
    weights = _weights(folder, variant)
    if not weights:
        raise BadInput(f"{folder}: the weights are missing; put the .safetensors file there")
    for file in weights:
        with file.open("rb") as stream:
            if stream.read(len(_LFS)) == _LFS:
                raise BadInput(f"{file}: is a Git LFS pointer to the weights; run git lfs pull in its repository")
    if any("-of-" not in file.name for file in weights):
        return
    index = folder / file_patterns(folder.name, variant)[2]
    if not index.is_file():
        raise BadInput(f"{index} is missing, which names the shards; copy it from the checkpoint's source")
    missing = sorted({*read_json(index).get("weight_map", {}).values()} - {file.name for file in weights})
    if missing:
        raise BadInput(f"{folder / missing[0]} is missing; copy it from the checkpoint's source")


def read_json(file: Path) -> dict[str, Any]:
    """A JSON object of a base; BadInput if it is none."""
    try:
        found = json.loads(file.read_text(encoding="utf-8-sig"))
    except (OSError, ValueError) as error:
        raise BadInput(f"{file}: not readable as JSON ({error}); copy the file from its source again") from error
    if not isinstance(found, dict):
        raise BadInput(f"{file}: expected a JSON object; copy the file from its source again")
    return found
