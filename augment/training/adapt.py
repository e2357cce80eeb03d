"""Adapters from pairs: the domain adapter of a base without mask channels, then one adapter per lesion class."""

from __future__ import annotations

import time
from dataclasses import dataclass
from pathlib import Path

from augment.adapters import read_adapter
from augment.base.folder import BaseFolder
from augment.settings import AdaptSettings
from augment.training.adapter import AdapterTrainer, AdaptTask
from augment.training.state import TrainingDiverged
from manifests.errors import BadInput, EvendermError
from manifests.files import replace_file
from manifests.markdown import markdown_table
from manifests.pairs import PairArrays
from manifests.progress import Progress, no_progress

CARD = "MODEL_CARD.md"


@dataclass(frozen=True)
class AdapterReport:
    """What training an adapter came to."""

    name: str
    digest: str
    steps: int
    best_step: int
    first_loss: float
    best_loss: float
    seconds: float
    history: tuple[dict[str, float], ...]


def train_adapter(
    pairs: PairArrays,
    task: AdaptTask,
    base: BaseFolder,
    settings: AdaptSettings,
    out_file: Path,
    work: Path,
    progress: Progress = no_progress,
) -> AdapterReport:
    """Trains one adapter on `pairs` (training split: one class, or all for the domain adapter).

    Stops early on a validation loss with fixed noise; the averaged weights of the best validation are written.
    Raises BadInput for too few pairs, EvendermError with the step if training diverges.
    """
    if len(pairs) < settings.min_pairs:
        raise BadInput(
            f"class {task.name!r} has {len(pairs)} usable training pairs and an adapter needs {settings.min_pairs}; "
            "add pairs, leave the class out of the source, or lower adapt.min_pairs"
        )
    _check_masks(pairs, task.name)
    trainer = AdapterTrainer(pairs, task, base, settings, work)
    started = time.monotonic()
    try:
        trainer.run(progress)
    except TrainingDiverged as error:
        raise _diverged(out_file, error.step) from error
    digest = trainer.write(out_file)
    notes = trainer.state.notes
    return AdapterReport(
        task.name,
        digest,
        trainer.state.step,
        notes["best_step"],
        notes["first_loss"],
        notes["best_loss"],
        time.monotonic() - started,
        tuple(notes["history"]),
    )


def _check_masks(pairs: PairArrays, name: str) -> None:
    """BadInput if a mask is empty or full: of such a pair the generator would learn masks that say nothing."""
    for index, mask in enumerate(pairs.masks):
        if not mask.any() or mask.all():
            kind = "full" if mask.any() else "empty"
            raise BadInput(
                f"adapter {name!r}: the mask of training pair {pairs.pair_ids[index]} is {kind}; give every pair its "
                "lesion mask, and prepare with prepare.task=pairs, which sets pairs without one aside"
            )


def _diverged(out_file: Path, step: int) -> EvendermError:
    if step == 0:
        return EvendermError(
            f"{out_file}: training diverged at step 0, before anything was learned; copy the base from its source "
            "again, or set adapt.bf16=false"
        )
    return EvendermError(
        f"{out_file}: training diverged at step {step}; the checkpoint before it is kept, "
        "lower adapt.learning_rate and run again"
    )


def write_model_card(folder: Path) -> Path:
    """Writes MODEL_CARD.md beside the adapters in `folder`: what each was made from, and what it is for."""
    lines = [
        "# Lesion adapters of Evenderm",
        "",
        "LoRA adapters for the joint image and mask denoiser of one base. They draw synthetic dermoscopy pairs for",
        "training and research; they are not for diagnosis, and what they draw is no photograph of a patient.",
        "",
    ]
    rows = []
    for path in sorted(folder.glob("*.safetensors")):
        adapter = read_adapter(path)
        made = adapter.provenance
        before, after = made["validation_loss"]
        steps, losses = str(made["best_step"]), f"{before:.4f}, {after:.4f}"
        rows.append((path.name, ", ".join(made["classes"]), str(made["pairs"]), steps, losses, adapter.digest[:12]))
        base, data, rank = made["base_digest"], made["data_digest"], adapter.lora["r"]
    headings = ("adapter", "classes", "training pairs", "best step", "validation loss before, after", "tensors")
    lines += [
        markdown_table(headings, rows),
        "",
        f"- Base: {base}",
        f"- Real manifest: {data}",
        f"- LoRA rank: {rank}",
        "",
    ]
    card = folder / CARD
    replace_file(card, "\n".join(lines).encode())
    return card
