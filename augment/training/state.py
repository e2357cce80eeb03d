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
from augment.training.schedules import move_average, power_decay, update_average
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
    """Named parameters, AdamW, averages of the weights and the position.

    averages: one by name of the parameter for each of `lengths`, the shares of the training so far that an average
    remembers; without them one exponential average of `ema_decay`. seen: samples. extra and notes: tensors and JSON
    values of the caller's own that travel with the checkpoint.
    """

    parameters: dict[str, torch.nn.Parameter]
    learning_rate: float
    ema_decay: float
    weight_decay: float = 0.0
    gradient_clip: float = 1.0
    step: int = 0
    seen: int = 0
    extra: dict[str, Tensor] = field(default_factory=dict)
    notes: dict = field(default_factory=dict)
    lengths: tuple[float, ...] = ()
    averages: list[dict[str, Tensor]] = field(init=False)
    optimizer: torch.optim.AdamW = field(init=False)

    def __post_init__(self) -> None:
        count = max(1, len(self.lengths))
        self.averages = [{n: value.detach().clone() for n, value in self.parameters.items()} for _ in range(count)]
        fused = all(value.device.type in ("cpu", "cuda") for value in self.parameters.values())
        self.optimizer = torch.optim.AdamW(
            list(self.parameters.values()),
            self.learning_rate,
            betas=(0.9, 0.99),
            weight_decay=self.weight_decay,
            fused=fused,
        )

    @property
    def ema(self) -> dict[str, Tensor]:
        """The first of the averages."""
        return self.averages[0]

    def update(self, loss: Tensor, factor: float, samples: int = 1) -> float:
        """One optimiser step on `samples` at `factor` times the learning rate; returns the norm before clipping.

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
        self._average(samples)
        self.step += 1
        self.seen += samples
        return float(norm)

    def _average(self, samples: int) -> None:
        values = [value.detach() for value in self.parameters.values()]
        if not self.lengths:
            update_average(self.ema.values(), values, self.ema_decay, self.step)
        for average, length in zip(self.averages, self.lengths, strict=False):
            move_average(average.values(), values, power_decay(length, self.seen, samples))

    def save(self, path: Path, header: dict[str, str]) -> None:
        """Writes the whole state to `path` at once; `header` says what the state belongs to."""
        tensors: dict[str, Tensor] = {}
        for name, parameter in self.parameters.items():
            tensors[f"parameter.{name}"] = parameter.detach()
            tensors |= {f"{key}.{name}": average[name] for key, average in self._named_averages()}
            moments = self.optimizer.state.get(parameter, {})
            for key, value in moments.items():
                tensors[f"adam.{key}.{name}"] = torch.as_tensor(value)
        tensors |= {f"extra.{name}": value for name, value in self.extra.items()}
        notes = json.dumps(self.notes, sort_keys=True)
        write_tensors(path, tensors, {**header, "step": str(self.step), "seen": str(self.seen), "notes": notes})

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
        self.seen = int(found.get("seen", found["step"]))
        self.extra = {name.removeprefix("extra."): t for name, t in tensors.items() if name.startswith("extra.")}
        self.notes = json.loads(found.get("notes", "{}"))
        return True

    def _named_averages(self) -> list[tuple[str, dict[str, Tensor]]]:
        names = ["ema", *(f"ema{number}" for number in range(2, len(self.averages) + 1))]
        return list(zip(names, self.averages, strict=True))

    def _restore(self, tensors: dict[str, Tensor], step: int) -> None:
        with torch.no_grad():
            for name, parameter in self.parameters.items():
                parameter.copy_(tensors[f"parameter.{name}"])
                for key, average in self._named_averages():
                    average[name].copy_(tensors[f"{key}.{name}"])
                moments = {}
                for key in ("step", "exp_avg", "exp_avg_sq"):
                    if f"adam.{key}.{name}" in tensors:
                        value = tensors[f"adam.{key}.{name}"].to(parameter.device)
                        # The step before the moments: the memory format must be the parameter's for equal bits.
                        moments[key] = torch.empty_like(parameter).copy_(value) if key != "step" else value
                if moments:
                    self.optimizer.state[parameter] = moments
        self.step = step
