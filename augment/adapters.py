"""Adapter files: LoRA and both outer convolutions in one safetensors file with its provenance in the header."""

from __future__ import annotations

import hashlib
import json
import math
from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import Any

from peft import LoraConfig, get_peft_model_state_dict, set_peft_model_state_dict
from safetensors import SafetensorError, safe_open
from torch import Tensor

from augment.base.folder import BaseFolder
from augment.budget.plan import Budget
from augment.joint import OUTER, outer_parameters, widen_unet
from augment.mask_codec import MaskCodec, codec_from
from augment.tensor_files import all_finite, tensor_bytes, write_tensors
from manifests.errors import BadInput, first_line

FORMAT = "evenderm-adapter/1"
LARGEST_FILE, LARGEST_HEADER = 2 * 1024**3, 16 * 1024**2
"""In bytes; an adapter of Stable Diffusion 2 with rank 64 has 0.2 GiB and a header of 0.2 MiB."""
_PROVENANCE = ("name", "classes", "base_digest", "data_digest", "pairs", "best_step", "validation_loss", "settings")


@dataclass(frozen=True)
class AdapterFile:
    """A checked adapter: its tensors, its LoRA config and what it was made from.

    digest: sha256 of the tensors, as the header has it; provenance: base and data digest, class, settings.
    """

    path: Path
    tensors: dict[str, Tensor]
    lora: dict[str, Any]
    codec: MaskCodec
    digest: str
    provenance: dict[str, Any]

    @property
    def attributes(self) -> tuple[str, ...]:
        """What its prompts tell beside the class."""
        return tuple(self.provenance.get("settings", {}).get("attributes", ()))


def lora_config(settings: Budget) -> LoraConfig:
    """The peft configuration of an adapter."""
    return LoraConfig(
        r=settings.rank,
        lora_alpha=settings.alpha,
        target_modules=list(settings.targets),
        use_rslora=settings.rslora,
        use_dora=settings.dora,
        init_lora_weights=True,
    )


def check_targets(unet: Any, targets: Sequence[str], base: BaseFolder) -> None:
    """BadInput if a target names no module of `unet`: peft itself passes over those beside others that fit."""
    ends = {name.removeprefix(prefix) for name, _ in unet.named_modules() for prefix in _leading(name)}
    for target in targets:
        if target not in ends:
            raise BadInput(
                f"adapt.targets names {target!r}, which the UNet of {base.path} has no module of; "
                "name modules such as conv2, or to_q, to_k, to_v and to_out.0"
            )


def _leading(name: str) -> list[str]:
    """Every prefix of a dotted name that ends before one of its parts."""
    parts = name.split(".")
    return ["".join(f"{part}." for part in parts[:end]) for end in range(len(parts))]


def joint_unet(base: BaseFolder, codec: MaskCodec) -> Any:
    """The base's UNet with mask channels: as it is for a joint base, widened with zeros for any other."""
    unet = base.unet()
    return unet if base.codec else widen_unet(unet, codec.channels)


def adapter_tensors(unet: Any) -> dict[str, Tensor]:
    """What an adapter file holds of `unet`: its LoRA tensors under peft's names, and the outer convolutions."""
    lora = get_peft_model_state_dict(unet)
    outer = {name.replace(".base_layer", ""): value for name, value in outer_parameters(unet).items()}
    return {name: value.detach().float().cpu().contiguous() for name, value in {**lora, **outer}.items()}


def save_adapter(
    path: Path,
    tensors: Mapping[str, Tensor],
    lora: LoraConfig,
    codec: MaskCodec,
    provenance: Mapping[str, Any],
) -> str:
    """Writes an adapter file at once and returns its digest."""
    digest = tensor_digest(tensors)
    described = {key: sorted(value) if isinstance(value, set) else value for key, value in lora.to_dict().items()}
    header = {
        "format": FORMAT,
        "lora_config": json.dumps(described, sort_keys=True, default=str),
        "mask_codec": json.dumps(codec.config(), sort_keys=True),
        "provenance": json.dumps(dict(provenance), sort_keys=True),
        "tensor_digest": digest,
    }
    write_tensors(path, tensors, header)
    return digest


def tensor_digest(tensors: Mapping[str, Tensor]) -> str:
    """sha256 of the tensors in safetensors form, without a header."""
    return hashlib.sha256(tensor_bytes({name: tensors[name] for name in sorted(tensors)})).hexdigest()


def read_adapter(path: Path, base: BaseFolder | None = None) -> AdapterFile:
    """Reads and checks an adapter file; with `base`, also that it was made for it."""
    _check_size(path)
    try:
        with safe_open(path, "pt") as file:
            header = file.metadata() or {}
            tensors = {name: file.get_tensor(name) for name in file.keys()}  # noqa: SIM118
    except (SafetensorError, OSError, ValueError) as error:
        raise BadInput(f"{path}: not readable as safetensors ({error}); train the adapter again") from error
    if header.get("format") != FORMAT:
        raise BadInput(f"{path}: no Evenderm adapter (format {header.get('format')!r}); train it with evenderm adapt")
    if not all_finite(tensors.values()):
        raise BadInput(f"{path}: holds NaN or infinite weights; train the adapter again")
    lora, described, provenance = (_entry(path, header, name) for name in ("lora_config", "mask_codec", "provenance"))
    if tensor_digest(tensors) != header.get("tensor_digest"):
        raise BadInput(f"{path}: the tensors differ from the digest in the header; train the adapter again")
    absent = [name for name in _PROVENANCE if name not in provenance]
    if absent or "r" not in lora:
        raise BadInput(f"{path}: the header does not tell {(*absent, 'the rank')[0]}; train the adapter again")
    codec = codec_from(described, str(path))
    _check_header(path, lora, codec, provenance, tensors)
    if base is not None and provenance["base_digest"] != base.digest:
        raise BadInput(
            f"{path}: made for another base ({provenance['base_digest'][:12]}, this one is {base.digest[:12]}); "
            "train the adapter again or give the base it was made for"
        )
    return AdapterFile(path, tensors, lora, codec, header["tensor_digest"], provenance)


def _check_size(path: Path) -> None:
    """BadInput for a file that is missing, or would fill the memory: by what it weighs, or a header that claims to."""
    try:
        with path.open("rb") as file:
            stated, size = int.from_bytes(file.read(8), "little"), file.seek(0, 2)
    except FileNotFoundError:
        raise BadInput(f"{path}: no such adapter; run evenderm adapt first") from None
    except OSError as error:
        raise BadInput(f"{path}: cannot be read ({error.strerror}); train the adapter again") from None
    if size > LARGEST_FILE or stated > min(size, LARGEST_HEADER):
        raise BadInput(
            f"{path}: not readable as safetensors ({size} bytes, of which {stated} are said to be its header); "
            "train the adapter again"
        )


def _check_header(
    path: Path, lora: Mapping[str, Any], codec: MaskCodec, provenance: Mapping[str, Any], tensors: Mapping[str, Tensor]
) -> None:
    """BadInput where the header says what its tensors do not bear out: peft would allocate whatever it says."""
    rank, targets = lora["r"], lora.get("target_modules")
    ranks = {value.shape[0] for name, value in tensors.items() if "lora_A" in name}
    ranks |= {value.shape[1] for name, value in tensors.items() if "lora_B" in name and value.ndim > 1}
    conv = tensors.get("conv_in.weight")
    classes, losses = provenance["classes"], provenance["validation_loss"]
    sound = {
        "rank": type(rank) is int and ranks == {rank},
        "scale": type(lora.get("lora_alpha")) in (int, float) and math.isfinite(lora["lora_alpha"]),
        "target modules": isinstance(targets, list) and all(isinstance(name, str) for name in targets),
        "LoRA": all(type(lora.get(name, True)) is bool for name in ("use_rslora", "use_dora", "init_lora_weights")),
        "mask channels": conv is not None and conv.ndim == 4 and codec.channels < conv.shape[1],
        "base": isinstance(provenance["base_digest"], str) and isinstance(provenance["data_digest"], str),
        "classes": isinstance(classes, list) and all(isinstance(name, str) for name in classes),
        "losses": isinstance(losses, list) and [type(loss) for loss in losses] == [float, float],
        "settings": isinstance(provenance["settings"], dict),
    }
    if wrong := [name for name, good in sound.items() if not good]:
        raise BadInput(f"{path}: what the header says of its {wrong[0]} does not fit; train the adapter again")


def _entry(path: Path, header: Mapping[str, str], name: str) -> dict[str, Any]:
    """The JSON object under `name` in the header of an adapter file."""
    try:
        found = json.loads(header[name])
    except (KeyError, ValueError, RecursionError):
        found = None
    if not isinstance(found, dict):
        raise BadInput(f"{path}: the header holds no readable {name}; train the adapter again")
    return found


def add_adapter(unet: Any, adapter: AdapterFile) -> Any:
    """Puts an adapter onto a joint `unet`: outer convolutions replaced, LoRA active under the name `default`."""
    outer = {name: value for name, value in adapter.tensors.items() if name.split(".")[0] in OUTER}
    lora = {name: value for name, value in adapter.tensors.items() if name not in outer}
    own = unet.state_dict()
    for name in sorted(outer.keys() & own.keys()):
        if outer[name].shape != own[name].shape:
            raise BadInput(f"{adapter.path}: {name} does not fit this base; train the adapter again")
    unexpected = unet.load_state_dict(outer, strict=False).unexpected_keys
    config = LoraConfig(**{k: v for k, v in adapter.lora.items() if k in _LORA_FIELDS})
    try:
        unet.add_adapter(config, adapter_name="default")
        unexpected += set_peft_model_state_dict(unet, lora).unexpected_keys
    except (RuntimeError, ValueError) as error:
        said = first_line(error)
        raise BadInput(f"{adapter.path}: does not fit this base ({said}); train the adapter again") from None
    if unexpected:
        raise BadInput(f"{adapter.path}: {unexpected[0]} does not fit this base; train the adapter again")
    return unet


def fused_unet(base: BaseFolder, adapter: AdapterFile | None) -> Any:
    """The joint UNet for sampling, the adapter's LoRA merged into its weights."""
    codec = adapter.codec if adapter else base.codec
    if codec is None:
        raise BadInput(f"{base.path}: this base has no mask channels; train a domain adapter with evenderm adapt")
    unet = joint_unet(base, codec)
    if adapter is not None:
        add_adapter(unet, adapter)
        unet.fuse_lora()
        unet.unload_lora()
    return unet.eval().requires_grad_(False)


_LORA_FIELDS = ("r", "lora_alpha", "target_modules", "use_rslora", "use_dora", "init_lora_weights")
