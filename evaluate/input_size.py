"""Networks made for the side of their images: tried on one empty image before anything is trained."""

from __future__ import annotations

from collections.abc import Callable, Mapping, Sequence
from typing import TYPE_CHECKING, Any

from manifests.errors import BadInput

if TYPE_CHECKING:
    from torch import nn

Options = Mapping[str, Any]


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
        return (str(error).strip().splitlines() or [type(error).__name__])[0][:160]
    finally:
        network.train(training)
    return None
