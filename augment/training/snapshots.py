"""Kept copies of a training's averages in half precision: what to draw with is chosen after the training."""

from __future__ import annotations

from collections.abc import Mapping
from pathlib import Path

import torch
from safetensors import safe_open

from augment.tensor_files import write_tensors
from augment.training.state import TrainingState
from manifests.errors import BadInput

SNAPSHOTS = "snapshots"


def write_snapshot(state: TrainingState, path: Path) -> None:
    """Writes every average in half precision, each parameter under its average's length and its own name."""
    named = zip(state.lengths, state.averages, strict=True)
    halves = {f"{length:g}/{name}": value.half() for length, average in named for name, value in average.items()}
    write_tensors(path, halves, {"step": str(state.step), "seen": str(state.seen)})


def load_snapshot(parameters: Mapping[str, torch.nn.Parameter], path: Path, length: float) -> None:
    """Puts the average of `length` of a snapshot into `parameters`; BadInput if it has none that fits."""
    with safe_open(path, "pt") as file:
        held = set(file.keys())
        if {f"{length:g}/{name}" for name in parameters} - held:
            lengths = sorted({name.split("/")[0] for name in held})
            raise BadInput(f"{path}: has no average {length:g} of this denoiser; it has {', '.join(lengths)}")
        with torch.no_grad():
            for name, value in parameters.items():
                value.copy_(file.get_tensor(f"{length:g}/{name}"))
