"""What our loops cost beside those that people would write or run instead, on the same network and pictures.

    python tests/benchmarks/peers.py --out .readme/speed.csv --repeats 3 [--run RUN]

Both sides take turns in one process on one thread, and a figure is in seconds of that processor, which other work
moves little. The file that was there stays until all is measured. Nothing is asserted. RUN is a finished run, on whose
candidates the search for repeats is measured.

adapter: steps of AdapterTrainer against those of diffusers' examples/text_to_image/train_text_to_image_lora.py, written
    out: pictures from files, VAE and text encoder in every step. The script itself takes neither mask channels nor this
    base's autoencoder. Latents are cached before our steps, which `encoding` counts.
pairs: the default sampling, as runs do it, against 50 DDIM steps, each guided, of the same network and decoder;
    `defaults`: these in the single precision that pipelines have by default.
segmenter: `Segmenter.fit` against a DataLoader of PNG files and a plain loop over the same network, policy and loss.
reading: a manifest decoded into arrays against `datasets` doing so.
repeats: neighbours along a graph against comparing with all.
"""

from __future__ import annotations

import argparse
import csv
import os
import platform
import statistics
import sys
import tempfile
import time
from collections.abc import Callable, Iterator
from functools import partial
from importlib.metadata import version
from pathlib import Path
from typing import Any

os.environ |= {"OMP_NUM_THREADS": "1", "OMP_WAIT_POLICY": "PASSIVE"}
sys.path.insert(0, str(Path(__file__).parents[2]))

import cv2
import numpy as np
import torch

from manifests.files import written_in_pieces
from manifests.pairs import PairArrays
from tests.benchmarks.pair_files import SIDE, Files, batches, lesions

BATCH = 16
STEPS, DRAWN, UPDATES = 4, 4, 6
SIDES = ("ours", "theirs", "encoding")
Timed = Callable[[], float]
"""Does its work once; processor seconds for a sample."""
HEADINGS = ("comparison", "side", "seconds", "least", "most", "repeats", "note", "load", "machine", "versions")
LIBRARIES = ("torch", "diffusers", "peft", "segmentation-models-pytorch", "datasets", "faiss-cpu")


def timed(work: Callable[[], object], samples: int) -> float:
    """Processor seconds of `work` for one of its samples."""
    started = time.process_time()
    work()
    return (time.process_time() - started) / samples


def adapter(pairs: PairArrays, folder: Path) -> tuple[Timed, Timed, Timed]:
    """Our step, theirs, and our encoding, for one sample."""
    from augment.base.folder import image_encoder, open_base
    from augment.settings import AdaptSettings, CheckpointSettings
    from augment.training.adapter import AdapterTrainer, AdaptTask

    base, settings = open_base(CheckpointSettings()), AdaptSettings(steps=300, rank=16, batch=BATCH, prior_share=0.0)
    trainer = AdapterTrainer(pairs, AdaptTask("mel", 0, "data"), base, settings, folder / "work")
    step = their_step(pairs, folder, base, trainer)
    encode = image_encoder(base.vae(), base)
    return (
        lambda: timed(lambda: [trainer.step() for _ in range(STEPS)], STEPS * BATCH),
        lambda: timed(lambda: [step() for _ in range(STEPS)], STEPS * BATCH),
        lambda: timed(lambda: encode(pairs.images[:32]), 32),
    )


def their_step(pairs: PairArrays, folder: Path, base: Any, trainer: Any) -> Callable[[], None]:
    """A step as train_text_to_image_lora.py has it, bf16, with a mask encoded beside the picture."""
    from augment.adapters import joint_unet, lora_config
    from augment.base.text_encoder import tokens_of
    from augment.prompts import prompt_for

    vae, text, tokenizer = base.vae().to(torch.bfloat16), base.text_encoder().to(torch.bfloat16), base.tokenizer()
    unet = joint_unet(base, trainer.codec).requires_grad_(False).to(torch.bfloat16)
    unet.add_adapter(lora_config(trainer.settings), adapter_name="default")
    trained = [value for value in unet.parameters() if value.requires_grad]
    optimizer = torch.optim.AdamW(trained, lr=1e-4)
    side = trainer.cache.latents.shape[-1]

    def transform(image: np.ndarray, mask: np.ndarray) -> tuple[torch.Tensor, torch.Tensor, torch.Tensor]:
        if np.random.random() < 0.5:
            image, mask = image[:, ::-1], mask[:, ::-1]
        pixels = torch.from_numpy(image.copy()).permute(2, 0, 1).float() / 127.5 - 1
        known = torch.from_numpy(trainer.codec.encode(np.ascontiguousarray(mask)[None], side))[0]
        return pixels, known, tokens_of(tokenizer, [prompt_for("mel")])[0]

    drawn, schedule = batches(Files(pairs, folder / "pictures", transform), BATCH), base.scheduler()

    def step() -> None:
        pixels, masks, tokens = next(drawn)
        with torch.no_grad():
            coded = vae.encode(pixels.to(torch.bfloat16))
            image = coded.latent if hasattr(coded, "latent") else coded.latent_dist.sample()
            context = text(tokens)[0]
        latents = torch.cat([(image * base.scaling_factor).float(), masks], 1)
        noise, timesteps = torch.randn_like(latents), torch.randint(0, schedule.config.num_train_timesteps, (BATCH,))
        noisy, target = schedule.add_noise(latents, noise, timesteps), schedule.get_velocity(latents, noise, timesteps)
        with torch.autocast("cpu", torch.bfloat16):
            output = unet(noisy, timesteps, context).sample
        torch.nn.functional.mse_loss(output.float(), target).backward()
        torch.nn.utils.clip_grad_norm_(trained, 1.0)
        optimizer.step()
        optimizer.zero_grad()

    return step


def sampling(precision: str) -> tuple[Timed, Timed]:
    """A pair as our defaults draw it, and by 50 guided steps in `precision`."""
    from augment.base.folder import open_base
    from augment.prompts import prompt_for
    from augment.sampling import PairSampler
    from augment.settings import CheckpointSettings, SamplingSettings

    stock = SamplingSettings(steps=50, spacing=1, guidance=7.5, guidance_above=0, sampler="ddim")
    chosen = CheckpointSettings()
    sides = ((SamplingSettings(), chosen.dtype), (stock, precision))
    samplers = [PairSampler(open_base(chosen), None, settings, dtype) for settings, dtype in sides]
    prompts, seeds = [prompt_for("mel")] * DRAWN, list(range(DRAWN))
    drawn = [partial(one.draw, prompts, seeds) for one in samplers]
    return partial(timed, drawn[0], DRAWN), partial(timed, drawn[1], DRAWN)


def segmenter(pairs: PairArrays, folder: Path) -> tuple[Timed, Timed]:
    """A sample of our downstream training, and of a plain loop."""
    from augment.classical import training_augmentation
    from evaluate.downstream.segmenter import Segmenter
    from evaluate.downstream.training import uniform_regime
    from evaluate.settings.training import SegmenterSettings

    model = Segmenter(SegmenterSettings(encoder_weights=None, batch_size=BATCH, frozen=0))
    network, (mean, deviation) = model.build(False)
    optimizer = torch.optim.AdamW(network.parameters(), lr=1e-3)
    policy, loss = training_augmentation(SIDE, 0), model.learner(network, uniform_regime(len(pairs)), None).loss

    def transform(image: np.ndarray, mask: np.ndarray) -> tuple[torch.Tensor, torch.Tensor]:
        drawn = policy.compose(image=image, mask=mask.astype(np.uint8))
        pixels = (drawn["image"] / 255 - mean) / deviation
        return torch.from_numpy(pixels).permute(2, 0, 1).float(), torch.from_numpy(drawn["mask"])[None].float()

    files = batches(Files(pairs, folder / "lesions", transform), BATCH)

    def theirs() -> None:
        network.train()
        for _ in range(UPDATES):
            images, masks = next(files)
            found = loss(network(images), masks)
            optimizer.zero_grad()
            found.backward()
            optimizer.step()

    def ours() -> float:
        moments: list[float] = []
        model.fit(pairs, updates=UPDATES + 1, progress=lambda *_, **__: moments.append(time.process_time()))
        return (moments[UPDATES - 1] - moments[0]) / ((UPDATES - 1) * BATCH)

    return ours, lambda: timed(theirs, UPDATES * BATCH)


def reading(manifest: Path) -> tuple[Timed, Timed]:
    """A pair decoded from a manifest by us, and by `datasets`."""
    import datasets

    from manifests.format.reading import open_manifest

    files = [str(path) for path in manifest.glob("data/*/*.parquet")]
    datasets.disable_progress_bars()
    cache = str(manifest.parent / "cache")
    theirs = datasets.load_dataset("parquet", data_files=files, split="train", cache_dir=cache)

    return (
        lambda: timed(lambda: open_manifest(manifest).arrays(split=None, size=SIDE), len(theirs)),
        lambda: timed(lambda: [(np.asarray(row["image"]), np.asarray(row["mask"])) for row in theirs], len(theirs)),
    )


def repeats(run: Path) -> tuple[Timed, Timed, float, int]:
    """A look for repeats along the graph, and among all; the share that the graph finds; pictures that are known."""
    from safetensors.numpy import load_file

    from evaluate.copies.graph import graph_of
    from evaluate.copies.index import CopyIndex
    from evaluate.copies.threshold import ATTACKS, plant
    from evaluate.copies.views import VIEWS, grey_thumbnails, view

    index = CopyIndex.load(run / "work/judge/copies")
    files = sorted((run / "work/candidates").rglob("*.safetensors"))
    images = np.concatenate([load_file(file)["images"] for file in files])
    small = np.concatenate([grey_thumbnails(images), index.thumbnails])
    # Whitened detail of a picture and of its flips and turns have next to nothing in common: so many pictures more.
    known = np.concatenate([index.describe_closely(view(small, number)) for number in range(VIEWS)])
    chosen = images[np.linspace(0, len(images) - 1, 20).astype(int)]
    planted = [grey_thumbnails(plant(chosen, attack, 1)) for attack in ATTACKS]
    asked = np.concatenate([np.stack([index.describe_closely(view(t, v)) for v in range(VIEWS)], 1) for t in planted])
    limit = index.threshold.value if index.threshold else 1.0
    graph = graph_of(known)
    found = np.array([graph.search(rows, 1)[0].max() for rows in asked])
    there = np.array([(rows @ known.T).max() for rows in asked]) >= limit
    return (
        lambda: timed(lambda: [graph.search(rows, 1) for rows in asked], len(asked)),
        lambda: timed(lambda: [(rows @ known.T).max() for rows in asked], len(asked)),
        float((found[there] >= limit).mean()),
        len(known),
    )


def in_turns(sides: dict[str, Timed], times: int) -> dict[str, list[float]]:
    """Seconds of each side, which take turns; the first turn, which pays for what is loaded late, is left out."""
    took: dict[str, list[float]] = {name: [] for name in sides}
    for turn in range(times + 1):
        for name, side in sides.items():
            seconds = side()
            if turn:
                took[name].append(seconds)
    return took


def measured(folder: Path, run: Path | None, times: int) -> Iterator[tuple[str, str, list[float], str]]:
    """(comparison, side, seconds for one sample, what else is to say)."""
    from manifests.format.reading import open_manifest

    manifest = lesions(folder)
    pairs = open_manifest(manifest).arrays(split="train", size=SIDE)
    comparisons = {"adapter": adapter(pairs, folder), "segmenter": segmenter(pairs, folder)}
    comparisons |= {"pairs": sampling("bfloat16"), "defaults": sampling("float32")}
    comparisons["reading"], notes = reading(manifest), {}
    if run is not None:
        *comparisons["repeats"], recall, known = repeats(run)
        notes["repeats"] = f"recall {recall:.4f} among {known}"
    for name, sides in comparisons.items():
        for side, took in in_turns(dict(zip(SIDES, sides, strict=False)), times).items():
            yield name, side, took, notes.get(name, "")


def main() -> None:
    """Writes one row per comparison and side."""
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("--out", type=Path, required=True)
    parser.add_argument("--run", type=Path)
    parser.add_argument("--repeats", type=int, default=3)
    given = parser.parse_args()
    torch.set_num_threads(1)
    cv2.setNumThreads(1)
    libraries = " ".join(f"{name} {version(name)}" for name in LIBRARIES)
    with (
        tempfile.TemporaryDirectory() as folder,
        written_in_pieces(given.out) as path,
        path.open("w", newline="", encoding="utf-8") as stream,
    ):
        rows = csv.writer(stream, lineterminator="\n")
        rows.writerow(HEADINGS)
        for name, side, took, note in measured(Path(folder), given.run, given.repeats):
            figures = [f"{value:.6f}" for value in (statistics.median(took), min(took), max(took))]
            load = f"{os.getloadavg()[0]:.1f}"
            rows.writerow((name, side, *figures, len(took), note, load, platform.machine(), libraries))
            print(name, side, *figures, note, f"load {load}", flush=True)


if __name__ == "__main__":
    main()
