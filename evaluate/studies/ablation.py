"""What each choice of the generator earns: loss terms, mask codecs under noise, sampling settings swept.

Every table is measured on the validation split with the judges of the quality table, never by looks.
"""

from __future__ import annotations

import time
from collections.abc import Iterator, Mapping, Sequence
from dataclasses import dataclass, replace
from typing import TYPE_CHECKING, Any

import numpy as np

from augment.settings import AdaptSettings, CodecSettings
from manifests.errors import BadInput
from manifests.markdown import markdown_table
from manifests.progress import Progress, no_progress

if TYPE_CHECKING:
    from augment.adapters import AdapterFile
    from augment.base.folder import BaseFolder
    from evaluate.studies.quality import BaseStudy
    from evaluate.studies.transfer import DownstreamModels

TERMS = {"image": 1.0, "mask": 0.5, "lesion": 0.2, "dice": 0.1}
"""Loss terms, and the weight at which one that is off is tried."""
NOISES = (0.0, 0.1, 0.2, 0.4)
CODECS: Mapping[str, Mapping[str, Any]] = {
    "signed distance, 1 channel": {"name": "signed_distance", "clip": 0.125},
    "signed distance, 4 channels": {"name": "signed_distance_s2d", "clip": 0.125},
    "signed distance, 4 channels, clipped at 0.05": {"name": "signed_distance_s2d", "clip": 0.05},
    "VAE": {"name": "vae"},
}
ATTENTION = ("to_q", "to_k", "to_v", "to_out.0")
CONVOLUTIONS = ("conv1", "conv2")
ADAPTERS: Mapping[str, Mapping[str, Any]] = {
    "attention, rate 0.0003": {"targets": ATTENTION, "learning_rate": 3e-4},
    "attention, rate 0.001": {"targets": ATTENTION, "learning_rate": 1e-3},
    "second convolutions, rate 0.001": {"targets": CONVOLUTIONS[1:], "learning_rate": 1e-3},
    "second convolutions, rate 0.003": {"targets": CONVOLUTIONS[1:], "learning_rate": 3e-3},
    "all convolutions, rate 0.001": {"targets": CONVOLUTIONS, "learning_rate": 1e-3},
    "attention and all convolutions, rate 0.001": {"targets": ATTENTION + CONVOLUTIONS, "learning_rate": 1e-3},
}
SAMPLERS = ("dpm++", "dpm++sde", "ddim", "euler")


@dataclass(frozen=True)
class Variant:
    """One row: its name and its figures by name."""

    name: str
    figures: dict[str, float | None]


@dataclass(frozen=True)
class Bench:
    """What every variant is measured with: judges and an extractor that saw the real training split."""

    subject: BaseStudy
    judges: DownstreamModels
    extractor: Any


def make_bench(subject: BaseStudy, progress: Progress = no_progress) -> Bench:
    """Trains the judges once."""
    from evaluate.fidelity.scores import build_extractor
    from evaluate.studies.transfer import equal_size, fit_models, transfer_settings

    judges = fit_models(subject.train, transfer_settings(subject.settings), equal_size(subject.train), progress)
    extractor = build_extractor(subject.settings.fidelity, subject.train, subject.work / "extractor", progress)
    return Bench(subject, judges, extractor)


def figures_of(
    bench: Bench, subject: BaseStudy, adapter: AdapterFile | None, progress: Progress
) -> dict[str, float | None]:
    """Figures of pairs that `subject` draws: agreement, own class, train-on-generated scores, KID."""
    from evaluate.fidelity.scores import fidelity_report
    from evaluate.studies import transfer
    from evaluate.studies.quality import draw_like_real
    from evaluate.studies.transfer import mean_over

    train, validation, settings = subject.train, subject.validation, subject.settings
    drawn = draw_like_real(subject, adapter, progress)
    learned = transfer.fit_models(drawn, transfer.transfer_settings(settings), transfer.equal_size(drawn), progress)
    report = fidelity_report(train, validation, drawn, settings.fidelity, bench.extractor)
    own = np.mean([transfer.recalls_of(classifier, drawn) for classifier in bench.judges.classifiers], axis=0)
    return {
        "agreement": mean_over(bench.judges.segmenters, drawn, transfer.dice_of),
        "own_class": float(own.mean()),
        "dice_on_generated": mean_over(learned.segmenters, validation, transfer.dice_of),
        "macro_f1_on_generated": mean_over(learned.classifiers, validation, transfer.macro_f1_of),
        "kid": report["all"]["generated"]["kid"],
    }


def ablate_terms(bench: Bench, adapt: AdaptSettings, progress: Progress = no_progress) -> Iterator[Variant]:
    """Domain adapters that teach a base its masks: with the terms as set, then with one taken out or in.

    A joint base, which knows masks already, comes first as it is and then loses its mask channels.
    """
    if bench.subject.base.codec is not None:
        yield Variant("joint base, no adapter", figures_of(bench, bench.subject, None, progress))
    weights = adapt.objective
    changes = {"as set": {"objective": weights}}
    for term, weight in TERMS.items():
        if adapt.codec.name == "vae" and term in ("lesion", "dice"):
            continue  # they need a distance
        name, other = (f"without {term}", 0.0) if getattr(weights, term) > 0 else (f"with {term}", weight)
        changes[name] = {"objective": weights.model_copy(update={term: other})}
    yield from _trained(bench, "terms", adapt, changes, progress)


def ablate_codecs(bench: Bench, adapt: AdaptSettings, progress: Progress = no_progress) -> Iterator[Variant]:
    """Domain adapters that teach a base its masks in each of the codecs, with the image and the mask term alone.

    The other terms need a distance, which the autoencoder's code of a mask has not.
    """
    plain = adapt.objective.model_copy(update={"lesion": 0.0, "dice": 0.0})
    changes = {
        title: {"objective": plain, "codec": CodecSettings.model_validate(codec)} for title, codec in CODECS.items()
    }
    yield from _trained(bench, "codecs", adapt, changes, progress)


def ablate_adapters(subject: BaseStudy, adapt: AdaptSettings, progress: Progress = no_progress) -> Iterator[Variant]:
    """Class adapters of the class with the most training pairs: what LoRA sits on and how fast it learns.

    Figures: loss on held-out training pairs before and after (the best), and optimiser steps a second, validations
    and set-up counted in. Raises BadInput for a base without mask channels, whose class adapters begin at another.
    """
    from augment.training.adapt import train_adapter
    from augment.training.adapter import AdaptTask

    if subject.base.codec is None:
        raise BadInput(f"{subject.base.path}: adapters are compared on a joint base; this one has no mask channels")
    dx = max(subject.train.classes, key=lambda one: len(subject.train.of_class(one)))
    pairs = subject.train.of_class(dx)
    for name, changed in ADAPTERS.items():
        out = subject.work / "adapters" / f"{name.replace(' ', '-').replace(',', '')}.safetensors"
        settings, started = adapt.model_copy(update=changed), time.monotonic()
        report = train_adapter(
            pairs, AdaptTask(dx, subject.seed, "ablation"), subject.base, settings, out, out.with_suffix(""), progress
        )
        rate = report.steps / (time.monotonic() - started)
        losses = {"loss_before": report.first_loss, "loss_after": report.best_loss}
        yield Variant(name, {**losses, "steps_per_second": rate})


def _trained(
    bench: Bench, kind: str, adapt: AdaptSettings, changes: Mapping[str, dict[str, Any]], progress: Progress
) -> Iterator[Variant]:
    """A domain adapter for each of `changes` (settings by variant), on the base without mask channels, measured."""
    from augment.adapters import read_adapter
    from augment.joint import without_mask_channels
    from augment.training.adapt import train_adapter
    from augment.training.adapter import DOMAIN, AdaptTask

    subject, work = bench.subject, bench.subject.work / kind
    if subject.base.codec is not None:
        subject = replace(subject, base=without_mask_channels(subject.base, work / "base"))
    for name, changed in changes.items():
        out = work / f"{name.replace(' ', '-').replace(',', '')}.safetensors"
        task = AdaptTask(DOMAIN, subject.seed, "ablation")
        settings = adapt.model_copy(update=changed)
        train_adapter(subject.train, task, subject.base, settings, out, out.with_suffix(""), progress)
        yield Variant(name, figures_of(bench, subject, read_adapter(out, subject.base), progress))


def sweep_sampling(
    bench: Bench,
    spacings: Sequence[float] = (1.0, 1.4, 1.7, 2.2),
    guidances: Sequence[float] = (1.0, 1.5, 2.0, 3.0, 5.0, 7.0),
    steps: Sequence[int] = (8, 12, 20, 50),
    samplers: Sequence[str] = SAMPLERS,
    rescales: Sequence[float] = (0.5,),
    aboves: Sequence[float] = (0.0, 0.4, 0.6),
    progress: Progress = no_progress,
) -> Iterator[Variant]:
    """One setting changed at a time; what the settings say already comes first and is not measured again."""
    settings = bench.subject.sampling
    plan = {
        "spacing": spacings,
        "guidance": guidances,
        "steps": steps,
        "sampler": samplers,
        "guidance_rescale": rescales,
        "guidance_above": aboves,
    }
    yield Variant("as set", figures_of(bench, bench.subject, None, progress))
    for key, values in plan.items():
        for value in values:
            if value != getattr(settings, key):
                changed = replace(bench.subject, sampling=settings.model_copy(update={key: value}))
                yield Variant(f"{key} {value}", figures_of(bench, changed, None, progress))


def ablate_given(
    bench: Bench, rounds: Sequence[int] = (1, 2, 4, 8), pairs: int = 32, progress: Progress = no_progress
) -> Iterator[Variant]:
    """Pictures drawn to real masks and masks found for real pictures, by the rounds through each noise level.

    Figures, on validation pairs: `picture_fits_mask`, Dice of the given masks with what U-Nets trained on real pairs
    find in the pictures that were drawn to them (`real pairs`: in the real ones); `mask_fits_picture`, Dice of the
    masks found for real pictures with the real ones. Raises BadInput for a base without mask channels.
    """
    from augment.prompts import prompt_for
    from augment.sampling import PairSampler
    from evaluate.metrics.masks import dice
    from evaluate.studies.transfer import dice_of, mean_over

    subject = bench.subject
    chosen = np.random.default_rng(subject.seed).permutation(len(subject.validation))[:pairs]
    real = subject.validation.select(sorted(chosen))
    sampler = PairSampler(subject.base, None, subject.sampling, "bfloat16")
    prompts = [prompt_for(real.classes[label]) for label in real.labels]
    seeds = range(subject.seed, subject.seed + len(real))
    yield Variant(
        "real pairs",
        {"picture_fits_mask": mean_over(bench.judges.segmenters, real, dice_of), "mask_fits_picture": None},
    )
    for done, number in enumerate(rounds):
        to_masks = sampler.draw(prompts, seeds, sampler.given_mask(real.masks, number))
        found = sampler.draw(prompts, seeds, sampler.given_image(real.images, number)).masks
        pictures = replace(real, images=to_masks.images)
        progress(done + 1, len(rounds))
        yield Variant(
            f"{number} rounds" if number > 1 else "1 round",
            {
                "picture_fits_mask": mean_over(bench.judges.segmenters, pictures, dice_of),
                "mask_fits_picture": float(dice(found, real.masks).mean()),
            },
        )


def compare_codecs(
    masks: np.ndarray, base: BaseFolder, noises: Sequence[float] = NOISES, seed: int = 0
) -> list[Variant]:
    """Round trip of masks (bool (N, S, S)) through each codec with noise of `noises` standard deviations added.

    Figures: mean and 5th percentile Dice, and the mean boundary error in pixels of the mask's size.
    """
    from augment.base.folder import decode_images, image_encoder
    from augment.mask_codec import MaskCodec, VaeCodec, codec_from

    vae = base.vae()
    vae_codec = VaeCodec(
        base.latent_channels, image_encoder(vae, base), lambda latents: decode_images(vae, base, latents)
    )
    distances = {name: codec_from(codec) for name, codec in CODECS.items() if codec["name"] != "vae"}
    codecs: Mapping[str, MaskCodec] = {**distances, f"VAE, {base.latent_channels} channels": vae_codec}
    return [
        Variant(f"{name}, noise {noise:g}", _round_trip(codec, masks, masks.shape[1] // base.downscale, noise, seed))
        for name, codec in codecs.items()
        for noise in noises
    ]  # fmt: skip


def _round_trip(codec: Any, masks: np.ndarray, side: int, noise: float, seed: int) -> dict[str, float | None]:
    import torch

    from evaluate.metrics.masks import dice

    coded = torch.from_numpy(codec.encode(masks, side))
    # Relative to the code's own spread, so that codecs of any scale meet the same disturbance.
    disturbed = coded + noise * coded.std() * torch.randn(coded.shape, generator=torch.Generator().manual_seed(seed))
    found = np.concatenate([codec.decode(disturbed[i : i + 64], masks.shape[1]) for i in range(0, len(masks), 64)])
    scores = dice(found, masks)
    errors = [boundary_error(a, b) for a, b in zip(found, masks, strict=True)]
    known = [error for error in errors if error is not None]
    return {
        "dice": float(scores.mean()),
        "dice_p5": float(np.percentile(scores, 5)),
        "boundary_error": float(np.mean(known)) if known else None,
    }


def boundary_error(found: np.ndarray, wanted: np.ndarray) -> float | None:
    """Mean distance in pixels between two masks' boundaries, both ways; None where one has none."""
    from evaluate.metrics.masks import boundary_distances

    if not found.any() or not wanted.any() or found.all() or wanted.all():
        return None
    there, back = boundary_distances(found, wanted)
    return float((np.mean(there) + np.mean(back)) / 2)


def variants_table(title: str, rows: Sequence[Mapping[str, Any]]) -> str:
    """Rows, each the variant's name under `variant` and its figures, as a Markdown table under a heading."""
    names = [name for name in dict.fromkeys(name for row in rows for name in row) if name != "variant"]
    figures = (
        [row["variant"], *("" if row.get(name) is None else f"{row[name]:.4f}" for name in names)] for row in rows
    )
    return f"## {title}\n\n{markdown_table(['variant', *names], figures)}\n"
