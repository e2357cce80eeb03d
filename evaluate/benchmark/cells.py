"""The benchmark, cell by cell: one arm, one task, one seed, recognised when finished, resumed where it
stopped."""

from __future__ import annotations

import hashlib
import io
import time
from collections.abc import Mapping
from dataclasses import asdict, dataclass
from pathlib import Path
from typing import Any

import numpy as np

from evaluate.benchmark.arms import arm_data, part_text
from evaluate.benchmark.evidence import check_evidence
from evaluate.benchmark.pools import judged_pairs, load_pools
from evaluate.downstream.classifier import Classifier
from evaluate.downstream.encoders import weights_digest
from evaluate.downstream.segmenter import THRESHOLD, Segmenter
from evaluate.metrics.masks import mask_scores
from evaluate.parts import finished_record
from evaluate.settings.arms import ArmName, Task, parse_arm
from evaluate.settings.benchmark import DRAWS, BenchmarkSettings
from manifests.errors import BadInput
from manifests.files import replace_file, write_json
from manifests.format.reading import Manifest
from manifests.format.schema import canonical_json
from manifests.pairs import PairArrays
from manifests.progress import Progress, no_progress

CODE_VERSION = "3"
"""Changed with every change of what a cell computes, so that older cells are not taken for its own."""

Restricted = Mapping[float, Manifest]
"""Generated pairs whose generator saw only this part of the real training pairs, by part."""

JUDGED_ON = ("validation", "test")
PILOT = "pilot"
"""The folder of cells that were trained to choose the updates, by their number."""


@dataclass(frozen=True, order=True)
class Cell:
    """One training run: arm by name, task and seed."""

    arm: str
    task: Task
    seed: int

    @property
    def name(self) -> str:
        """What its files are called."""
        return f"{self.arm}-{self.task}-{self.seed}"


@dataclass(frozen=True)
class SkippedArm:
    """An arm that was asked for and cannot be trained."""

    task: Task
    arm: str
    reason: str


def plan_cells(
    settings: BenchmarkSettings,
    real_counts: Mapping[str, Mapping[str, int]],
    has_synthetic: bool,
    restricted: Mapping[float, object] | None = None,
    has_masks: bool = True,
) -> list[Cell]:
    """Every cell of the benchmark, seed by seed within its task, so that an early end leaves whole seeds.

    real_counts: pairs by split and class; restricted: which parts have a synthetic manifest of their own.
    Arms without the generated pairs that they need are left out; `skipped_arms` lists them.
    """
    if not sum(real_counts.get("train", {}).values()):
        raise BadInput("the real manifest has no training pair; prepare the source again")
    skipped = {(s.task, s.arm) for s in skipped_arms(settings, has_synthetic, restricted, has_masks)}
    return [
        Cell(str(arm), task, seed)
        for task in settings.tasks
        for seed in range(settings.first_seed, settings.first_seed + settings.seeds)
        for arm in settings.arms(task)
        if (task, str(arm)) not in skipped
    ]


def skipped_arms(
    settings: BenchmarkSettings,
    has_synthetic: bool,
    restricted: Mapping[float, object] | None = None,
    has_masks: bool = True,
) -> list[SkippedArm]:
    """The arms that lack the generated pairs or the masks that they need, with the reason."""
    skipped = []
    for task in settings.tasks:
        for arm in settings.arms(task):
            if arm.base == "real+copy-paste" and not has_masks:
                skipped.append(SkippedArm(task, str(arm), "no real pair has a mask to cut its lesion out by"))
            if not arm.needs_synthetic:
                continue
            if arm.part == 1 and not has_synthetic:
                skipped.append(SkippedArm(task, str(arm), "there are no generated pairs"))
            elif arm.part != 1 and arm.part not in (restricted or {}):
                reason = f"no generator was restricted to {part_text(arm.part)} real training pairs"
                skipped.append(SkippedArm(task, str(arm), reason))
    return skipped


def run_cell(
    cell: Cell,
    real: Manifest,
    synthetic: Manifest | None,
    settings: BenchmarkSettings,
    work: Path,
    progress: Progress = no_progress,
    *,
    arrays: Path | None = None,
    restricted: Restricted | None = None,
    with_model: bool = False,
) -> Path:
    """Train and judge one cell; the path of its JSON, which is written last and says that the cell is
    finished.

    arrays: where decoded pairs are kept, a folder in `work` where none is named.

    A finished cell of the same inputs is recognised and not run again, unless it is wanted `with_model` and has none.
    BadInput if the split is not obeyed.
    """
    arm, work = parse_arm(cell.arm), Path(work)
    source = source_of(arm, synthetic, restricted)
    digest = cell_digest(cell, real, source, settings)
    path = work / f"{cell.name}.json"
    finished = read_cell(path, digest) is not None or _adopted(cell, digest, settings, work)
    if finished and (has_model(work, cell) or not with_model):
        return path
    check_evidence(real, source, [cell.task], of_a_part=arm.part != 1)
    arrays = arrays or work / "arrays"
    pools = load_pools(arm, cell.task, real, source, settings, arrays)
    data = arm_data(arm, pools, settings.then_real, cell.task)
    judged = {split: judged_pairs(cell.task, real, split, settings, arrays) for split in JUDGED_ON}
    model = new_model(cell.task, settings, real.classes)
    log = model.fit(data.pairs, seed=cell.seed, regime=data.regime, validation=judged["validation"], progress=progress)
    started = time.perf_counter()
    predictions = {split: predict(model, pairs) for split, pairs in judged.items()}
    log.seconds["test"] = time.perf_counter() - started
    model.save(model_folder(work, cell.name))
    training = settings.training(cell.task)
    content = {
        "digest": digest,
        **asdict(cell),
        "train_counts": data.train_counts(),
        "draws": data.draws(training.updates * training.batch_size),
        "parameters": model.parameters(),
        **asdict(log),
        "predictions": {split: save_predictions(work, cell, split, array) for split, array in predictions.items()},
    }
    write_json(path, content)
    return path


def is_finished(
    cell: Cell,
    real: Manifest,
    synthetic: Manifest | None,
    settings: BenchmarkSettings,
    work: Path,
    *,
    restricted: Restricted | None = None,
) -> bool:
    """Whether `run_cell` has trained and judged a cell of these inputs."""
    source = source_of(parse_arm(cell.arm), synthetic, restricted)
    return read_cell(work / f"{cell.name}.json", cell_digest(cell, real, source, settings)) is not None


def _adopted(cell: Cell, digest: str, settings: BenchmarkSettings, work: Path) -> bool:
    """Take over what the pilot trained in just this way; whether it did."""
    pilot = work / PILOT / str(settings.training(cell.task).updates)
    content = read_cell(pilot / f"{cell.name}.json", digest)
    if content is None:
        return False
    for saved in content["predictions"].values():
        replace_file(work / saved["file"], (pilot / saved["file"]).read_bytes())
    for path in sorted(model_folder(pilot, cell.name).glob("*")):
        replace_file(model_folder(work, cell.name) / path.name, path.read_bytes())
    write_json(work / f"{cell.name}.json", content)
    return True


def model_folder(work: Path, cell_name: str) -> Path:
    """Where the model of a cell is kept, for `explain` and external sets; a cell is finished without it too."""
    return work / "models" / cell_name


def has_model(work: Path, cell: Cell) -> bool:
    """Whether the model of a cell is kept."""
    return (model_folder(work, cell.name) / f"{_kind(cell.task).kind}.json").is_file()


def load_model(work: Path, cell: Cell) -> Classifier | Segmenter:
    """The trained model of a cell. Raises BadInput where it is missing or damaged."""
    return _kind(cell.task).load(model_folder(work, cell.name))


def _kind(task: Task) -> type[Classifier] | type[Segmenter]:
    return Classifier if task == "classification" else Segmenter


def new_model(task: Task, settings: BenchmarkSettings, classes: tuple[str, ...]) -> Classifier | Segmenter:
    """An untrained model of the task."""
    if task == "classification":
        return Classifier(settings.classifier, classes)
    return Segmenter(settings.segmenter, classes)


def predict(model: Classifier | Segmenter, pairs: PairArrays) -> np.ndarray:
    """What is kept of a judged split: class probabilities (N, C), or the scores (N, 5) of each mask."""
    if isinstance(model, Classifier):
        return model.probabilities(pairs.images).astype(np.float32)
    step = 64
    parts = [
        mask_scores(model.masks(pairs.images[start : start + step]) > THRESHOLD, pairs.masks[start : start + step])
        for start in range(0, len(pairs), step)
    ]
    return np.concatenate(parts)


def cell_digest(cell: Cell, real: Manifest, source: Manifest | None, settings: BenchmarkSettings) -> str:
    """sha256 of all that a cell depends on: manifests, the settings of its training, the weights it starts
    from."""
    arm, training = parse_arm(cell.arm), settings.training(cell.task)
    described = {
        "code": CODE_VERSION,
        "cell": [cell.arm, cell.task, cell.seed],
        "real": real.digest,
        "synthetic": source.digest if source is not None else None,
        "training": training.model_dump(mode="json", exclude={"device", "encoder_weights"}),
        "encoder_weights": weights_digest(training.weights),
        **({"draws": DRAWS[arm.base]} if arm.base in DRAWS and cell.task == "classification" else {}),
        "then_real": settings.then_real if arm.base == "synthetic-then-real" else None,
    }
    return hashlib.sha256(canonical_json(described).encode()).hexdigest()


def read_cell(path: Path, digest: str) -> dict[str, Any] | None:
    """The content of a finished cell with this digest whose predictions are intact, else None."""
    content = finished_record(path, digest)
    if content is None:
        return None
    try:
        for saved in content["predictions"].values():
            if hashlib.sha256((path.parent / saved["file"]).read_bytes()).hexdigest() != saved["sha256"]:
                return None
    except (OSError, KeyError, TypeError, AttributeError):
        return None
    return content


def read_predictions(path: Path, content: Mapping[str, Any], split: str) -> np.ndarray:
    """The saved predictions of a judged split."""
    return np.load(path.parent / content["predictions"][split]["file"], allow_pickle=False)


def has_masks(real: Manifest) -> bool:
    """Whether any real pair has one."""
    return bool(real.header["masks"])


def source_of(arm: ArmName, synthetic: Manifest | None, restricted: Restricted | None) -> Manifest | None:
    """The synthetic manifest that `arm` depends on: the one made from its part of the real pairs."""
    if not arm.needs_synthetic:
        return None
    source = synthetic if arm.part == 1 else (restricted or {}).get(arm.part)
    if source is None:
        raise BadInput(f"arm {arm} needs generated pairs of its own part; synthesise them or leave it out")
    return source


def save_predictions(work: Path, cell: Cell, split: str, array: np.ndarray) -> dict[str, str]:
    """Write predictions beside the cell; the file's name and sha256."""
    buffer = io.BytesIO()
    np.save(buffer, array, allow_pickle=False)
    name = f"{cell.name}-{split}.npy"
    replace_file(work / name, buffer.getvalue())
    return {"file": name, "sha256": hashlib.sha256(buffer.getvalue()).hexdigest()}
