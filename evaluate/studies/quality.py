"""What a base is worth, measured: the table of `evenderm quality`, each figure beside its bar.

Everything is judged on the validation split; the base and the downstream models see the training split only.
"""

from __future__ import annotations

import json
from collections.abc import Callable
from dataclasses import asdict, dataclass
from pathlib import Path
from typing import TYPE_CHECKING, Any

import numpy as np

from augment.settings import SamplingSettings
from evaluate.settings.gates import QualitySettings
from manifests.errors import BadInput
from manifests.markdown import markdown_table
from manifests.pairs import PairArrays
from manifests.progress import Progress, no_progress

if TYPE_CHECKING:
    from augment.adapters import AdapterFile
    from augment.base.folder import BaseFolder
    from evaluate.downstream.classifier import Classifier
    from evaluate.downstream.segmenter import Segmenter

_BATCH = 16


@dataclass(frozen=True)
class BaseStudy:
    """What is measured, and on what: real pairs at the base's side, the base and how it is sampled.

    detail: share of the generated pairs' fine detail that is taken from real ones; work: where drawn pairs and the
    extractor are kept.
    """

    train: PairArrays
    validation: PairArrays
    base: BaseFolder
    sampling: SamplingSettings
    settings: QualitySettings
    work: Path
    seed: int = 0
    detail: float = 0.0


@dataclass(frozen=True)
class Measurement:
    """One line of the table. bar: what the value has to reach; reached: None where there is no bar."""

    name: str
    value: float | None
    bar: float | None
    reached: bool | None
    detail: str


@dataclass(frozen=True)
class DownstreamModels:
    """Downstream models of each seed, trained on one kind of pairs."""

    classifiers: tuple[Classifier, ...]
    segmenters: tuple[Segmenter, ...]


def measure_quality(subject: BaseStudy, progress: Progress = no_progress) -> tuple[list[Measurement], PairArrays]:
    """Draws pairs of the base, trains judges on real and on generated pairs, and measures; the pairs come too.

    Raises BadInput if a class has no validation pair.
    """
    train, validation, settings = subject.train, subject.validation, subject.settings
    for dx in train.classes:
        if not len(validation.of_class(dx)):
            raise BadInput(f"class {dx!r} has no validation pair, so its quality cannot be measured; add some")
    drawn = draw_like_real(subject, progress=progress)
    on_real = fit_models(train, settings, progress)
    on_drawn = fit_models(drawn, settings, progress)
    lines = reconstruction(train, validation, subject.base)
    lines += usefulness(on_real, on_drawn, validation)
    lines += class_agreement(on_real, drawn, validation)
    lines += mask_agreement(on_real, drawn, validation)
    lines += distance_to_real(train, drawn, validation, settings, subject.work, progress)
    lines += copy_rates(train, drawn, validation, settings)
    return lines, drawn


def draw_like_real(
    subject: BaseStudy,
    adapter: AdapterFile | None = None,
    progress: Progress = no_progress,
    dtype: str = "bfloat16",
) -> PairArrays:
    """Generated pairs without any gate, `settings.share` times as many per class as there are real training pairs.

    They are kept in the subject's work folder, before fine detail, and found again there.
    """
    import hashlib

    import torch

    from augment.fine_detail import detailed
    from augment.prompts import prompt_for
    from augment.sampling import PairSampler
    from augment.synthesis import pair_seed
    from augment.tensor_files import write_tensors

    real, base, sampling, seed = subject.train, subject.base, subject.sampling, subject.seed
    share = subject.settings.share
    labels = np.concatenate([np.full(round(share * len(real.of_class(dx))), n) for n, dx in enumerate(real.classes)])
    ids = [f"{real.classes[label]}-{index:06d}" for index, label in enumerate(labels)]
    key = [base.digest, adapter.digest if adapter else None, dtype, sampling.model_dump(mode="json"), seed, ids]
    path = subject.work / f"drawn-{hashlib.sha256(json.dumps(key).encode()).hexdigest()[:16]}.safetensors"
    if not path.exists():
        sampler = PairSampler(base, adapter, sampling, dtype)
        images, masks = [], []
        for start in range(0, len(ids), _BATCH):
            classes = [real.classes[label] for label in labels[start : start + _BATCH]]
            seeds = [pair_seed(seed, dx, start + offset) for offset, dx in enumerate(classes)]
            part = sampler.draw([prompt_for(dx) for dx in classes], seeds)
            images.append(part.images)
            masks.append(part.masks)
            progress(min(start + _BATCH, len(ids)), len(ids))
        drawn = {"images": np.concatenate(images), "masks": np.concatenate(masks)}
        write_tensors(path, {name: torch.from_numpy(array) for name, array in drawn.items()})
    from safetensors.numpy import load_file

    found = load_file(path)
    drawn_pairs = PairArrays(ids, found["images"], found["masks"], labels, real.classes, ids)
    return detailed(drawn_pairs, real, subject.detail, seed) if subject.detail else drawn_pairs


def fit_models(pairs: PairArrays, settings: QualitySettings, progress: Progress = no_progress) -> DownstreamModels:
    """Trains a classifier and a U-Net per seed on `pairs`, each to its last update: nothing is chosen."""
    from evaluate.downstream.classifier import Classifier
    from evaluate.downstream.segmenter import Segmenter
    from evaluate.downstream.training import Regime, Stage

    # Every class equally often: a classifier that names the commonest class alone could judge nothing.
    counts = np.bincount(pairs.labels, minlength=len(pairs.classes))
    balanced = Regime((Stage(1.0 / counts[pairs.labels]),))
    classifiers, segmenters = [], []
    for seed in range(settings.seeds):
        classifier = Classifier(settings.classifier, pairs.classes)
        classifier.fit(pairs, seed=seed, regime=balanced, progress=progress)
        segmenter = Segmenter(settings.segmenter)
        segmenter.fit(pairs, seed=seed, progress=progress)
        classifiers.append(classifier)
        segmenters.append(segmenter)
    return DownstreamModels(tuple(classifiers), tuple(segmenters))


def _at_least(name: str, value: float, bar: float, detail: str) -> Measurement:
    return Measurement(name, value, bar, value >= bar, detail)


def reconstruction(train: PairArrays, validation: PairArrays, base: BaseFolder) -> list[Measurement]:
    """PSNR of the VAE on validation images, beside a linear code of the same width fitted on the training ones."""
    import torch

    from augment.base.folder import decode_images, image_encoder
    from augment.base.patch_code import fit_linear_code, image_tensor, psnr

    vae = base.vae()
    encode = image_encoder(vae, base)
    blocks = [validation.images[start : start + _BATCH] for start in range(0, len(validation), _BATCH)]
    decoded = [image_tensor(decode_images(vae, base, encode(block))) for block in blocks]
    wanted = [image_tensor(block) for block in blocks]
    found = torch.cat([psnr(a, b) for a, b in zip(decoded, wanted, strict=True)]).numpy()
    code = fit_linear_code(np.asarray(train.images), base.latent_channels)
    with torch.no_grad():
        linear = [psnr(code.decode(code.encode(block)).clamp(-1, 1), block) for block in wanted]
    floor = torch.cat(linear).numpy()
    said = f"linear code of {base.latent_channels} channels: {floor.mean():.1f} dB, 5th percentile "
    said += f"{np.percentile(floor, 5):.1f}"
    return [
        _at_least("VAE reconstruction, mean PSNR in dB", float(found.mean()), 36.0, said),
        _at_least("VAE reconstruction, 5th percentile in dB", float(np.percentile(found, 5)), 30.0, said),
    ]


def usefulness(on_real: DownstreamModels, on_drawn: DownstreamModels, validation: PairArrays) -> list[Measurement]:
    """Validation scores of models that saw only generated pairs, as a share of those that saw only real ones."""
    real_dice, drawn_dice = (mean_over(judges.segmenters, validation, dice_of) for judges in (on_real, on_drawn))
    real_f1, drawn_f1 = (mean_over(judges.classifiers, validation, macro_f1_of) for judges in (on_real, on_drawn))
    return [
        _at_least(
            "U-Net on generated pairs, share of real Dice", drawn_dice / real_dice, 0.95,
            f"Dice {drawn_dice:.3f} on generated, {real_dice:.3f} on real pairs",
        ),
        _at_least(
            "Classifier on generated pairs, share of real macro-F1", drawn_f1 / real_f1, 0.85,
            f"macro-F1 {drawn_f1:.3f} on generated, {real_f1:.3f} on real pairs",
        ),
    ]  # fmt: skip


def class_agreement(on_real: DownstreamModels, drawn: PairArrays, validation: PairArrays) -> list[Measurement]:
    """How often classifiers of real pairs give generated ones their own class, beside real validation pairs."""
    generated, real = (
        np.mean([recalls_of(c, pairs) for c in on_real.classifiers], axis=0) for pairs in (drawn, validation)
    )
    return [
        _at_least(
            f"Class follows the prompt: {dx}", float(generated[label]), float(real[label]),
            "recall of classifiers trained on real pairs; the bar is their recall on real validation pairs",
        )
        for label, dx in enumerate(drawn.classes)
    ]  # fmt: skip


def mask_agreement(on_real: DownstreamModels, drawn: PairArrays, validation: PairArrays) -> list[Measurement]:
    """Dice between generated masks and those that U-Nets of real pairs find, beside real validation pairs."""
    generated, real = (mean_over(on_real.segmenters, pairs, dice_of) for pairs in (drawn, validation))
    detail = "Dice of U-Nets trained on real pairs; the bar is their Dice on real validation pairs"
    return [_at_least("Masks sit on the lesions, before any gate", generated, real, detail)]


def distance_to_real(
    train: PairArrays, drawn: PairArrays, validation: PairArrays, settings: QualitySettings, work: Path,
    progress: Progress,
) -> list[Measurement]:  # fmt: skip
    """KID of generated against validation images, beside that of training images."""
    from evaluate.fidelity.scores import build_extractor, fidelity_report

    extractor = build_extractor(settings.fidelity, train, work / "extractor", progress)
    report = fidelity_report(train, validation, drawn, settings.fidelity, extractor)
    generated, floor = report["all"]["generated"]["kid"], report["all"]["floor"]["kid"]
    beside = "not computable" if floor is None else f"{floor:.4f}"
    detail = f"training images {beside}; subsets of {report['kid_subset']}, extractor {report['extractor']}"
    return [Measurement("KID to validation images", generated, None, None, detail)]


def copy_rates(
    train: PairArrays, drawn: PairArrays, validation: PairArrays, settings: QualitySettings
) -> list[Measurement]:
    """Share of generated images above the copy threshold; the bar is that of real validation images."""
    from evaluate.copies.index import CopyIndex

    index = CopyIndex.build(np.asarray(train.images), train.pair_ids, train.group_ids, settings.copies)
    index = index.calibrated(np.asarray(train.images))
    generated, held_out = (
        float(np.mean([index.is_copy(s) for s in index.search(np.asarray(pairs.images)).similarity]))
        for pairs in (drawn, validation)
    )
    detail = f"{held_out:.4f} of real validation images; threshold {index.threshold.value:.3f}"  # type: ignore[union-attr]
    return [Measurement("Copies among generated images", generated, held_out, generated <= held_out, detail)]


def mean_over(models: tuple[Any, ...], pairs: PairArrays, score: Callable[[Any, PairArrays], float]) -> float:
    return float(np.mean([score(model, pairs) for model in models]))


def dice_of(segmenter: Segmenter, pairs: PairArrays) -> float:
    from evaluate.metrics.masks import dice

    found = np.concatenate(
        [segmenter.masks(pairs.images[start : start + 64]) > 0.5 for start in range(0, len(pairs), 64)]
    )
    return float(dice(found, np.asarray(pairs.masks)).mean())


def macro_f1_of(classifier: Classifier, pairs: PairArrays) -> float:
    from sklearn.metrics import f1_score

    found = classifier.probabilities(pairs.images).argmax(axis=1)
    return float(f1_score(pairs.labels, found, average="macro", zero_division=0))


def recalls_of(classifier: Classifier, pairs: PairArrays) -> np.ndarray:
    found = classifier.probabilities(pairs.images).argmax(axis=1)
    return np.array([(found[pairs.labels == n] == n).mean() for n in range(len(pairs.classes))])


def quality_table(lines: list[Measurement]) -> str:
    """The measurements as a Markdown table."""
    rows = []
    for line in lines:
        bar = "" if line.bar is None else f"{line.bar:.3f}"
        reached = "" if line.reached is None else ("yes" if line.reached else "no")
        value = "not computable" if line.value is None else f"{line.value:.3f}"
        rows.append((line.name, value, bar, reached, line.detail))
    return markdown_table(("measured", "value", "bar", "reached", "beside"), rows) + "\n"


def quality_json(lines: list[Measurement]) -> str:
    """The measurements as JSON."""
    return json.dumps([asdict(line) for line in lines], indent=1) + "\n"
