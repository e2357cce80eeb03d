"""Training the shipped base's joint denoiser and text encoder from scratch, on cached latents."""

from __future__ import annotations

import time
from pathlib import Path
from typing import Any

import numpy as np
import torch
from torch import Tensor

from augment.base.denoiser import DenoiserParts
from augment.base.memory import MemoryBatch
from augment.base.text_encoder import embeddings_of, tokens_of
from augment.objectives import alpha_sigma, joint_loss, quiet_pairs
from augment.settings import PretrainSettings
from augment.training.device import fitted_unet, generator_on, half_precision, training_device
from augment.training.draws import TrainingPairs
from augment.training.schedules import warmed_up_inverse_root
from augment.training.snapshots import SNAPSHOTS, write_snapshot
from augment.training.state import TrainingState, step_generators
from manifests.errors import BadInput
from manifests.progress import Progress, StopRequested, no_progress


def train_denoiser(
    parts: DenoiserParts,
    pairs: TrainingPairs,
    settings: PretrainSettings,
    seed: int,
    work: Path,
    header: dict[str, str],
    progress: Progress = no_progress,
) -> TrainingState:
    """Trains for `settings.steps`, checkpointing to `work`; the state's averages are the result."""
    return DenoiserTrainer(parts, pairs, settings, seed, work, header).run(progress)


class DenoiserTrainer:
    """A training in progress: the parts on their device, the pairs beside them, and the state."""

    def __init__(
        self,
        parts: DenoiserParts,
        pairs: TrainingPairs,
        settings: PretrainSettings,
        seed: int,
        work: Path,
        header: dict[str, str],
    ) -> None:
        self.settings, self.seed, self.work, self.header = settings, seed, work, header
        self.device = training_device()
        self.parts, self.pairs = parts, pairs.on(self.device)
        self.unet: Any = fitted_unet(parts.unet, self.device)
        parts.text_encoder.to(self.device).train()
        self.alphas = parts.scheduler.alphas_cumprod.to(self.device)
        self.tokens = tokens_of(parts.tokenizer, pairs.prompts).to(self.device)
        self.memory = MemoryBatch("pretrain.batch", "train a smaller denoiser", settings.batch)
        self.state = TrainingState(
            parts.named_parameters(), settings.learning_rate, 0.0, 0.01, lengths=settings.averages
        )
        self.checkpoint = work / "denoiser.safetensors"
        if not self.state.load(self.checkpoint, header) and self.checkpoint.exists():
            raise BadInput(f"{self.checkpoint}: belongs to other data or settings; name another --work or take those")
        if settings.compile:
            self.unet = torch.compile(self.unet)

    def run(self, progress: Progress) -> TrainingState:
        """Trains to the last step; stopped, it leaves a checkpoint."""
        state, settings = self.state, self.settings
        started, first, smooth = time.monotonic(), state.seen, 0.0
        try:
            while state.step < settings.steps:
                terms = self._step()
                smooth = terms["image"] * 0.02 + smooth * 0.98 if smooth else terms["image"]
                if state.step % settings.checkpoint_every == 0 or state.step == settings.steps:
                    state.save(self.checkpoint, self.header)
                if settings.snapshot_every and state.step % settings.snapshot_every == 0:
                    write_snapshot(state, self.work / SNAPSHOTS / f"{state.seen:010d}.safetensors")
                rate = (state.seen - first) / (time.monotonic() - started)
                figures = {"seen": state.seen, "rate": rate, "smooth": smooth, **terms}
                progress(state.step, settings.steps, **figures)
        except StopRequested:
            state.save(self.checkpoint, self.header)
            raise
        return state

    def _step(self) -> dict[str, float]:
        """One optimiser step; with fewer pairs at a time, the same samples, where a GPU's memory is full."""
        settings, state = self.settings, self.state
        factor = warmed_up_inverse_root(state.step, state.seen, settings.hold, settings.warmup)
        clean, context, noise, timesteps = self._drawn()
        quiet = quiet_pairs(self.alphas, timesteps, settings.objective).clamp(min=1)

        def attempt() -> dict[str, Tensor]:
            state.optimizer.zero_grad(set_to_none=True)  # of an attempt that did not fit
            total, sums = torch.zeros((), device=self.device), dict[str, Tensor]()
            slices = self.memory.parts(settings.batch)
            for number, part in enumerate(slices):
                share = len(clean[part]) / settings.batch
                loss, terms = self._loss(clean[part], context[part], noise[part], timesteps[part], quiet * share)
                sums = {name: sums.get(name, 0.0) + share * value for name, value in terms.items()}
                if number < len(slices) - 1:
                    (share * loss).backward()
                    loss = loss.detach()
                total = total + share * loss
            state.update(total, factor, settings.batch)
            return sums

        found = self.memory.fit(attempt)
        return dict(zip(found, torch.stack(list(found.values())).tolist(), strict=True))

    def _drawn(self) -> tuple[Tensor, np.ndarray, Tensor, Tensor]:
        """Clean latents, the numbers of their prompts, noise and noise levels of the next step."""
        settings = self.settings
        numbers, generator = step_generators(self.seed, self.state.step)
        clean, said = self.pairs.draw(numbers, settings.batch, settings.whole, settings.prompt_dropout)
        noise = torch.randn(clean.shape, generator=generator_on(self.device, generator), device=self.device)
        levels = self.parts.scheduler.config.num_train_timesteps
        # Stratified over the batch: the noise levels of one step cover the range evenly (Kingma et al. 2021, I.1).
        offsets = (torch.arange(settings.batch) + torch.rand(settings.batch, generator=generator)) / settings.batch
        timesteps = (offsets * levels).long().clamp(max=levels - 1)
        return clean.to(self.device), said, noise, timesteps.to(self.device)

    def _loss(
        self, clean: Tensor, said: np.ndarray, noise: Tensor, timesteps: Tensor, quiet: Tensor
    ) -> tuple[Tensor, dict[str, Tensor]]:
        alpha, sigma = alpha_sigma(self.alphas, timesteps)
        noisy = alpha * clean + sigma * noise
        told, places = np.unique(said, return_inverse=True)
        with half_precision(self.device):
            embeddings = embeddings_of(self.parts.text_encoder, self.tokens[torch.from_numpy(told).to(self.device)])
            context = embeddings[torch.from_numpy(places).to(self.device)]
            entering = noisy.contiguous(memory_format=torch.channels_last)
            output = self.unet(entering, timesteps, context).sample.float()
        prediction = self.parts.scheduler.config.prediction_type
        codec, objective = self.parts.codec, self.settings.objective
        return joint_loss(output, clean, noise, noisy, timesteps, self.alphas, prediction, codec, objective, quiet)
