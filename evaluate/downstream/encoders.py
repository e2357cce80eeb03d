"""Encoders: weights from a local safetensors file, folded batch norms brought back, and the side of their images."""

from __future__ import annotations

import hashlib
import sys
from collections.abc import Callable, Mapping, Sequence
from pathlib import Path
from typing import TYPE_CHECKING, Any

from evaluate.downstream.lite0 import lite0_tensors, lite0_version, lite0_weights
from evaluate.settings.training import PACKAGE
from manifests.errors import BadInput, first_line

if TYPE_CHECKING:
    from torch import Tensor, nn

Options = Mapping[str, Any]
HUB = "hub"
_HEADS = ("classifier.", "fc.", "last_linear.")
# Trained beside the network and not part of it.
_AUXILIARY = ("AuxLogits.",)


def weights_file(name: str | None) -> Path | None:
    """The local file that `encoder_weights` names, None for the hub or none; BadInput if it is not there."""
    if name is None or name == HUB:
        return None
    if name == PACKAGE:
        return lite0_weights()
    path = Path(name).expanduser()
    if path.suffix != ".safetensors":
        raise BadInput(
            f"encoder weights {name}: only .safetensors files are read, never pickled ones; "
            "name one, or 'package' or 'hub', or leave the setting out"
        )
    if not path.is_file():
        raise BadInput(f"encoder weights {name}: there is no such file; name a .safetensors file or leave it out")
    return path


def weights_digest(name: str | None) -> str | None:
    """What tells one choice of encoder weights from another: a file's sha256, else the choice itself."""
    if name == PACKAGE:
        return f"{PACKAGE} {lite0_version()}"
    path = weights_file(name)
    return hashlib.sha256(path.read_bytes()).hexdigest() if path else name


def load_encoder_weights(encoder: nn.Module, path: Path) -> None:
    """Load `path` into `encoder` in place; the file's classifier head is left out.

    Names must be those of the encoder, or of the timm model that smp wraps as encoder; position tables are made
    for the encoder's side. The one exception is torchvision's MobileNetV2, which fits timm's by the order of its
    tensors. Raises BadInput where the file is damaged or is of another network.
    """
    import torch

    model = getattr(encoder, "model", encoder)
    heads = _heads(model)
    target = _without(model.state_dict(), heads)
    named = _without(read_tensors(path), (*heads, *_AUXILIARY))
    if model is not encoder:
        named = _as_features(named, target)
    named = _for_its_side(named, target, model)
    if set(named) != set(target):
        named = _by_order(named, target, path)
    for name, tensor in named.items():
        if tensor.shape != target[name].shape:
            raise BadInput(
                f"encoder weights {path}: {name} has shape {tuple(tensor.shape)} but the network needs "
                f"{tuple(target[name].shape)}; choose the model that the file was made for"
            )
    with torch.no_grad():
        for name, tensor in named.items():
            target[name].copy_(tensor)


def read_tensors(path: Path) -> dict[str, Tensor]:
    """Every tensor of a safetensors file, or of the package's, by name; BadInput where it cannot be read."""
    from safetensors import SafetensorError
    from safetensors.torch import load_file

    if path.suffix != ".safetensors":
        return lite0_tensors()

    try:
        return load_file(path)
    except (SafetensorError, OSError, ValueError) as error:
        raise BadInput(
            f"encoder weights {path} cannot be read as safetensors ({error}); fetch the file again"
        ) from error


def _heads(model: nn.Module) -> tuple[str, ...]:
    """What the names of the model's last layers begin with: timm says it, of others it is known."""
    stated = (getattr(model, "pretrained_cfg", None) or {}).get("classifier")
    if not stated:
        return (*_HEADS, "head.")
    # Norms before the last layer, such as head.norm, belong to the features.
    return (*_HEADS, *(f"{name}." for name in ([stated] if isinstance(stated, str) else stated)))


def _without(state: Mapping[str, Tensor], left_out: tuple[str, ...]) -> dict[str, Tensor]:
    return {k: v for k, v in state.items() if not k.startswith(left_out) and not k.endswith("num_batches_tracked")}


def _as_features(named: dict[str, Tensor], target: dict[str, Tensor]) -> dict[str, Tensor]:
    """A whole timm model's tensors as its stages alone name them.

    timm flattens a model of stages (`stages.0.x` becomes `stages_0.x`) and leaves out what follows the last stage;
    left out here are only tensors of modules of which the stages have nothing.
    """
    tops = {name.split(".")[0] for name in target}
    found = {}
    for name, tensor in named.items():
        bare = name.removeprefix("model.")
        flat = bare.replace(".", "_", 1)
        own = bare if bare.split(".")[0] in tops else flat
        if own.split(".")[0] in tops:
            found[own] = tensor
    return found


def _for_its_side(named: dict[str, Tensor], target: dict[str, Tensor], model: nn.Module) -> dict[str, Tensor]:
    """The tensors with their position tables resampled to the side of timm's `model`, by timm's own rule."""
    resample = getattr(sys.modules[type(model).__module__], "checkpoint_filter_fn", None)
    differing = [k for k, v in named.items() if k in target and v.shape != target[k].shape]
    if resample is None or not differing or not all("pos" in name for name in differing):
        return named
    try:
        changed = resample(dict(named), model)
    except Exception:  # a file of another network: the differing shape is told instead
        return named
    return {k: changed.get(k, v) if k in differing else v for k, v in named.items()}


def _by_order(named: dict[str, Tensor], target: dict[str, Tensor], path: Path) -> dict[str, Tensor]:
    """torchvision's MobileNetV2 under timm's names: both list the same tensors in the order of the forward
    pass, which the shape of every one of them confirms."""
    if "features.18.0.weight" in named and len(named) == len(target):
        ordered = [named[name] for name in sorted(named, key=_forward_order)]
        if [tensor.shape for tensor in ordered] == [tensor.shape for tensor in target.values()]:
            return dict(zip(target, ordered, strict=True))
    missing, surplus = sorted(set(target) - set(named)), sorted(set(named) - set(target))
    example = f"the file has no {missing[0]}" if missing else f"the network has no {surplus[0]}"
    raise BadInput(f"encoder weights {path}: {example}; choose the model that the file was made for")


def _forward_order(name: str) -> tuple[object, ...]:
    """Position of a torchvision parameter in the forward pass: numbers count as numbers."""
    ranks = {"weight": 0, "bias": 1, "running_mean": 2, "running_var": 3}
    *path, last = name.split(".")
    return (*((0, int(p)) if p.isdigit() else (1, p) for p in path), (2, ranks[last]))


def restore_folded_norms(network: nn.Module, images: Tensor) -> int:
    """Give batch norms with identity statistics those of `images`, without changing what the network
    computes.

    images: (B, 3, H, W), normalised as in training. Folding leaves mean 0 and variance 1, so the first batch
    in train mode would normalise what was already normalised. Each such norm takes the mean and variance of
    its input; its scale is multiplied by sqrt(variance + eps) and its shift moved so that the output in eval
    mode stays what it was. Returns how many norms were restored.
    """
    import torch
    from torch import nn

    folded = [
        module
        for module in network.modules()
        if isinstance(module, nn.BatchNorm2d) and module.running_mean is not None and _is_identity(module)
    ]
    hooks = [module.register_forward_pre_hook(_restore) for module in folded]
    was_training = network.training
    network.eval()
    try:
        with torch.no_grad():
            network(images)
    finally:
        for hook in hooks:
            hook.remove()
        network.train(was_training)
    return len(folded)


def _is_identity(norm: nn.BatchNorm2d) -> bool:
    mean, variance = norm.running_mean, norm.running_var
    assert mean is not None and variance is not None
    return bool((mean == 0).all() and (variance == 1).all())


def _restore(norm: nn.BatchNorm2d, inputs: tuple[Tensor, ...]) -> None:
    """Before the norm's own forward pass: take the statistics of its input and compensate for them."""
    values = inputs[0].float()
    assert norm.running_mean is not None and norm.running_var is not None
    mean, variance = values.mean(dim=(0, 2, 3)), values.var(dim=(0, 2, 3), unbiased=False)
    scale = norm.weight / (norm.running_var + norm.eps).sqrt()
    shift = norm.bias - norm.running_mean * scale
    norm.weight.copy_(scale * (variance + norm.eps).sqrt())
    norm.bias.copy_(shift + mean * scale)
    norm.running_mean.copy_(mean)
    norm.running_var.copy_(variance)


def freeze_first_layers(encoder: nn.Module, share: float) -> None:
    """Keep this share of an encoder's first layers, in the order of its definition, as they are in training."""
    layers = [module for module in encoder.modules() if next(module.parameters(recurse=False), None) is not None]
    for layer in layers[: round(share * len(layers))]:
        layer.requires_grad_(False)


def size_options(timm_name: str, size: int) -> list[Options]:
    """What a timm model may have to be made with to take images of `size` pixels, the plain model first.

    Models with fixed position tables, most transformers among them, are made for another side by `img_size`.
    """
    from timm import get_pretrained_cfg

    known = get_pretrained_cfg(timm_name, allow_unregistered=True)
    fixed = known is not None and known.fixed_input_size
    return [{}, {"img_size": size}] if fixed else [{}]


def made_for(size: int, make: Callable[[Options], nn.Module], options: Sequence[Options], what: str) -> nn.Module:
    """The first network that takes RGB images of `size` pixels; BadInput naming the setting where none does.

    what: the network as a reader would name it. Errors of `make` pass through for the plain network.
    """
    network = make(options[0])
    refusal = refuses(network, size)
    for extra in options[1:] if refusal else ():
        try:
            other = make(extra)
        except Exception:  # it does not know the option, or has no weights for it: the plain network's reason stands
            continue
        if refuses(other, size) is None:
            return other
    if refusal:
        raise BadInput(
            f"{what} cannot take images of {size} pixels ({refusal}); set its size to one that it can, "
            "such as a multiple of 32, or the side that it was made for"
        )
    return network


def refuses(network: nn.Module, size: int) -> str | None:
    """Why the network cannot take images (1, 3, size, size); None where it can. The network stays as it was."""
    import torch

    training = network.training
    network.eval()
    try:
        with torch.no_grad():
            network(torch.zeros(1, 3, size, size))
    except (RuntimeError, AssertionError, ValueError, IndexError) as error:
        return first_line(error)
    finally:
        network.train(training)
    return None
