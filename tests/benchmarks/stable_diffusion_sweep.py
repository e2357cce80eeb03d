"""Adapter steps/s, pairs/s and peak memory of a Stable Diffusion base by batch size, eager and compiled.

    python tests/benchmarks/stable_diffusion_sweep.py --out FOLDER --work FOLDER [--narrow] [--seconds 200]

Beside our training stands the loop of diffusers' examples/text_to_image/train_text_to_image_lora.py: the same network,
rank, targets and batch, but pictures and prompts encoded at every step and no mask. It stops measuring when its seconds
are over, the plainest figures first; FOLDER/sweep.csv has a row as soon as it is measured.
"""

from __future__ import annotations

import argparse
import csv
import sys
import time
from collections.abc import Callable, Iterator, Sequence
from dataclasses import asdict, dataclass
from pathlib import Path

sys.path.insert(0, str(Path(__file__).parents[2]))

import numpy as np
import torch

from augment.adapters import read_adapter
from augment.base.folder import BaseFolder, check_base
from augment.sampling import PairSampler
from augment.settings import AdaptSettings, SamplingSettings
from augment.training.adapter import DOMAIN, AdapterTrainer, AdaptTask
from augment.training.device import half_precision, training_device
from manifests.pairs import PairArrays
from manifests.phantom.draw import phantom_arrays
from manifests.progress import StopRequested
from tests.augment.base.tiny_bases import write_narrow_base
from tests.benchmarks.stable_diffusion_speed import write_full_base

ATTENTION = ("to_q", "to_k", "to_v", "to_out.0")
# Where there is no GPU nothing is to be gained, and only the way there is tried.
BACKEND = "inductor" if torch.cuda.is_available() else "eager"
ADAPTER = "adapter.safetensors"
PROMPT = "dermoscopy of melanoma"


@dataclass(frozen=True)
class Row:
    """One measurement. rate: steps/s of a training, pairs/s of drawing; memory: peak on the GPU in GiB, 0 without."""

    what: str
    batch: int
    compiled: bool
    rate: float
    memory: float
    first: float  # seconds until the first step was done


class Clock:
    """Counts steps, the first `warmup` of which only warm up."""

    def __init__(self, steps: int, warmup: int = 2) -> None:
        self.steps, self.warmup, self.times = steps, warmup, [time.monotonic()]
        if torch.cuda.is_available():
            torch.cuda.reset_peak_memory_stats()

    def tick(self) -> bool:
        """Notes the end of a step; whether there were enough."""
        if torch.cuda.is_available():
            torch.cuda.synchronize()
        self.times.append(time.monotonic())
        return len(self.times) > self.steps + self.warmup

    def row(self, what: str, batch: int, compiled: bool, units: int = 1) -> Row:
        """The measurement, `units` to a step."""
        measured = self.times[self.warmup :]
        rate = units * (len(measured) - 1) / (measured[-1] - measured[0])
        peak = torch.cuda.max_memory_allocated() / 2**30 if torch.cuda.is_available() else 0.0
        return Row(what, batch, compiled, round(rate, 3), round(peak, 2), round(self.times[1] - self.times[0], 2))


def our_training(
    base: BaseFolder, pairs: PairArrays, batch: int, compiled: bool, steps: int, work: Path, checkpointing: bool
) -> Row:
    """Steps of the domain adapter, from cached latents; it is left in `work` for `drawing`."""
    settings = AdaptSettings(
        domain_steps=10_000, batch=batch, learning_rate=1e-4, warmup=1, targets=ATTENTION, min_pairs=4,
        gradient_checkpointing=checkpointing, validate_every=10_000, checkpoint_every=10_000,
    )  # fmt: skip
    trainer = AdapterTrainer(pairs, AdaptTask(DOMAIN, 0, "phantom"), base, settings, work)
    if compiled:
        trainer.unet = torch.compile(trainer.unet, backend=BACKEND)
    clock = Clock(steps)

    def progress(done: int, total: int, **figures: float | str) -> None:
        if clock.tick():
            raise StopRequested

    trainer.state.notes |= {"best_step": 0, "first_loss": 0.0, "best_loss": 0.0, "bad": 0}  # nothing is validated
    try:
        trainer.run(progress)
    except StopRequested:
        trainer.checkpoint.unlink(missing_ok=True)
    if not compiled:
        trainer.state.extra = trainer.state.ema
        trainer.write(work / ADAPTER)
    return clock.row("adapter, ours", batch, compiled)


def their_training(base: BaseFolder, pairs: PairArrays, batch: int, steps: int, checkpointing: bool) -> Row:
    """Steps of diffusers' LoRA example on the same pictures."""
    from peft import LoraConfig

    from augment.base.patch_code import image_tensor
    from augment.base.text_encoder import tokens_of

    device = training_device()
    unet, vae, text = base.unet(), base.vae(), base.text_encoder()
    for part in (unet, vae, text):
        part.requires_grad_(False).to(device, torch.bfloat16)
    unet.add_adapter(LoraConfig(r=16, lora_alpha=16, init_lora_weights="gaussian", target_modules=list(ATTENTION)))
    trained = [value for value in unet.parameters() if value.requires_grad]
    for value in trained:
        value.data = value.data.float()
    if checkpointing:
        unet.enable_gradient_checkpointing()
    unet.train()
    schedule, optimizer = base.scheduler(), torch.optim.AdamW(trained, lr=1e-4)
    tokens = tokens_of(base.tokenizer(), [PROMPT] * batch).to(device)
    clock, numbers = Clock(steps), np.random.default_rng(0)
    enough = False
    while not enough:
        pictures = image_tensor(pairs.images[numbers.integers(0, len(pairs), batch)]).to(device, torch.bfloat16)
        latents = (vae.encode(pictures).latent_dist.sample() * base.scaling_factor).float()
        noise = torch.randn_like(latents)
        levels = torch.randint(0, schedule.config.num_train_timesteps, (batch,), device=device)
        noisy = schedule.add_noise(latents, noise, levels)
        with half_precision(device):
            output = unet(noisy, levels, text(tokens).last_hidden_state).sample
        loss = torch.nn.functional.mse_loss(output.float(), noise)
        loss.backward()
        torch.nn.utils.clip_grad_norm_(trained, 1.0)
        optimizer.step()
        optimizer.zero_grad()
        enough = clock.tick()
    return clock.row("adapter, diffusers' example", batch, False)


def drawing(base: BaseFolder, batch: int, compiled: bool, levels: int, work: Path) -> Row:
    """Pairs of the base with the adapter that `our_training` left, `levels` noise levels each."""
    settings = SamplingSettings(steps=levels, guidance=4.0, guidance_above=0.4, spacing=1.0, batch=batch)
    joint = PairSampler(base, read_adapter(work / ADAPTER), settings, "bfloat16")
    if compiled:
        joint.unet = torch.compile(joint.unet, backend=BACKEND)
    clock = Clock(1, warmup=1)
    while True:
        joint.draw([PROMPT] * batch, list(range(batch)))
        if clock.tick():
            return clock.row("pairs drawn", batch, compiled, batch)


def measurements(base: BaseFolder, work: Path, narrow: bool) -> Iterator[Callable[[], Row]]:
    """What is measured, the plainest first."""
    side = base.unet_side * base.downscale
    pairs = phantom_arrays(16, 0, side)
    steps, levels, checkpointing = (1, 2, False) if narrow else (6, 25, True)
    chosen = ((2, False), (2, True)) if narrow else ((4, False), (16, False), (16, True), (8, False), (32, False))
    for batch, compiled in chosen:
        if not (narrow and compiled):  # compiling takes longest there, and drawing shows that it works
            yield lambda b=batch, c=compiled: our_training(base, pairs, b, c, steps, work, checkpointing)
        if not compiled:
            yield lambda b=batch: their_training(base, pairs, b, steps, checkpointing)
        yield lambda b=batch, c=compiled: drawing(base, b, c, levels, work)


def main(arguments: Sequence[str] | None = None) -> int:
    """Measures until all is measured or the seconds are over."""
    parser = argparse.ArgumentParser(description=(__doc__ or "").splitlines()[0])
    parser.add_argument("--out", type=Path, required=True)
    parser.add_argument("--work", type=Path, required=True, help="the base and adapters")
    parser.add_argument("--narrow", action="store_true", help="a narrow base at 64 px")
    parser.add_argument("--seconds", type=float, default=200)
    chosen = parser.parse_args(arguments)
    started, folder = time.monotonic(), chosen.work / "base"
    chosen.out.mkdir(parents=True, exist_ok=True)
    if not (folder / "model_index.json").exists():
        write_narrow_base(folder) if chosen.narrow else write_full_base(folder)
    with (chosen.out / "sweep.csv").open("w", newline="") as file:
        writer = csv.DictWriter(file, [*Row.__annotations__, "failed"])
        writer.writeheader()
        for measure in measurements(check_base(folder), chosen.work / "work", chosen.narrow):
            if time.monotonic() - started > chosen.seconds:
                break
            try:
                row = asdict(measure())
            except Exception as error:  # one batch that does not fit or compile must not cost the other figures
                row = {"failed": f"{type(error).__name__}: {str(error)[:120]}"}
            writer.writerow(row)
            file.flush()
            print(row, flush=True)
            if torch.cuda.is_available():
                torch.cuda.empty_cache()
    return 0


if __name__ == "__main__":
    sys.exit(main())
