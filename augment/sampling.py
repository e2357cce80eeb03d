"""Drawing pairs with the joint denoiser: seeded, guided, from noise or around something already known."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass, replace
from typing import Any

import cv2
import numpy as np
import torch
from torch import Tensor

from augment.adapters import AdapterFile, fused_unet
from augment.base.conditioning import Conditioning, conditioning_of, joined_conditioning
from augment.base.folder import BaseFolder, decode_images, image_encoder
from augment.base.memory import MemoryBatch, joined
from augment.joint import compute_norms_in_float
from augment.mask_codec import MaskCodec, bound_codec
from augment.settings import SamplingSettings
from manifests.errors import BadInput

ROUNDS = 4  # through each noise level around a given mask or image
_SPECK = 0.05  # parts below this share of the largest one are decoding noise


@dataclass(frozen=True)
class Drawn:
    """images: uint8 (B, H, W, 3); masks: bool (B, H, W)."""

    images: np.ndarray
    masks: np.ndarray


@dataclass(frozen=True)
class Known:
    """What is held fixed while sampling (replacement after Lugmayr et al. 2022).

    latents: clean values (B, C + M, h, w); region: 1 where they hold, 0 where the denoiser is free, same shape;
    strength: share of the noise that sampling starts from (1 starts from noise alone); rounds: times that each noise
    level is gone through, noised again in between, so that what is free comes to fit what is held (resampling there).
    """

    latents: Tensor
    region: Tensor
    strength: float = 1.0
    rounds: int = 1

    def part(self, chosen: slice) -> Known:
        """What is known of the pairs `chosen`."""
        return replace(self, latents=self.latents[chosen], region=self.region[chosen])


def make_sampler(config: Any, name: str) -> Any:
    """The diffusers scheduler `name` for a base's schedule; the prediction type stays the schedule's own."""
    from diffusers import DPMSolverMultistepScheduler, EulerDiscreteScheduler

    if name == "euler":
        return EulerDiscreteScheduler.from_config(config, timestep_spacing="trailing")
    # DDIM is the first-order solver (Lu et al. 2022, section 4.1); diffusers' own takes no levels of the caller's.
    algorithm, order = {"ddim": ("dpmsolver++", 1), "dpm++": ("dpmsolver++", 2), "dpm++sde": ("sde-dpmsolver++", 2)}[
        name
    ]
    return DPMSolverMultistepScheduler.from_config(
        config, algorithm_type=algorithm, solver_order=order, timestep_spacing="trailing", final_sigmas_type="zero"
    )


def noise_levels(steps: int, levels: int, spacing: float) -> list[int]:
    """The `steps` of `levels` noise levels at which a pair is denoised, from the noisiest, each below the one before.

    spacing: 1 spaces them evenly; the greater it is, the more of them lie at high noise, where colour, size and place
    are decided.
    """
    found = levels
    chosen = []
    for number in range(steps):
        wanted = round(levels * (1 - (number / steps) ** spacing)) - 1
        found = max(min(wanted, found - 1), steps - 1 - number)
        chosen.append(found)
    return chosen


def rescaled_guidance(conditional: Tensor, unconditional: Tensor, guidance: float, rescale: float) -> Tensor:
    """Classifier-free guidance (Ho and Salimans 2022), rescaled as in Lin et al. 2024, equations 14 to 16."""
    guided = unconditional + guidance * (conditional - unconditional)
    if rescale == 0:
        return guided
    dims = tuple(range(1, guided.ndim))
    matched = guided * (conditional.std(dim=dims, keepdim=True) / guided.std(dim=dims, keepdim=True))
    return rescale * matched + (1 - rescale) * guided


def noise_for(seeds: Sequence[int], shape: tuple[int, ...]) -> Tensor:
    """Standard normal noise (len(seeds), *shape), each row from its own seed alone."""
    return torch.stack([torch.randn(shape, generator=torch.Generator().manual_seed(seed)) for seed in seeds])


def tidy_mask(mask: np.ndarray) -> np.ndarray:
    """Fills holes and drops specks of a bool mask (H, W)."""
    count, parts, stats, _ = cv2.connectedComponentsWithStats(mask.astype(np.uint8), connectivity=8)
    if count <= 1:
        return mask
    areas = stats[1:, cv2.CC_STAT_AREA]
    kept = np.isin(parts, 1 + np.flatnonzero(areas >= _SPECK * areas.max())).astype(np.uint8)
    outlines, _ = cv2.findContours(kept, cv2.RETR_EXTERNAL, cv2.CHAIN_APPROX_NONE)
    return cv2.drawContours(kept, outlines, -1, 1, thickness=cv2.FILLED).astype(bool)


class PairSampler:
    """Draws pairs of one adapter (or of a joint base alone); holds the denoiser and the decoder in memory."""

    def __init__(
        self,
        base: BaseFolder,
        adapter: AdapterFile | None,
        settings: SamplingSettings,
        dtype: str = "float32",
    ) -> None:
        self.base, self.settings = base, settings
        codec = adapter.codec if adapter else base.codec
        self.attributes = adapter.attributes if adapter else ()
        self.device = torch.device("cuda" if torch.cuda.is_available() else "cpu")
        self.dtype = getattr(torch, dtype)
        self.unet = fused_unet(base, adapter).to(self.device, self.dtype, memory_format=torch.channels_last)
        compute_norms_in_float(self.unet, self.device)
        assert codec is not None  # fused_unet refuses a base without mask channels and without adapter
        self.vae = base.vae().to(self.device)
        self._encoded = image_encoder(self.vae, base)
        self.codec: MaskCodec = bound_codec(codec, self._encoded, self._decoded)
        self.schedule = base.scheduler()
        self.latent_side = int(self.unet.config.sample_size)
        self._told: dict[str, Conditioning] = {}
        remedy = "set base.dtype=bfloat16 or take a smaller base"
        self._drawing, self._decoding = (MemoryBatch(f"{base.path / part}", remedy) for part in ("unet", "vae"))

    @property
    def side(self) -> int:
        """Side of the drawn images in pixels."""
        return self.latent_side * self.base.downscale

    def draw(
        self, prompts: Sequence[str], seeds: Sequence[int], known: Known | None = None, tidy: bool = True
    ) -> Drawn:
        """One pair per prompt and seed; the same seeds, prompts and batch give the same pairs.

        Where a GPU's memory is full it goes on with fewer at a time, from the same seeds.
        """
        drawn = self._drawing.fit(
            lambda: [
                self.latents(prompts[part], seeds[part], known.part(part) if known else None)
                for part in self._drawing.parts(len(seeds))
            ]
        )
        latents = joined(drawn)
        channels = self.codec.channels
        images = self._decoded(latents[:, :-channels])
        masks = self.codec.decode(latents[:, -channels:], images.shape[1])
        return Drawn(images, np.stack([tidy_mask(mask) for mask in masks]) if tidy else masks)

    def _decoded(self, latents: Tensor) -> np.ndarray:
        memory = self._decoding
        return np.concatenate(
            memory.fit(
                lambda: [decode_images(self.vae, self.base, latents[part]) for part in memory.parts(len(latents))]
            )
        )

    @torch.inference_mode()
    def latents(self, prompts: Sequence[str], seeds: Sequence[int], known: Known | None = None) -> Tensor:
        """Clean latents (B, C + M, h, w) of the pairs that `draw` decodes."""
        sampler = make_sampler(self.schedule.config, self.settings.sampler)
        shape = (self.unet.config.in_channels, self.latent_side, self.latent_side)
        noise = noise_for(seeds, shape).to(self.device)
        timesteps = self._timesteps(sampler, known)
        start = noise * sampler.init_noise_sigma
        if known is not None and known.strength < 1:
            start = sampler.add_noise(known.latents.to(self.device), noise, timesteps[:1].repeat(len(noise)))
        generators = [torch.Generator().manual_seed(seed ^ 0x5EED) for seed in seeds]
        context = self._context(prompts)
        current = start
        for number, timestep in enumerate(timesteps):
            rounds = known.rounds if known is not None and number + 1 < len(timesteps) else 1
            for left in reversed(range(rounds)):
                if known is not None:
                    current = self._hold(current, known, noise, sampler, timestep)
                output = self._denoise(sampler.scale_model_input(current, timestep), timestep, context)
                keywords = {"generator": generators} if self.settings.sampler == "dpm++sde" else {}
                current = sampler.step(output, timestep, current, **keywords).prev_sample
                if left:
                    current = self._noised_again(current, sampler, generators)
        if known is not None:
            held = known.region.to(self.device)
            current = held * known.latents.to(self.device) + (1 - held) * current
        return current.float()

    def _timesteps(self, sampler: Any, known: Known | None) -> Tensor:
        # Evenly around what is known: there a share of the steps is a share of the noise, and masks are found better.
        spacing = self.settings.spacing if known is None else 1.0
        levels = noise_levels(self.settings.steps, sampler.config.num_train_timesteps, spacing)
        sampler.set_timesteps(timesteps=levels)
        timesteps = sampler.timesteps
        if known is None or known.strength >= 1:
            return timesteps
        skipped = min(len(timesteps) - 1, round((1 - known.strength) * len(timesteps)))
        if hasattr(sampler, "set_begin_index"):
            sampler.set_begin_index(skipped)
        return timesteps[skipped:]

    def _noised_again(self, current: Tensor, sampler: Any, generators: Sequence[torch.Generator]) -> Tensor:
        """Takes the sampler's last step back: what it made, noised to the level that it began at."""
        index = sampler.step_index - 1
        before, after = sampler.sigmas[index : index + 2]
        sampler.set_timesteps(timesteps=sampler.timesteps.tolist())
        sampler.set_begin_index(index)
        fresh = torch.stack([torch.randn(current.shape[1:], generator=generator) for generator in generators])
        added = (before**2 - after**2).sqrt() * fresh.to(current)
        if self.settings.sampler == "euler":  # which adds noise to clean values and scales nothing
            return current + added
        return ((1 + after**2).sqrt() * current + added) / (1 + before**2).sqrt()

    def _hold(self, current: Tensor, known: Known, noise: Tensor, sampler: Any, timestep: Tensor) -> Tensor:
        noisy = sampler.add_noise(known.latents.to(self.device), noise, timestep.reshape(1).repeat(len(noise)))
        held = known.region.to(self.device)
        return held * noisy + (1 - held) * current

    def _denoise(self, current: Tensor, timestep: Tensor, context: tuple[Conditioning, Conditioning]) -> Tensor:
        conditional, unconditional = context
        entering = current.to(self.dtype)
        # Guidance at low noise costs detail and a second pass, and decides nothing; at the highest it costs variety
        # (Kynkäänniemi et al. 2024).
        level = float(timestep) / self.schedule.config.num_train_timesteps
        guided = self.settings.guidance_above <= level <= self.settings.guidance_below
        if self.settings.guidance == 1 or not guided:
            return conditional.output_of(self.unet, entering, timestep).float()
        # One pass over both halves: half the calls, the same arithmetic per pair.
        doubled = torch.cat([entering, entering]).contiguous(memory_format=torch.channels_last)
        output = joined_conditioning([conditional, unconditional]).output_of(self.unet, doubled, timestep).float()
        first, second = output.chunk(2)
        return rescaled_guidance(first, second, self.settings.guidance, self.settings.guidance_rescale)

    def _context(self, prompts: Sequence[str]) -> tuple[Conditioning, Conditioning]:
        wanted = [*dict.fromkeys([*prompts, self.settings.negative_prompt])]
        new = [prompt for prompt in wanted if prompt not in self._told]
        if new:
            told = conditioning_of(self.base, new)
            self._told |= {prompt: told[slice(place, place + 1)] for place, prompt in enumerate(new)}
        chosen = joined_conditioning([self._told[prompt] for prompt in prompts])
        silent = joined_conditioning([self._told[self.settings.negative_prompt]] * len(prompts))
        return chosen.to(self.device, self.dtype), silent.to(self.device, self.dtype)

    def encode_pair(self, images: np.ndarray, masks: np.ndarray) -> Tensor:
        """uint8 images (B, S, S, 3) and bool masks (B, S, S) -> clean joint latents (B, C + M, h, w)."""
        image = self._encoded(images)
        mask = torch.from_numpy(self.codec.encode(masks, image.shape[-1])).to(image)
        return torch.cat([image, mask], dim=1)

    def given_mask(self, masks: np.ndarray, rounds: int = ROUNDS) -> Known:
        """Holds the caller's masks (B, S, S) while the images follow them, `rounds` times through each noise level.

        Raises BadInput if one is empty or full.
        """
        for number, mask in enumerate(masks):
            if not mask.any() or mask.all():
                kind = "full" if mask.any() else "empty"
                raise BadInput(f"mask {number + 1} of {len(masks)} is {kind}; give one with a lesion and skin")
        values = torch.from_numpy(self.codec.encode(masks, self.latent_side))
        images = torch.zeros(len(values), self.base.latent_channels, *values.shape[2:])
        region = self._region(len(values), image=0.0, mask=1.0)
        return Known(torch.cat([images, values], dim=1), region, rounds=rounds)

    def given_image(self, images: np.ndarray, rounds: int = ROUNDS) -> Known:
        """Holds the images (B, S, S, 3) while the denoiser finds their masks, `rounds` times through each level."""
        empty = np.zeros(images.shape[:3], dtype=bool)
        region = self._region(len(images), image=1.0, mask=0.0)
        return Known(self.encode_pair(images, empty), region, rounds=rounds)

    def inside_mask(
        self, images: np.ndarray, masks: np.ndarray, strength: float, regions: np.ndarray | None = None, rounds: int = 1
    ) -> Known:
        """Frees the image inside the masks only (B, S, S), from noise of `strength`; the mask is held.

        regions: bool (B, S, S), what is freed instead where it is more than the mask; rounds: as in `Known`.
        """
        known = Known(self.encode_pair(images, masks), self._region(len(images), 1.0, 1.0), strength, rounds)
        area = torch.from_numpy((masks if regions is None else regions)[:, None].astype(np.float32))
        side = known.latents.shape[-1]
        inside = torch.nn.functional.adaptive_max_pool2d(area, (side, side)).to(known.latents)
        region = known.region.clone()
        region[:, : self.base.latent_channels] = 1 - inside
        return replace(known, region=region)

    def _region(self, count: int, image: float, mask: float) -> Tensor:
        side = self.latent_side
        channels = [image] * self.base.latent_channels + [mask] * self.codec.channels
        return torch.tensor(channels).view(1, -1, 1, 1).repeat(count, 1, side, side)
