"""What a training run carries from step to step, and its checkpoints: safetensors, exact to the bit."""

from __future__ import annotations

import json
from dataclasses import dataclass, field
from pathlib import Path

import numpy as np
import torch
from safetensors import SafetensorError, safe_open
from torch import Tensor

from augment.tensor_files import write_tensors
from augment.training.schedules import update_average
from manifests.errors import BadInput


class TrainingDiverged(Exception):
    """The loss or its gradient is no longer finite; `step` is the first bad step."""

    def __init__(self, step: int) -> None:
        super().__init__(f"the loss or its gradient is not finite at step {step}")
        self.step = step


def step_generators(seed: int, step: int) -> tuple[np.random.Generator, torch.Generator]:
    """Random state of one step, derived from (seed, step), so that resuming needs no stored state."""
    numbers = np.random.default_rng((seed, step))
    return numbers, torch.Generator().manual_seed(int(numbers.integers(2**62)))


@dataclass
class TrainingState:
    """Named parameters, AdamW, their exponential moving average and the position.

    extra and notes: tensors and JSON values of the caller's own that travel with the checkpoint.
    """

    parameters: dict[str, torch.nn.Parameter]
    learning_rate: float
    ema_decay: float
    weight_decay: float = 0.0
    gradient_clip: float = 1.0
    step: int = 0
    extra: dict[str, Tensor] = field(default_factory=dict)
    notes: dict = field(default_factory=dict)
    ema: dict[str, Tensor] = field(init=False)
    optimizer: torch.optim.AdamW = field(init=False)

    def __post_init__(self) -> None:
        self.ema = {name: value.detach().clone() for name, value in self.parameters.items()}
        fused = all(value.device.type in ("cpu", "cuda") for value in self.parameters.values())
        self.optimizer = torch.optim.AdamW(
            list(self.parameters.values()),
            self.learning_rate,
            betas=(0.9, 0.99),
            weight_decay=self.weight_decay,
            fused=fused,
        )

    def update(self, loss: Tensor, factor: float) -> float:
        """One optimiser step at `factor` times the learning rate; returns the gradient norm before clipping.

        Raises TrainingDiverged, with the weights as they were, if the loss or the norm is not finite.
        """
        if not torch.isfinite(loss):
            raise TrainingDiverged(self.step)
        loss.backward()
        norm = torch.nn.utils.clip_grad_norm_(self.parameters.values(), self.gradient_clip)
        if not torch.isfinite(norm):
            raise TrainingDiverged(self.step)
        for group in self.optimizer.param_groups:
            group["lr"] = self.learning_rate * factor
        self.optimizer.step()
        self.optimizer.zero_grad(set_to_none=True)
        weights = (value.detach() for value in self.parameters.values())
        update_average(self.ema.values(), weights, self.ema_decay, self.step)
        self.step += 1
        return float(norm)

    def save(self, path: Path, header: dict[str, str]) -> None:
        """Writes the whole state to `path` at once; `header` says what the state belongs to."""
        tensors: dict[str, Tensor] = {}
        for name, parameter in self.parameters.items():
            tensors[f"parameter.{name}"] = parameter.detach()
            tensors[f"ema.{name}"] = self.ema[name]
            moments = self.optimizer.state.get(parameter, {})
            for key, value in moments.items():
                tensors[f"adam.{key}.{name}"] = torch.as_tensor(value)
        tensors |= {f"extra.{name}": value for name, value in self.extra.items()}
        notes = json.dumps(self.notes, sort_keys=True)
        write_tensors(path, tensors, {**header, "step": str(self.step), "notes": notes})

    def load(self, path: Path, header: dict[str, str]) -> bool:
        """Continues from `path` if it is there and was written under the same `header`."""
        if not path.exists():
            return False
        try:
            with safe_open(path, "pt") as file:
                found = file.metadata() or {}
                if any(found.get(name) != value for name, value in header.items()):
                    return False
                tensors = {name: file.get_tensor(name) for name in file.keys()}  # noqa: SIM118
        except SafetensorError as error:
            raise BadInput(f"{path}: the checkpoint cannot be read ({error}); delete it to start again") from error
        self._restore(tensors, int(found["step"]))
        self.extra = {name.removeprefix("extra."): t for name, t in tensors.items() if name.startswith("extra.")}
        self.notes = json.loads(found.get("notes", "{}"))
        return True

    def _restore(self, tensors: dict[str, Tensor], step: int) -> None:
        with torch.no_grad():
            for name, parameter in self.parameters.items():
                parameter.copy_(tensors[f"parameter.{name}"])
                self.ema[name].copy_(tensors[f"ema.{name}"])
                moments = {}
                for key in ("step", "exp_avg", "exp_avg_sq"):
                    if f"adam.{key}.{name}" in tensors:
                        value = tensors[f"adam.{key}.{name}"].to(parameter.device)
                        # The step before the moments: the memory format must be the parameter's for equal bits.
                        moments[key] = torch.empty_like(parameter).copy_(value) if key != "step" else value
                if moments:
                    self.optimizer.state[parameter] = moments
        self.step = step
