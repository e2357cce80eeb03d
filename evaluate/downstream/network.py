"""What classifier and segmenter share: a network with its normalisation, prediction in batches, saving,
loading."""

from __future__ import annotations

import difflib
import json
from abc import ABC, abstractmethod
from collections.abc import Callable, Iterable, Sequence
from pathlib import Path
from typing import TYPE_CHECKING, Any, ClassVar, Self

import numpy as np

from evaluate.downstream.encoders import (
    freeze_first_layers,
    load_encoder_weights,
    restore_folded_norms,
    weights_file,
)
from evaluate.downstream.training import (
    Augmentation,
    Learner,
    Regime,
    TrainingLog,
    pick_device,
    seed_everything,
    train,
    uniform_regime,
)
from evaluate.settings.training import TrainingSettings
from manifests.errors import BadInput, first_line
from manifests.files import replace_file, write_json
from manifests.pairs import PairArrays
from manifests.progress import Progress, no_progress

if TYPE_CHECKING:
    from torch import Tensor, nn

FORMAT = 1
Normalisation = tuple[tuple[float, ...], tuple[float, ...]]

HALF: Normalisation = ((0.5, 0.5, 0.5), (0.5, 0.5, 0.5))
"""Mean and deviation that scale RGB to [-1, 1]."""


class Downstream(ABC):
    """A network that learns from pairs. Subclasses say what it predicts and what it is told."""

    kind: ClassVar[str]
    settings_type: ClassVar[type[TrainingSettings]]

    def __init__(self, settings: TrainingSettings, classes: Sequence[str]) -> None:
        self.settings, self.classes = settings, tuple(classes)
        self.device = pick_device(settings.device)
        self.network: nn.Module | None = None
        self.mean, self.deviation = HALF

    @abstractmethod
    def build(self, pretrained: bool) -> tuple[nn.Module, Normalisation]:
        """A new network, with hub weights if `pretrained`, and the mean and deviation that it expects."""

    @abstractmethod
    def encoder(self, network: nn.Module) -> nn.Module:
        """The part of the network that encoder weights are for."""

    @abstractmethod
    def learner(self, network: nn.Module, regime: Regime, validation: PairArrays | None) -> Learner:
        """The task's side of the training loop."""

    def fit(
        self,
        train_pairs: PairArrays,
        *,
        updates: int | None = None,
        seed: int = 0,
        regime: Regime | None = None,
        validation: PairArrays | None = None,
        progress: Progress = no_progress,
    ) -> TrainingLog:
        """Train a new network from `seed`; the same arguments give the same weights on one machine.

        train_pairs: of any size, resized to the settings' size by the augmentation; updates: the settings'
        where None; validation: pairs by which the best moment is chosen, None keeps the last.
        """
        regime = regime or uniform_regime(len(train_pairs))
        seed_everything(seed)
        self.network = self._initial_network(train_pairs)
        return train(
            self.learner(self.network, regime, validation),
            train_pairs,
            regime,
            self.settings,
            updates=updates or self.settings.updates,
            seed=seed,
            augment=self._augmentation(train_pairs, regime, seed),
            progress=progress,
        )

    def _augmentation(self, pairs: PairArrays, regime: Regime, seed: int) -> Augmentation:
        from augment.classical import training_augmentation

        classical = training_augmentation(self.settings.size, seed, "strong" if regime.strong else "standard")
        if not regime.pasted:
            return classical
        from evaluate.downstream.copy_paste import CopyPaste

        paste = CopyPaste(pairs, regime.pasted, seed)
        return lambda images, masks: classical(*paste(images, masks))

    def _initial_network(self, pairs: PairArrays) -> nn.Module:
        import torch

        path = weights_file(self.settings.weights)
        network, (self.mean, self.deviation) = self.build(self.settings.weights == "hub")
        if path is not None:
            load_encoder_weights(self.encoder(network), path)
            spread = np.linspace(0, len(pairs) - 1, min(len(pairs), 64)).astype(int)
            restore_folded_norms(network, self.prepare(pairs.images[spread]).cpu())
        if self.settings.weights is not None:
            freeze_first_layers(self.encoder(network), self.settings.frozen)
        return network.to(self.device).to(memory_format=torch.channels_last)

    def prepare(self, images: np.ndarray) -> Tensor:
        """Images uint8 (B, H, W, 3) of any size as the network's input (B, 3, S, S), channels last."""
        import torch
        from torch.nn.functional import interpolate

        batch = torch.from_numpy(np.ascontiguousarray(images)).to(self.device).permute(0, 3, 1, 2).float()
        size = (self.settings.size, self.settings.size)
        if batch.shape[2:] != size:
            batch = interpolate(batch, size, mode="bilinear", antialias=True, align_corners=False)
        mean = 255 * torch.tensor(self.mean, device=batch.device).view(1, 3, 1, 1)
        deviation = 255 * torch.tensor(self.deviation, device=batch.device).view(1, 3, 1, 1)
        return ((batch - mean) / deviation).contiguous(memory_format=torch.channels_last)

    def fitted(self) -> nn.Module:
        """The network, which must have been trained or loaded."""
        if self.network is None:
            raise RuntimeError(f"the {self.kind} has neither been fitted nor loaded")
        return self.network

    def apply(
        self,
        images: np.ndarray,
        function: Callable[[Tensor], Tensor],
        network: nn.Module | None = None,
        row: tuple[int, ...] = (0,),
    ) -> np.ndarray:
        """`function` of the prepared images (N, ...) float32, batch by batch, in eval mode and without gradients.

        row: shape of an answer, for no images.
        """
        import torch

        (network or self.fitted()).eval()
        step = max(32, self.settings.batch_size)
        parts = []
        with torch.inference_mode():
            for start in range(0, len(images), step):
                parts.append(function(self.prepare(images[start : start + step])).float().cpu().numpy())
        return np.concatenate(parts) if parts else np.zeros((0, *row), np.float32)

    def parameters(self) -> int:
        """Number of trained values."""
        return sum(p.numel() for p in self.fitted().parameters())

    def save(self, folder: Path) -> None:
        """Write `<kind>.safetensors` and then `<kind>.json` into `folder`."""
        from safetensors.torch import save

        state = {k: v.detach().cpu().contiguous() for k, v in self.fitted().state_dict().items()}
        replace_file(Path(folder) / f"{self.kind}.safetensors", save(state))
        described = {
            "format": FORMAT,
            "kind": self.kind,
            "settings": self.settings.model_dump(mode="json"),
            "classes": list(self.classes),
            "mean": list(self.mean),
            "deviation": list(self.deviation),
        }
        write_json(Path(folder) / f"{self.kind}.json", described)

    @classmethod
    def load(cls, folder: Path) -> Self:
        """What `save` wrote; BadInput where it is missing, damaged or of another kind."""
        import torch
        from safetensors import SafetensorError
        from safetensors.torch import load_file

        described_path = Path(folder) / f"{cls.kind}.json"
        weights_path = Path(folder) / f"{cls.kind}.safetensors"
        try:
            described: dict[str, Any] = json.loads(described_path.read_text())
            if described["format"] != FORMAT or described["kind"] != cls.kind:
                raise ValueError(f"it holds a {described['kind']} of format {described['format']}")
            self = cls(cls.settings_type.model_validate(described["settings"]), described["classes"])
            network, _ = self.build(pretrained=False)
            network.load_state_dict(load_file(weights_path))
        except (OSError, ValueError, KeyError, RuntimeError, SafetensorError) as error:
            raise BadInput(f"{described_path}: no usable {cls.kind} ({first_line(error)}); train it again") from error
        self.mean, self.deviation = tuple(described["mean"]), tuple(described["deviation"])
        self.network = network.to(self.device).to(memory_format=torch.channels_last).eval()
        return self


def unknown_name(what: str, name: str, known: Iterable[str]) -> BadInput:
    """The error for a model name that a library does not have, with the nearest names that it has."""
    near = difflib.get_close_matches(name, list(known), n=3)
    hint = f"did you mean {' or '.join(near)}?" if near else "see the library's list of models"
    return BadInput(f"no {what} is called {name!r}; {hint}")
