"""Encoder weights from a local safetensors file, and batch norms that were folded brought back to life."""

from __future__ import annotations

import hashlib
from pathlib import Path
from typing import TYPE_CHECKING

from manifests.errors import BadInput

if TYPE_CHECKING:
    from torch import Tensor, nn

HUB = "hub"
_HEADS = ("classifier.", "fc.", "head.", "num_batches_tracked")


def weights_file(name: str | None) -> Path | None:
    """The local file that `encoder_weights` names, None for the hub or none; BadInput if it is not there."""
    if name is None or name == HUB:
        return None
    path = Path(name).expanduser()
    if path.suffix != ".safetensors":
        raise BadInput(
            f"encoder weights {name}: only .safetensors files are read, never pickled ones; "
            "name one, or 'hub', or leave the setting out"
        )
    if not path.is_file():
        raise BadInput(f"encoder weights {name}: there is no such file; name a .safetensors file or leave it out")
    return path


def weights_digest(name: str | None) -> str | None:
    """What tells one choice of encoder weights from another: a file's sha256, else the choice itself."""
    path = weights_file(name)
    return hashlib.sha256(path.read_bytes()).hexdigest() if path else name


def load_encoder_weights(encoder: nn.Module, path: Path) -> None:
    """Load `path` into `encoder` in place; the file's classifier head is left out.

    Names must be the encoder's own. The one exception is torchvision's MobileNetV2, which fits timm's by the
    order of its tensors. Raises BadInput where the file is damaged or is of another network.
    """
    stored = _read(path)
    target = {k: v for k, v in encoder.state_dict().items() if not _is_head(k)}
    named = {k: v for k, v in stored.items() if not _is_head(k)}
    if set(named) != set(target):
        named = _by_order(named, target, path)
    for name, tensor in named.items():
        if tensor.shape != target[name].shape:
            raise BadInput(
                f"encoder weights {path}: {name} has shape {tuple(tensor.shape)} but the network needs "
                f"{tuple(target[name].shape)}; choose the model that the file was made for"
            )
    encoder.load_state_dict({k: v.to(target[k].dtype) for k, v in named.items()}, strict=False)


def _read(path: Path) -> dict[str, Tensor]:
    from safetensors import SafetensorError
    from safetensors.torch import load_file

    try:
        return load_file(path)
    except (SafetensorError, OSError, ValueError) as error:
        raise BadInput(
            f"encoder weights {path} cannot be read as safetensors ({error}); fetch the file again"
        ) from error


def _is_head(name: str) -> bool:
    return name.startswith(_HEADS[:3]) or name.endswith(_HEADS[3])


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
