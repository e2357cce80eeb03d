"""One training loop for every arm: the same updates, schedule, average and selection, whatever the pairs are.

AdamW, a one-cycle rate, clipped gradients and an exponential moving average of the weights; the average with
the best validation score is kept. Which pairs are drawn is a regime, made by the arm.
"""

from __future__ import annotations

import time
from collections import deque
from collections.abc import Callable
from dataclasses import dataclass, field
from typing import TYPE_CHECKING, Literal

import numpy as np

from augment.training.schedules import one_cycle
from evaluate.downstream.mixing import NORM_BATCHES, fix_norms, moving_average, refresh_norms
from evaluate.settings.training import TrainingSettings
from manifests.errors import EvendermError
from manifests.pairs import PairArrays
from manifests.progress import Progress, no_progress

if TYPE_CHECKING:
    from torch import Tensor, nn

Augmentation = Callable[[np.ndarray, np.ndarray], tuple[np.ndarray, np.ndarray]]


@dataclass(frozen=True)
class Stage:
    """A share of the updates in which pair i is drawn in proportion to `weights[i]`."""

    weights: np.ndarray  # (N,), not negative, not all zero
    share: float = 1.0


@dataclass(frozen=True)
class Regime:
    """How an arm trains on its pairs. class_weights: (C,), of the loss; strong: the strong augmentation
    policy with mixup and CutMix instead of the standard policy; pasted: share of the draws whose lesion is put into
    other skin; retarget: targets of a batch and the indices of its pairs -> what is learned instead."""

    stages: tuple[Stage, ...]
    class_weights: np.ndarray | None = None
    strong: bool = False
    pasted: float = 0.0
    retarget: Callable[[Tensor, np.ndarray], Tensor] | None = None


@dataclass
class TrainingLog:
    """What a training run did. curve: update, loss and validation score at each check; seconds: by
    activity."""

    updates: int = 0
    selected_update: int = 0
    curve: list[dict[str, float | None]] = field(default_factory=list)
    seconds: dict[str, float] = field(
        default_factory=lambda: {"data": 0.0, "training": 0.0, "validation": 0.0, "test": 0.0}
    )


@dataclass(frozen=True)
class Learner:
    """What a task adds to the loop.

    prepare: uint8 images -> input (B, 3, S, S); targets: (masks, labels) -> float tensor; loss: outputs and
    targets -> scalar; mix: strong-policy mixing of images and targets; validate: network -> score, higher is
    better; start: what is done to the network before the first update, with pairs, seed and augmentation, if anything;
    fixed_norms: whether batch norms keep the statistics that they came with.
    """

    network: nn.Module
    prepare: Callable[[np.ndarray], Tensor]
    targets: Callable[[np.ndarray, np.ndarray], Tensor]
    loss: Callable[[Tensor, Tensor], Tensor]
    mix: Callable[[Tensor, Tensor, np.random.Generator], tuple[Tensor, Tensor]]
    validate: Callable[[nn.Module], float] | None
    start: Callable[[PairArrays, int, Augmentation], None] | None = None
    fixed_norms: bool = False


def uniform_regime(pairs: int) -> Regime:
    """Every pair equally often."""
    return Regime((Stage(np.ones(pairs)),))


def expected_draws(regime: Regime, draws: int) -> np.ndarray:
    """How often each pair is expected among `draws`, (N,)."""
    parts = [stage.share * draws * stage.weights / stage.weights.sum() for stage in regime.stages]
    return np.sum(parts, axis=0)


def draw_indices(weights: np.ndarray, draws: int, rng: np.random.Generator) -> np.ndarray:
    """Indices (draws,), shuffled; each occurs its expected number of times, rounded up or down at random.

    Systematic sampling: it varies less between seeds than independent draws, and for equal weights it is a
    walk through whole epochs.
    """
    order = rng.permutation(len(weights))
    edges = np.cumsum(weights[order] / weights.sum())
    points = (np.arange(draws) + rng.random()) / draws
    positions = np.minimum(np.searchsorted(edges, points, side="right"), len(weights) - 1)
    return rng.permutation(order[positions])


def draw_plan(regime: Regime, updates: int, batch_size: int, seed: int) -> np.ndarray:
    """Indices of the pairs of every batch, (updates, batch_size)."""
    rng = np.random.default_rng([seed, 1])
    edges = np.rint(np.cumsum([0.0] + [stage.share for stage in regime.stages]) * updates).astype(int)
    parts = [
        draw_indices(stage.weights, int(last - first) * batch_size, rng)
        for stage, first, last in zip(regime.stages, edges[:-1], edges[1:], strict=True)
    ]
    return np.concatenate(parts).reshape(updates, batch_size)


def check_updates(updates: int, checks: int) -> list[int]:
    """The updates after which validation is looked at: evenly over the second half, the last one included."""
    marks = np.linspace(updates / 2, updates, checks + 1)[1:] if checks > 1 else np.array([updates])
    return sorted({max(1, round(float(mark))) for mark in marks})


def pick_device(name: str) -> str:
    """`auto` is the GPU where there is one."""
    import torch

    return ("cuda" if torch.cuda.is_available() else "cpu") if name == "auto" else name


def pick_precision(name: str, device: str, network: nn.Module) -> Literal["fp32", "bf16"]:
    """`auto` is bf16 where it pays: on hardware that has it, for networks without depthwise convolutions."""
    import torch
    from torch import nn

    if name != "auto":
        return "bf16" if name == "bf16" else "fp32"
    if device == "cuda":
        return "bf16" if torch.cuda.is_bf16_supported() else "fp32"
    known: dict[str, bool] = getattr(torch.cpu, "get_capabilities", dict)()
    depthwise = any(isinstance(m, nn.Conv2d) and m.groups == m.in_channels > 1 for m in network.modules())
    return "bf16" if not depthwise and (known.get("avx512_bf16") or known.get("amx_bf16")) else "fp32"


def seed_everything(seed: int) -> None:
    """Same initial weights and dropout for the same seed, whatever ran before."""
    import torch

    torch.manual_seed(seed)


def train(
    learner: Learner,
    pairs: PairArrays,
    regime: Regime,
    settings: TrainingSettings,
    *,
    updates: int,
    seed: int,
    augment: Augmentation,
    progress: Progress = no_progress,
) -> TrainingLog:
    """Train `learner.network` in place and leave the selected average in it.

    Deterministic on one machine for the same arguments. A StopRequested of `progress` passes through; nothing
    of an unfinished training is kept, since a cell is the unit of resuming.
    """
    started = time.perf_counter()
    if learner.start:
        learner.start(pairs, seed, augment)
    state = _State(learner, regime, settings, updates, seed)
    state.log.seconds["training"] += time.perf_counter() - started
    for update, indices in enumerate(draw_plan(regime, updates, settings.batch_size, seed), start=1):
        started = time.perf_counter()
        images, masks = augment(pairs.images[indices], pairs.masks[indices])
        batch = learner.prepare(images)
        targets = learner.targets(masks, pairs.labels[indices]).to(batch.device)
        if regime.retarget:
            targets = regime.retarget(targets, indices)
        drawn = time.perf_counter()
        state.log.seconds["data"] += drawn - started
        loss = state.step(batch, targets)
        state.log.seconds["training"] += time.perf_counter() - drawn
        if update in state.checks and state.check(update):
            break
        progress(update, updates, loss=loss)
    state.finish()
    return state.log


class _State:
    """Optimiser, schedule, weight average and the best average so far."""

    def __init__(self, learner: Learner, regime: Regime, settings: TrainingSettings, updates: int, seed: int) -> None:
        import torch

        self.learner, self.settings, self.strong = learner, settings, regime.strong
        self.device = next(learner.network.parameters()).device.type
        self.half = pick_precision(settings.precision, self.device, learner.network) == "bf16"
        self.rng = np.random.default_rng([seed, 2])
        self.checks = set(check_updates(updates, settings.checks))
        self.optimiser = torch.optim.AdamW(
            _weight_groups(learner.network, settings.weight_decay), lr=settings.learning_rate, fused=True
        )
        self.schedule = torch.optim.lr_scheduler.LambdaLR(
            self.optimiser, lambda done: one_cycle(done / updates, settings.warmup)
        )
        self.average = moving_average(learner.network, settings.ema_decay)
        self.best: dict[str, Tensor] | None = None
        self.best_score, self.waited = -np.inf, 0
        self.losses: list[float] = []
        self.recent: deque[Tensor] = deque(maxlen=NORM_BATCHES)
        self.log = TrainingLog()

    def step(self, images: Tensor, targets: Tensor) -> float:
        """One optimiser update; the loss."""
        import torch

        network = self.learner.network
        network.train()
        if self.learner.fixed_norms:
            fix_norms(network)
        else:
            self.recent.append(images)
        if self.strong:
            images, targets = self.learner.mix(images, targets, self.rng)
        with torch.autocast(images.device.type, torch.bfloat16, enabled=self.half):
            outputs = network(images)
        loss = self.learner.loss(outputs.float(), targets)
        if not bool(torch.isfinite(loss.detach())):
            raise self._diverged(self.log.updates + 1, f"the loss is {float(loss.detach())}")
        self.optimiser.zero_grad(set_to_none=True)
        loss.backward()
        torch.nn.utils.clip_grad_norm_(network.parameters(), self.settings.clip_norm)
        self.optimiser.step()
        self.schedule.step()
        self.average.update_parameters(network)
        self.log.updates += 1
        self.losses.append(float(loss.detach()))
        return self.losses[-1]

    def check(self, update: int) -> bool:
        """Look at validation and keep the average if it is the best; whether patience is spent."""
        import torch

        started = time.perf_counter()
        if not self.learner.fixed_norms:
            with torch.autocast(self.device, torch.bfloat16, enabled=self.half):
                refresh_norms(self.average.module, self.recent)
        # The last update has no later loss that would show what it did to the weights.
        if not all(bool(torch.isfinite(tensor).all()) for tensor in self.average.module.state_dict().values()):
            raise self._diverged(update, "a weight is no number any more")
        score = self.learner.validate(self.average.module) if self.learner.validate else None
        self.log.seconds["validation"] += time.perf_counter() - started
        mean_loss = float(np.mean(self.losses)) if self.losses else None
        self.losses = []
        self.log.curve.append({"update": update, "loss": mean_loss, "validation": score})
        if score is None or score >= self.best_score:
            self.best_score = -np.inf if score is None else score
            self.best = {k: v.detach().clone() for k, v in self.average.module.state_dict().items()}
            self.log.selected_update, self.waited = update, 0
        else:
            self.waited += 1
        return self.settings.patience is not None and self.waited >= self.settings.patience

    def _diverged(self, update: int, sign: str) -> EvendermError:
        return EvendermError(
            f"training diverged at update {update}: {sign}; set learning_rate lower "
            f"than {self.settings.learning_rate:g}, in the settings of this model"
        )

    def finish(self) -> None:
        """Put the selected average into the network."""
        assert self.best is not None, "the last update is always a check"
        self.learner.network.load_state_dict(self.best)
        self.learner.network.eval()


def _weight_groups(network: nn.Module, weight_decay: float) -> list[dict[str, object]]:
    """Matrices and kernels decay; norms and biases do not."""
    trained = [p for p in network.parameters() if p.requires_grad]
    return [
        {"params": [p for p in trained if p.ndim > 1], "weight_decay": weight_decay},
        {"params": [p for p in trained if p.ndim <= 1], "weight_decay": 0.0},
    ]
