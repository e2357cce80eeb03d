"""How near training and drawing come to what this machine can do on one thread, and where the rest of the time goes.

    python tests/benchmarks/limits.py --out .readme/limits.json [--repeats 3]

The limits are those of the faster of a large matrix product and a large convolution, in either precision, and of a
large copy. Operations are those of products and convolutions, two for a multiplication with its addition; bytes are
what each operation of torch reads and writes, as if nothing were cached. Seconds are of the processor, medians of runs
that take turns, at default settings with 128 px. The time of a kind of operation is taken around each of them, in runs
of their own; what is left of a run without that is all else: Python, automatic differentiation's accounts, numpy,
OpenCV. Nothing is asserted.
"""

from __future__ import annotations

import argparse
import os
import platform
import sys
import tempfile
from contextlib import suppress
from dataclasses import replace
from importlib.metadata import version
from pathlib import Path
from typing import Any

os.environ |= {"OMP_NUM_THREADS": "1", "OMP_WAIT_POLICY": "PASSIVE"}
sys.path.insert(0, str(Path(__file__).parents[2]))

import cv2
import torch

from manifests.files import write_json
from manifests.pairs import PairArrays
from tests.benchmarks.meter import Meter, Work, measured
from tests.benchmarks.pair_files import SIDE, lesions

UPDATES, PRODUCT, CHANNELS, COPIED = 6, 2048, 256, 2**28
AUGMENTATION, ELSE = "augmentation", "all else"
PRECISIONS = {torch.bfloat16: "bf16", torch.float32: "fp32"}


def machine_work() -> dict[str, Work]:
    """What shows the machine's limits; its samples are operations, of the copy bytes read and written."""
    source, target = torch.ones(COPIED, dtype=torch.uint8), torch.empty(COPIED, dtype=torch.uint8)
    found = {"copy": Work("", 2 * COPIED, lambda: target.copy_(source))}
    for kind, name in PRECISIONS.items():
        square = torch.randn(PRODUCT, PRODUCT).to(kind)
        convolution = torch.nn.Conv2d(CHANNELS, CHANNELS, 3, padding=1).to(kind).requires_grad_(False)
        images = torch.randn(16, CHANNELS, 32, 32).to(kind).contiguous(memory_format=torch.channels_last)
        found[f"{name} product"] = Work(name, 2 * PRODUCT**3, lambda square=square: square @ square)
        operations = 2 * images.numel() * CHANNELS * 9
        found[f"{name} convolution"] = Work(name, operations, lambda c=convolution, i=images: c(i))
    return found


def adapter(pairs: PairArrays, folder: Path) -> Work:
    """Updates of an adapter, without looks at validation."""
    from augment.base.folder import open_base
    from augment.settings import AdaptSettings, CheckpointSettings
    from augment.training.adapter import AdapterTrainer, AdaptTask

    settings = AdaptSettings(steps=300, prior_share=0.0)
    trainer = AdapterTrainer(pairs, AdaptTask("mel", 0, "data"), open_base(CheckpointSettings()), settings, folder)
    precision = "bf16" if settings.bf16 else "fp32"
    return Work(precision, UPDATES * settings.batch, lambda: [trainer.step() for _ in range(UPDATES)])


def drawing() -> tuple[Work, Work]:
    """A batch of pairs by the denoiser, and by the decoder, masks included."""
    from augment.base.folder import decode_images, open_base
    from augment.prompts import prompt_for
    from augment.sampling import PairSampler, tidy_mask
    from augment.settings import CheckpointSettings, SamplingSettings

    chosen, settings = CheckpointSettings(), SamplingSettings()
    sampler = PairSampler(open_base(chosen), None, settings, chosen.dtype)
    prompts, seeds, channels = [prompt_for("mel")] * settings.batch, list(range(settings.batch)), sampler.codec.channels
    latents = sampler.latents(prompts, seeds)

    def decode() -> None:
        decode_images(sampler.vae, sampler.base, latents[:, :-channels])
        for mask in sampler.codec.decode(latents[:, -channels:], sampler.side):
            tidy_mask(mask)

    denoiser = Work(PRECISIONS[sampler.dtype], settings.batch, lambda: sampler.latents(prompts, seeds))
    return denoiser, Work(PRECISIONS[sampler.vae.dtype], settings.batch, decode)


def downstream(model: Any, pairs: PairArrays, meter: Meter) -> Work:
    """Updates of a classifier or segmenter, augmentation included, without the probe and looks at validation."""
    from augment.classical import training_augmentation
    from evaluate.downstream.training import pick_precision, train, uniform_regime
    from manifests.progress import StopRequested

    settings, regime = model.settings, uniform_regime(len(pairs))
    model.fit(pairs, updates=1)
    learner = replace(model.learner(model.fitted(), regime, None), start=None)
    augment = meter.timed(AUGMENTATION, training_augmentation(settings.size, 0))

    def stop(done: int, total: int, **_: object) -> None:
        if done == UPDATES:
            raise StopRequested

    def update() -> None:
        with suppress(StopRequested):
            train(learner, pairs, regime, settings, updates=20 * UPDATES, seed=0, augment=augment, progress=stop)

    return Work(pick_precision(settings.precision, "cpu", model.fitted()), UPDATES * settings.batch_size, update)


def works(folder: Path, meter: Meter) -> dict[str, Work]:
    """All that is measured."""
    from evaluate.downstream.classifier import Classifier
    from evaluate.downstream.segmenter import Segmenter
    from evaluate.settings.training import ClassifierSettings, SegmenterSettings
    from manifests.format.reading import open_manifest

    pairs = open_manifest(lesions(folder)).arrays(split="train", size=SIDE)
    denoiser, decoder = drawing()
    return {
        "adapter": adapter(pairs, folder / "work"),
        "denoiser": denoiser,
        "decoder": decoder,
        "classifier": downstream(Classifier(ClassifierSettings(probe=64), pairs.classes), pairs, meter),
        "segmenter": downstream(Segmenter(SegmenterSettings()), pairs, meter),
    }


def stated(found: dict[str, dict[str, Any]]) -> dict[str, Any]:
    """What the machine can do, and each work beside it."""
    peaks = {"copy": 1 / found.pop("copy")["seconds"]}
    for precision in PRECISIONS.values():
        peaks[precision] = max(1 / found.pop(f"{precision} {way}")["seconds"] for way in ("product", "convolution"))
    for one in found.values():
        by_kind, seconds = one.pop("by_kind"), one["seconds"]
        one["of_products"] = one["operations"] / seconds / peaks[one["precision"]]
        one["of_copy"] = one["bytes"] / seconds / peaks["copy"]
        one["shares"] = {kind: taken / seconds for kind, taken in by_kind.items()}
        one["shares"][ELSE] = 1 - sum(one["shares"].values())
    return {"peaks": peaks, "work": found}


def main() -> None:
    """Measures and writes the file."""
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("--out", type=Path, required=True)
    parser.add_argument("--repeats", type=int, default=3)
    given = parser.parse_args()
    torch.set_num_threads(1)
    cv2.setNumThreads(1)
    meter = Meter()
    with tempfile.TemporaryDirectory() as folder:
        found = dict(measured(machine_work() | works(Path(folder), meter), meter, given.repeats))
    write_json(given.out, {"machine": platform.machine(), "torch": version("torch"), **stated(found)})


if __name__ == "__main__":
    main()
