"""The training of one adapter: its state, its steps, its validation."""

from __future__ import annotations

import hashlib
import math
import time
from collections.abc import Callable, Mapping
from dataclasses import dataclass
from functools import cache
from pathlib import Path
from typing import Any

import numpy as np
import torch
from diffusers.models.attention_processor import AttnProcessor
from torch import Tensor

from augment.adapters import (
    AdapterFile,
    adapter_tensors,
    add_adapter,
    check_targets,
    joint_unet,
    lora_config,
    save_adapter,
)
from augment.base.conditioning import conditioning_of
from augment.base.folder import BaseFolder, image_encoder
from augment.base.memory import MemoryBatch
from augment.budget.plan import budgeted
from augment.budget.prior import prior_latents
from augment.joint import compute_norms_in_float, outer_parameters, round_frozen_weights
from augment.mask_codec import bound_codec, codec_from
from augment.objectives import alpha_sigma, joint_loss, quiet_pairs
from augment.prompts import prompt_for
from augment.settings import AdaptSettings
from augment.training.data import prior_places, prompts_of, split_by_group, validation_pairs
from augment.training.draws import class_weights
from augment.training.latents import DIHEDRAL, LatentCache, build_latent_cache
from augment.training.schedules import warmed_up_cosine
from augment.training.state import TrainingDiverged, TrainingState, step_generators
from manifests.format.schema import path_name
from manifests.pairs import PairArrays
from manifests.progress import Progress, StopRequested

DOMAIN = "domain"
_VALIDATION_LEVELS = 4  # noise levels at which each held-out pair is judged, other ones for each pair


@dataclass(frozen=True)
class AdaptTask:
    """One adapter to train.

    name: class code, or `domain`; data_digest: digest of the real manifest; start: the domain adapter that a class
    adapter begins as a copy of, None where it begins at a joint base itself; drawn: whether a program drew its pairs.
    """

    name: str
    seed: int
    data_digest: str
    start: AdapterFile | None = None
    drawn: bool = False


class AdapterTrainer:
    """The state of one adapter's training: UNet with LoRA, cached latents and prompts, optimiser and best weights."""

    def __init__(
        self, pairs: PairArrays, task: AdaptTask, base: BaseFolder, settings: AdaptSettings, work: Path
    ) -> None:
        joint, lora = base.codec is not None, task.start.lora if task.start else None
        settings = budgeted(settings, len(pairs), task.name == DOMAIN, joint, lora)
        self.task, self.base, self.settings = task, base, settings
        self.device = torch.device("cuda" if torch.cuda.is_available() else "cpu")
        chosen = {"channels": base.latent_channels} if settings.codec.name == "vae" else {"clip": settings.codec.clip}
        own = task.start.codec if task.start else codec_from({"name": settings.codec.name, **chosen})
        self.codec = base.codec or own
        self.cache = self._cache(pairs, work)
        self.training, self.held_out = split_by_group(pairs.group_ids, settings.holdout)
        prompts, self.prompt_places = prompts_of(pairs, settings.attributes, task.drawn)
        self.prompts = conditioning_of(base, prompts).to(self.device)
        self.schedule = base.scheduler()
        self.alphas = self.schedule.alphas_cumprod.to(self.device)
        # Before the UNet that trains: two of a large base may not fit side by side.
        self.prior = prior_latents(base, task.start, task.seed, work) if settings.prior_share else None
        torch.manual_seed(task.seed)  # peft draws the first LoRA factor
        self.unet = self._unet()
        trained = {name: value for name, value in self.unet.named_parameters() if value.requires_grad}
        self.state = TrainingState(
            trained, settings.learning_rate, settings.ema_decay, gradient_clip=settings.gradient_clip
        )
        remedy = "set adapt.gradient_checkpointing=true or take a smaller base"
        self.memory = MemoryBatch(f"adapter {task.name!r}", remedy, settings.batch)
        self.weights = class_weights(self.cache.labels[self.training], len(pairs.classes))
        self.checkpoint = work / f"{path_name(task.name)}.checkpoint.safetensors"
        self.header = {"key": self._key(pairs)}
        self.state.load(self.checkpoint, self.header)

    def _key(self, pairs: PairArrays) -> str:
        start = self.task.start.digest if self.task.start else ""
        task = self.task
        parts = [self.base.digest, task.data_digest, start, task.name, task.seed, pairs.pair_ids]
        return hashlib.sha256(f"{parts} {self.settings.model_dump_json()}".encode()).hexdigest()

    def _cache(self, pairs: PairArrays, work: Path) -> LatentCache:
        side = int(self.base.unet_side * self.base.downscale)

        @cache
        def encoder() -> Callable[[np.ndarray], Tensor]:
            return image_encoder(self.base.vae().to(self.device), self.base)

        def encode(images: np.ndarray) -> Tensor:
            return encoder()(images)  # which is not there before there is something to encode

        # No more views than the training can draw: a large class takes half as long to encode as to train on.
        views = min(DIHEDRAL, math.ceil(self.settings.steps * self.settings.batch / len(pairs)))
        key = f"{self.base.digest} {self.task.data_digest}"
        codec = bound_codec(self.codec, encode)
        return build_latent_cache(pairs, encode, codec, work / "latents", key, side, views)

    def _unet(self) -> Any:
        unet = joint_unet(self.base, self.codec).requires_grad_(False)
        check_targets(unet, self.settings.targets, self.base)
        if self.task.start:
            add_adapter(unet, self.task.start)
        else:
            unet.add_adapter(lora_config(self.settings), adapter_name="default")
        for value in outer_parameters(unet).values():
            value.requires_grad_(True)
        if self.settings.gradient_checkpointing:
            unet.enable_gradient_checkpointing()
        if self.settings.bf16 and not self.settings.dora:  # DoRA computes with the frozen weights themselves
            round_frozen_weights(unet)
        compute_norms_in_float(unet, self.device)
        if self.device.type == "cpu":
            # Written out, attention has the faster way back there: a step takes 8 % less than by torch's own.
            unet.set_attn_processor(AttnProcessor())
        # peft's DoRA views the weights of convolutions as they lie, which channels last does not allow.
        layout = torch.contiguous_format if self.settings.dora else torch.channels_last
        return unet.to(self.device, memory_format=layout).train()

    def run(self, progress: Progress) -> None:
        """Trains until the steps are done or validation stops improving, from wherever the checkpoint stands."""
        state, settings = self.state, self.settings
        if "best_step" not in state.notes:
            self.validate()
        started, first = time.monotonic(), state.step
        try:
            while state.step < settings.steps and state.notes["bad"] < settings.patience:
                terms = self.step()
                if state.step % settings.validate_every == 0 or state.step == settings.steps:
                    self.validate(terms)
                if state.step % settings.checkpoint_every == 0:
                    state.save(self.checkpoint, self.header)
                rate = (state.step - first) / max(time.monotonic() - started, 1e-9)
                progress(state.step, settings.steps, rate=rate, **terms)
        except StopRequested:
            state.save(self.checkpoint, self.header)
            raise
        state.save(self.checkpoint, self.header)

    def step(self) -> dict[str, float]:
        """The loss and its terms of one optimiser step.

        Where the GPU's memory is full, the step goes on with fewer pairs at a time and the same samples.
        """
        return self.memory.fit(self._attempt)

    def _attempt(self) -> dict[str, float]:
        self.state.optimizer.zero_grad(set_to_none=True)  # of an attempt that did not fit
        loss, terms = self._loss_of_step()
        self.state.update(loss, warmed_up_cosine(self.state.step, self.settings.steps, self.settings.warmup))
        return {"loss": float(loss.detach()), **terms}

    def _loss_of_step(self) -> tuple[Tensor, dict[str, float]]:
        numbers, generator = step_generators(self.task.seed, self.state.step)
        batch = self.settings.batch
        indices = self.training[numbers.choice(len(self.training), batch, p=self.weights)]
        views = numbers.integers(0, self.cache.latents.shape[1], batch)
        silent = len(self.prompts) - 1
        places = np.where(numbers.random(batch) < self.settings.prompt_dropout, silent, self.prompt_places[indices])
        clean = self.cache.batch(indices, views)
        if self.prior is not None:
            chosen, drawn = prior_places(numbers, batch, self.settings.prior_share, len(self.prior))
            clean[chosen], places[chosen] = self.prior[drawn], silent
        noise = torch.randn(clean.shape, generator=generator)
        levels = self.schedule.config.num_train_timesteps
        # Stratified noise levels: one step covers the range evenly (Kingma et al. 2021, I.1).
        offsets = (torch.arange(batch) + torch.rand(batch, generator=generator)) / batch
        timesteps = (offsets * levels).long().clamp(max=levels - 1)
        quiet = quiet_pairs(self.alphas, timesteps.to(self.device), self.settings.objective).clamp(min=1)
        total, sums = torch.zeros((), device=self.device), dict[str, float]()
        parts = self.memory.parts(batch)
        for number, part in enumerate(parts):
            share = len(clean[part]) / batch
            loss, terms = self.loss(clean[part], noise[part], timesteps[part], places[part], quiet * share)
            for name, value in terms.items():
                sums[name] = sums.get(name, 0.0) + share * float(value)
            if number < len(parts) - 1:
                (share * loss).backward()
                loss = loss.detach()
            total = total + share * loss
        return total, sums

    def loss(
        self, clean: Tensor, noise: Tensor, timesteps: Tensor, places: np.ndarray, quiet_count: Tensor | None = None
    ) -> tuple[Tensor, dict[str, Tensor]]:
        """Loss and named terms of clean latents and noise (B, C + M, h, w) at `timesteps` (B,).

        places: (B,), the place of each pair's prompt; quiet_count: as in `joint_loss`.
        """
        clean, noise, timesteps = clean.to(self.device), noise.to(self.device), timesteps.to(self.device)
        alpha, sigma = alpha_sigma(self.alphas, timesteps)
        noisy = alpha * clean + sigma * noise
        context = self.prompts[torch.from_numpy(places).to(self.device)]
        with torch.autocast(self.device.type, torch.bfloat16, enabled=self.settings.bf16):
            entering = noisy.contiguous(memory_format=torch.channels_last)
            output = context.output_of(self.unet, entering, timesteps)
        return joint_loss(
            output.float(),
            clean,
            noise,
            noisy,
            timesteps,
            self.alphas,
            self.schedule.config.prediction_type,
            self.codec,
            self.settings.objective,
            quiet_count,
        )

    @torch.no_grad()
    def validate(self, terms: dict[str, float] | None = None) -> None:
        """Notes the loss of the averaged weights on held-out pairs, and keeps these weights if it is the lowest."""
        notes, state = self.state.notes, self.state
        loss = self.held_out_loss()
        if not math.isfinite(loss):
            raise TrainingDiverged(state.step)
        notes["history"] = [*notes.get("history", []), {"step": float(state.step), "validation": loss, **(terms or {})}]
        notes.setdefault("first_loss", loss)
        if loss < notes.get("best_loss", float("inf")):
            state.extra = {name: value.clone() for name, value in state.ema.items()}
            notes |= {"best_loss": loss, "best_step": state.step, "bad": 0}
        else:
            notes["bad"] += 1

    @torch.no_grad()
    def held_out_loss(self) -> float:
        """Loss of the averaged weights on held-out pairs, with the same noise every time."""
        trained = {name: value.detach().clone() for name, value in self.state.parameters.items()}
        self._set_parameters(self.state.ema)
        try:
            return self.memory.fit(self._loss_of_held_out)
        finally:
            self._set_parameters(trained)

    @torch.no_grad()
    def _set_parameters(self, values: Mapping[str, Tensor]) -> None:
        for name, parameter in self.state.parameters.items():
            parameter.copy_(values[name])

    def _loss_of_held_out(self) -> float:
        """Mean loss over held-out pairs and noise levels; noise and levels follow from the place of a pair alone."""
        pairs = validation_pairs(self.held_out)
        levels = self.schedule.config.num_train_timesteps
        offsets = (torch.arange(len(pairs)) + 0.5) / len(pairs)
        losses = []
        for start in range(0, len(pairs), self.settings.batch):
            chosen = slice(start, start + self.settings.batch)
            indices, offset = pairs[chosen], offsets[chosen]
            clean = self.cache.batch(indices, np.zeros(len(indices), dtype=np.int64))
            places = self.prompt_places[indices]
            for level in range(_VALIDATION_LEVELS):
                noise = torch.randn(clean.shape, generator=torch.Generator().manual_seed(1000 * start + level))
                timesteps = ((level + offset) / _VALIDATION_LEVELS * levels).long()
                quiet = quiet_pairs(self.alphas, timesteps.to(self.device), self.settings.objective).clamp(min=1)
                for part in self.memory.parts(len(indices)):
                    share = len(timesteps[part]) / len(indices)
                    loss, _ = self.loss(clean[part], noise[part], timesteps[part], places[part], quiet * share)
                    losses.append(float(loss) * len(timesteps[part]))
        return sum(losses) / (len(pairs) * _VALIDATION_LEVELS)

    def write(self, out_file: Path) -> str:
        """Writes the best averaged weights as an adapter file and returns its digest."""
        self._set_parameters(self.state.extra)
        notes = self.state.notes
        provenance = {
            "name": self.task.name,
            "classes": list(self.cache.classes) if self.task.name == DOMAIN else [self.task.name],
            "prompt": "" if self.task.name == DOMAIN else prompt_for(self.task.name, drawn=self.task.drawn),
            "base_digest": self.base.digest,
            "data_digest": self.task.data_digest,
            "seed": self.task.seed,
            "pairs": len(self.training),
            "best_step": notes["best_step"],
            "validation_loss": [notes["first_loss"], notes["best_loss"]],
            "settings": self.settings.model_dump(mode="json"),
        }
        return save_adapter(out_file, adapter_tensors(self.unet), lora_config(self.settings), self.codec, provenance)
