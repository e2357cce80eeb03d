"""Work measured: operations and bytes counted, processor seconds, and these by kind of operation."""

from __future__ import annotations

import re
import time
from collections import Counter, defaultdict
from collections.abc import Callable, Iterator, Mapping
from dataclasses import dataclass
from math import prod
from statistics import median
from typing import Any

import torch
from torch.utils._python_dispatch import TorchDispatchMode
from torch.utils._pytree import tree_leaves
from torch.utils.flop_counter import FlopCounterMode

PRODUCTS, ELEMENTWISE, VIEWS = "products", "elementwise", "views"
MADE_OF_OTHERS = torch._C.DispatchKey.CompositeImplicitAutograd
KINDS = {
    "optimiser": r"foreach|adam|lerp|vector_norm",
    PRODUCTS: r"conv|mm$|linear$|dot_product",
    "norms": r"_norm",
    "copies and casts": r"copy|clone|cat$|stack|index|select|slice|pad|nearest|shuffle|repeat|fill|zero|ones|empty",
}
"""What the names of torch's operations hold; the first that fits."""
OVERWRITING = ("copy_", "zero_", "fill_", "normal_", "uniform_")
"""Operations that do not read what they write to."""
PICKING = ("index", "index_select", "embedding", "gather")
"""Operations that read no more than they write."""


@dataclass(frozen=True)
class Work:
    """precision: of its products; samples: how many of them `do` makes."""

    precision: str
    samples: int
    do: Callable[[], object]


class Meter(TorchDispatchMode):
    """Adds up what operations inside it read and write, and the calls and processor seconds of each kind."""

    def __init__(self) -> None:
        super().__init__()
        self.clear()

    def clear(self) -> None:
        """Begins anew."""
        self.bytes, self.calls, self.taken = 0, Counter[str](), Counter[str]()

    def __torch_dispatch__(self, func: Any, types: Any, args: Any = (), kwargs: Any = None) -> Any:
        kwargs, name = kwargs or {}, func._schema.name.removeprefix("aten::")
        if torch._C._dispatch_has_kernel_for_dispatch_key(func.name(), MADE_OF_OTHERS):
            with self:  # as automatic differentiation sees it, and inference does not
                return func._op_dk(MADE_OF_OTHERS, *args, **kwargs)
        if func.is_view or name.startswith(("empty", "new_empty", "_unsafe_view")):
            return self.timed(VIEWS, func)(*args, **kwargs)
        kind = next((kind for kind, pattern in KINDS.items() if re.search(pattern, name)), ELEMENTWISE)
        result = self.timed(kind, func)(*args, **kwargs)
        given = zip(func._schema.arguments, args, strict=False)
        written = [value for argument, value in given if argument.alias_info and argument.alias_info.is_write]
        made = _size(written or result)
        read = made if name in PICKING else _size((args, kwargs)) - (made if name in OVERWRITING else 0)
        self.bytes += read + made
        return result

    def timed(self, kind: str, call: Callable[..., Any]) -> Callable[..., Any]:
        """A call whose seconds are of that kind."""

        def timed_call(*args: Any, **kwargs: Any) -> Any:
            started = time.process_time()
            result = call(*args, **kwargs)
            self.taken[kind] += time.process_time() - started
            self.calls[kind] += 1
            return result

        return timed_call

    def seconds(self) -> dict[str, float]:
        """Seconds by kind, less what a view takes for each call: a call from Python and nothing else."""
        idle = self.taken[VIEWS] / max(1, self.calls[VIEWS])
        return {kind: max(0.0, taken - idle * self.calls[kind]) for kind, taken in self.taken.items() if kind != VIEWS}


def convolution_backward(gradient: Any, pictures: Any, weight: Any, *others: Any, out_shape: Any) -> int:
    """Operations of both gradients of a convolution, each as many as it has itself; torch's count knows no groups."""
    transposed, wanted = others[4], others[7]
    return sum(wanted[:2]) * 2 * prod(pictures if transposed else gradient) * prod(weight[1:])


def _size(values: Any) -> int:
    """Bytes of the tensors among values; what strides alone repeat counts once."""
    tensors = [leaf for leaf in tree_leaves(values) if isinstance(leaf, torch.Tensor)]
    return sum(min(one.numel() * one.element_size(), one.untyped_storage().nbytes()) for one in tensors)


COUNTED = {torch.ops.aten.convolution_backward: convolution_backward}


def measured(works: Mapping[str, Work], meter: Meter, repeats: int) -> Iterator[tuple[str, dict[str, Any]]]:
    """Each work's name and its figures for one sample; seconds, also by kind, are medians of `repeats` turns."""
    figures: dict[str, dict[str, Any]] = {}
    for name, work in works.items():  # which also pays for what is loaded late
        with FlopCounterMode(display=False, custom_mapping=COUNTED) as counter:
            work.do()
        figures[name] = {"precision": work.precision, "operations": counter.get_total_flops() / work.samples}
    plain, by_kind = defaultdict(list), defaultdict(list)
    for _ in range(repeats):
        for name, work in works.items():
            started = time.process_time()
            work.do()
            plain[name].append(time.process_time() - started)
            meter.clear()
            with meter:
                work.do()
            by_kind[name].append(meter.seconds())
            figures[name]["bytes"] = meter.bytes / work.samples
    for name, work in works.items():
        kinds = {kind: median(turn[kind] for turn in by_kind[name]) / work.samples for kind in by_kind[name][0]}
        yield name, {**figures[name], "seconds": median(plain[name]) / work.samples, "by_kind": kinds}
