"""Where is the lesion: several answers to it, how far they agree, and the one that is believed."""

from __future__ import annotations

from collections.abc import Callable, Mapping, Sequence
from dataclasses import dataclass
from itertools import combinations
from pathlib import Path
from typing import TYPE_CHECKING

import numpy as np

from evaluate.gates.fitting import lesion_masks
from evaluate.metrics.masks import dice
from evaluate.parts import finished_record, pairs_digest, part_digest
from evaluate.settings.explain import LocaliserSettings
from manifests.errors import BadInput, EvendermError, first_line
from manifests.files import write_json
from manifests.progress import Progress, no_progress

if TYPE_CHECKING:
    from augment.sampling import PairSampler
    from evaluate.downstream.segmenter import Segmenter
    from manifests.pairs import PairArrays

# Given a uint8 image (S, S, 3), a bool mask (S, S).
FindLesion = Callable[[np.ndarray], np.ndarray]

GIVEN = "given"
_SPECK = 0.1  # parts below this share of the largest one do not count as lesions of their own


@dataclass(frozen=True)
class Localisation:
    """masks: what each method found, bool (S, S); method: the one that is believed, None if none found a lesion;
    agreement: Dice of each two; lesions: separate parts of the believed mask; problems: sentences."""

    masks: Mapping[str, np.ndarray]
    method: str | None
    agreement: Mapping[str, float]
    lesions: int
    problems: tuple[str, ...] = ()

    @property
    def mask(self) -> np.ndarray | None:
        """The largest lesion of the believed mask, bool (S, S)."""
        return largest_part(self.masks[self.method]) if self.method else None


def locate(
    image: np.ndarray, finders: Mapping[str, FindLesion], smallest: float, given: np.ndarray | None = None
) -> Localisation:
    """Asks every finder about a uint8 image (S, S, 3); the caller's own mask (S, S), if given, is believed first.

    A finder that fails is named in the problems and counts as having found nothing.
    """
    masks = {GIVEN: given} if given is not None else {}
    problems = []
    for name, find in finders.items():
        try:
            masks[name] = find(image)
        except EvendermError as error:
            problems.append(f"The lesion could not be looked for by {name}: {error}.")
    believed = next((name for name, mask in masks.items() if smallest <= mask.mean() < 0.98), None)
    if believed is None:
        problems.append(
            "No lesion was found, so no picture of this skin could be changed; give a mask with --mask if there is one."
        )
    agreement = {
        f"{one} and {other}": float(dice(masks[one][None], masks[other][None])[0])
        for one, other in combinations(masks, 2)
    }
    lesions = len(parts_of(masks[believed])) if believed else 0
    if lesions > 1:
        problems.append(f"{lesions} separate lesions were found; the largest is shown changed.")
    return Localisation(masks, believed, agreement, lesions, tuple(problems))


def parts_of(mask: np.ndarray) -> list[np.ndarray]:
    """The separate parts of a bool mask (H, W), largest first, without specks."""
    import cv2

    count, parts, stats, _ = cv2.connectedComponentsWithStats(mask.astype(np.uint8), connectivity=8)
    areas = stats[1:, cv2.CC_STAT_AREA]
    order = sorted(range(count - 1), key=lambda part: -int(areas[part]))
    return [parts == part + 1 for part in order if areas[part] >= _SPECK * areas.max()]


def largest_part(mask: np.ndarray) -> np.ndarray:
    """The largest part of a bool mask (H, W); the mask itself where it is empty."""
    return (parts_of(mask) or [mask])[0]


def by_segmenters(segmenters: Sequence[Segmenter]) -> FindLesion:
    """The mean of the run's own segmenters."""
    return lambda image: lesion_masks(list(segmenters), image[None], 1)[0]


def by_denoiser(sampler: PairSampler, prompts: Sequence[str], seed: int) -> FindLesion:
    """The joint denoiser with the image given: the majority of one draw per prompt, so that no class decides."""

    def find(image: np.ndarray) -> np.ndarray:
        import cv2

        small = cv2.resize(image, (sampler.side, sampler.side), interpolation=cv2.INTER_AREA)
        # One round, since a person waits; the majority over prompts steadies it.
        known = sampler.given_image(np.repeat(small[None], len(prompts), axis=0), rounds=1)
        drawn = sampler.draw(prompts, [seed + number for number in range(len(prompts))], known)
        share = drawn.masks.mean(axis=0).astype(np.float32)
        return cv2.resize(share, image.shape[1::-1], interpolation=cv2.INTER_LINEAR) > 0.5

    return find


class SamLocaliser:
    """A SAM-like model of transformers, asked for the thing in the middle of the image."""

    def __init__(self, name: str, revision: str | None = None) -> None:
        from transformers import AutoModelForMaskGeneration, AutoProcessor

        try:
            self.processor = AutoProcessor.from_pretrained(name, revision=revision)
            self.model = AutoModelForMaskGeneration.from_pretrained(
                name, revision=revision, use_safetensors=True
            ).eval()
        except (OSError, ValueError, KeyError, ImportError) as error:
            raise BadInput(
                f"{name}: no usable SAM-like model ({first_line(error)}); "
                "give explain.localiser.sam a local folder or hub id"
            ) from error

    def __call__(self, image: np.ndarray) -> np.ndarray:
        """The most certain mask, bool (S, S), of a uint8 image (S, S, 3)."""
        import torch
        from PIL import Image

        height, width = image.shape[:2]
        middle = [[[width / 2, height / 2]]]
        inputs = self.processor(images=Image.fromarray(image), input_points=[middle], return_tensors="pt")
        with torch.inference_mode():
            outputs = self.model(**inputs)
        sizes = {name: inputs[name] for name in ("original_sizes", "reshaped_input_sizes") if name in inputs}
        masks = self.processor.post_process_masks(outputs.pred_masks, **sizes)[0].reshape(-1, height, width)
        best = int(outputs.iou_scores.flatten()[: len(masks)].argmax())
        return masks[best].numpy() > 0


def run_segmenters(
    judge: Path, own: Path, train: PairArrays, settings: LocaliserSettings, seed: int, progress: Progress = no_progress
) -> list[Segmenter]:
    """The segmenters that the gates of a run kept in `judge`, else one that is trained on `train` and kept in `own`."""
    from evaluate.downstream.plain_unet import JudgeSegmenter

    if (judge / "judge.json").is_file():
        try:
            return [JudgeSegmenter.load(folder) for folder in sorted(judge.glob("segmenter-*"))]
        except BadInput:
            pass  # kept by another version, or half deleted: one of our own takes its place
    digest = part_digest(pairs_digest(train), settings.unet.model_dump(mode="json"), seed)
    record = own / "segmenter-digest.json"
    if finished_record(record, digest) is None:
        segmenter = JudgeSegmenter(settings.unet)
        segmenter.fit(train, seed=seed, progress=progress)
        segmenter.save(own)
        write_json(record, {"digest": digest})
    return [JudgeSegmenter.load(own)]
