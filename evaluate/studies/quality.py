"""What a base is worth, measured: the table of `evenderm quality`, each figure beside its bar.

Everything is judged on the validation split; the base and the downstream models see the training split only.
"""

from __future__ import annotations

import json
from dataclasses import asdict, dataclass
from pathlib import Path
from typing import TYPE_CHECKING

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
    from evaluate.fidelity.realism import RealismRow
    from evaluate.studies.transfer import DownstreamModels

_BATCH = 16
_ROUND_TRIP, _GENERATED = "round trip told apart, AUROC", "generated told apart, AUROC"
_MOST_TOLD = {
    (_ROUND_TRIP, "sharp"): 0.75, (_ROUND_TRIP, "blurred"): 0.75,
    (_GENERATED, "sharp"): 0.9, (_GENERATED, "blurred"): 0.8,
}  # fmt: skip


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


def measure_quality(subject: BaseStudy, progress: Progress = no_progress) -> tuple[list[Measurement], PairArrays]:
    """Draws pairs of the base, asks eyes that never saw its training and models of real pairs; the pairs come too.

    Raises BadInput if a class has no validation pair.
    """
    from evaluate.fidelity.realism import realism_rows
    from evaluate.fidelity.scores import build_extractor
    from evaluate.studies.transfer import transfer_rows, transfer_settings

    train, validation, settings = subject.train, subject.validation, subject.settings
    for dx in train.classes:
        if not len(validation.of_class(dx)):
            raise BadInput(f"class {dx!r} has no validation pair, so its quality cannot be measured; add some")
    drawn = draw_like_real(subject, progress=progress)
    extractor = build_extractor(settings.fidelity, train, subject.work / "extractor", progress)
    seen = realism_rows(train, validation, drawn, round_trips(train, subject.base), extractor)
    learned, on_real = transfer_rows(train, drawn, validation, transfer_settings(settings), progress)
    lines = reconstruction(train, validation, subject.base)
    lines += [judged(row) for row in (*seen, *learned)]
    lines += class_agreement(on_real, drawn, validation)
    lines += mask_agreement(on_real, drawn, validation)
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


def round_trips(pairs: PairArrays, base: BaseFolder) -> np.ndarray:
    """The pictures of `pairs`, uint8 (N, H, W, 3), after the base's autoencoder."""
    from augment.base.folder import decode_images, image_encoder

    vae = base.vae()
    encode = image_encoder(vae, base)
    starts = range(0, len(pairs), _BATCH)
    return np.concatenate([decode_images(vae, base, encode(pairs.images[start : start + _BATCH])) for start in starts])


def judged(row: RealismRow) -> Measurement:
    """A figure of an outside eye as a line of the table, beside that of real pairs and its bar.

    Told apart, .75 after a round trip, and .9 sharp and .8 blurred when drawn, is the most; KID twice its floor; a mask
    figure lies within a tenth of the real one; models learn .95 of the Dice and .85 of the macro-F1 of real pairs.
    """
    name = " ".join(part for part in (f"{row.figure}:", row.dx, row.look) if part)
    beside = "too few pictures" if row.floor is None else f"real {row.floor:.3f}; {row.count} pictures a side"
    if row.value is None or row.floor is None:
        return Measurement(name, row.value, None, None, beside)
    if row.figure in ("mask area", "masks at the frame"):
        reached = abs(row.value - row.floor) <= 0.1 * row.floor
        return Measurement(name, row.value, row.floor, reached, f"within a tenth of real; {row.count} pictures a side")
    share = {"Dice learned from it": 0.95, "macro-F1 learned from it": 0.85}.get(row.figure)
    if share is not None:
        return _at_least(name, row.value, share * row.floor, f"{beside}, of each class as many")
    if row.figure == "classes learned from it":
        return Measurement(name, row.value, None, None, f"macro AUROC of a linear probe; {beside}")
    bar = _MOST_TOLD.get((row.figure, row.look), max(2 * row.floor, 0.0))
    return Measurement(name, row.value, bar, row.value <= bar, beside)


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


def class_agreement(on_real: DownstreamModels, drawn: PairArrays, validation: PairArrays) -> list[Measurement]:
    """How often classifiers of real pairs give generated ones their own class, beside real validation pairs."""
    from evaluate.studies.transfer import recalls_of

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
    from evaluate.studies.transfer import dice_of, mean_over

    generated, real = (mean_over(on_real.segmenters, pairs, dice_of) for pairs in (drawn, validation))
    detail = "Dice of U-Nets trained on real pairs; the bar is their Dice on real validation pairs"
    return [_at_least("Masks sit on the lesions, before any gate", generated, real, detail)]


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
