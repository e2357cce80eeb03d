"""External sets: pairs of other hospitals that every trained model is tested on too, and what may be said there."""

from __future__ import annotations

from collections import Counter
from collections.abc import Mapping, Sequence
from dataclasses import asdict, replace
from pathlib import Path
from typing import Any

import numpy as np

from evaluate.benchmark.cells import (
    Cell,
    cell_digest,
    load_model,
    predict,
    read_cell,
    read_predictions,
    save_predictions,
    source_of,
)
from evaluate.benchmark.collect import judged_set
from evaluate.benchmark.comparisons import JudgedArm, compare_arms, headlines
from evaluate.benchmark.folds import Round
from evaluate.benchmark.pools import judged_pairs
from evaluate.benchmark.summary import Measured, measure, metric_entry, rare_classes
from evaluate.metrics.classification import Figures
from evaluate.metrics.statistics import Replicates
from evaluate.parts import part_digest
from evaluate.settings.arms import Task, parse_arm
from manifests.copying import Changes, write_subset
from manifests.duplicates.across import shared_lesions
from manifests.duplicates.sketches import TrainingPictures, sketches_of
from manifests.errors import BadInput, EvendermError
from manifests.files import write_json
from manifests.format.reading import Manifest
from manifests.format.schema import UNLABELLED
from manifests.prepare.admission import LESION, SEGMENTATION
from manifests.progress import Progress, no_progress

EXTERNAL = "external"
"""The folder of predictions of external sets among the cells, and what they are called in a manifest's provenance."""
KNOWN_SPLITS = ("train", "validation")
Externals = Mapping[str, Manifest]


def admit_pairs(
    name: str,
    source: Manifest,
    real: Manifest,
    renamed: Mapping[str, str | None],
    out: Path,
    work: Path,
    known_splits: Sequence[str] = KNOWN_SPLITS,
    workers: int = 1,
    progress: Progress = no_progress,
    pictures: TrainingPictures | None = None,
) -> Manifest:
    """Write the pairs of `source` that may test models of `real` to `out`, all as test pairs, in the classes of `real`.

    renamed: classes by their names in `source`, None for one that is left out. Left out and counted are classes that
    `real` does not train, pictures of lesions of its `known_splits`, which it trains or chooses by, and the `pictures`
    that the base was trained on. Raises BadInput where none is left.
    """
    if source.kind != "real":
        raise BadInput(f"benchmark.external {name}: {source.location} holds generated pairs; give a set of real ones")
    dx_of, trained = _class_names(source, real, renamed), real.counts().get("train", {})
    table = source.table(["pair_id", "dx"]).to_pydict()
    fitting = {dx for dx, own in dx_of.items() if trained.get(own) or own == UNLABELLED}
    left_out = Counter(dx for dx in table["dx"] if dx not in fitting)
    pairs = [pair for pair, dx in zip(table["pair_id"], table["dx"], strict=True) if dx in fitting]
    if not pairs:
        raise BadInput(
            f"benchmark.external {name}: {source.location} has the classes {', '.join(source.classes)}, none of which "
            f"this run trains ({', '.join(real.classes)}); prepare it with prepare.classes to rename them, and give "
            "that manifest"
        )
    known = _seen_lesions(source, real, known_splits, pictures, work, workers, progress)
    kept = [pair for pair in pairs if pair not in known]
    if not kept:
        raise BadInput(
            f"benchmark.external {name}: every picture in {source.location} shows a lesion that this run or its base "
            "trains on; give pictures of other lesions, or leave the set out"
        )
    seen = sorted((pair, known[pair]) for pair in pairs if pair in known)
    noted = {EXTERNAL: {"left_out": dict(sorted(left_out.items())), "seen": len(seen), "first_seen": seen[:1]}}
    return write_subset(source, dict.fromkeys(kept, "test"), out, progress, Changes(real.classes, dx_of, noted))


def _class_names(source: Manifest, real: Manifest, renamed: Mapping[str, str | None]) -> dict[str, str]:
    """The class of this run by the class of the set; UNLABELLED where the set tells of no class at all."""
    if source.header["provenance"].get("task") == SEGMENTATION and LESION not in real.classes:
        renamed = {**renamed, LESION: UNLABELLED}
    return {dx: renamed.get(dx, dx) or "" for dx in (*source.classes, UNLABELLED)}


def _seen_lesions(
    source: Manifest,
    real: Manifest,
    splits: Sequence[str],
    pictures: TrainingPictures | None,
    work: Path,
    workers: int,
    progress: Progress,
) -> dict[str, str]:
    """The pairs of `source` that show a lesion of those splits of `real`, each with the first such pair, or a picture
    that the base was trained on."""
    size = int(real.arrays(split="validation", cache=work).images.shape[1])
    pairs = source.arrays(size=size, cache=work)
    own = [real.arrays(split=split, cache=work) for split in splits]
    found = dict(reversed(shared_lesions(pairs, own, work, workers, progress)))  # of several the first
    for one in np.flatnonzero(pictures.among(sketches_of(pairs))) if pictures else ():
        found.setdefault(pairs.pair_ids[one], "a picture that the base was trained on")
    return found


def untested(manifest: Manifest, tasks: Sequence[Task]) -> dict[Task, str]:
    """The tasks that the pairs of an external set cannot test, each with the reason."""
    reasons: dict[Task, str] = {}
    present = [dx for dx, count in manifest.counts().get("test", {}).items() if count and dx != UNLABELLED]
    if len(present) < 2:
        reasons["classification"] = "its pairs are of fewer than two classes of this run"
    if "given" not in {origin for _, origin in manifest.masks_by("test")}:
        reasons["segmentation"] = "no masks are given"
    return {task: why for task, why in reasons.items() if task in tasks}


def external_notes(manifest: Manifest, tasks: Sequence[Task]) -> list[str]:
    """What a reader must know of an external set: what was left out of it, and what it cannot test."""
    facts, said = manifest.header["provenance"][EXTERNAL], []
    if facts["left_out"]:
        named = ", ".join(f"{dx} {count}" for dx, count in facts["left_out"].items())
        total = sum(facts["left_out"].values())
        said.append(f"{total} pairs of classes that this run does not train are left out: {named}")
    if facts["seen"]:
        one, other = facts["first_seen"][0]
        said.append(
            f"{facts['seen']} pairs show a lesion that this run or its base trains or chooses by and are left out, the "
            f"first {one}, which is like {other}"
        )
    return said + [f"{task} is not tested: {why}" for task, why in untested(manifest, tasks).items()]


def sets_left(cell: Cell, externals: Externals, trained: Round) -> list[str]:
    """The external sets that a trained cell must still be tested on."""
    return [
        name
        for name, manifest in externals.items()
        if cell.task not in untested(manifest, trained.settings.tasks)
        and read_cell(_path(cell, name, trained), _digest(cell, manifest, trained)) is None
    ]


def predict_sets(cell: Cell, externals: Externals, trained: Round, progress: Progress = no_progress) -> None:
    """Test the model of a trained cell on each external set that it has not been tested on."""
    names = sets_left(cell, externals, trained)
    model = load_model(trained.work, cell) if names else None
    for place, name in enumerate(names):
        assert model is not None
        progress(place, len(names))
        path, external = _path(cell, name, trained), externals[name]
        pairs = judged_pairs(cell.task, external, "test", trained.settings, trained.arrays)
        saved = {"test": save_predictions(path.parent, cell, "test", predict(model, pairs))}
        write_json(path, {"digest": _digest(cell, external, trained), **asdict(cell), "predictions": saved})
    progress(len(names), len(names))


def external_results(
    name: str, external: Manifest, rounds: Sequence[Round], arms: Sequence[Mapping[str, Any]]
) -> dict[str, Any]:
    """What results.json says of one external set, tested by the models of all rounds; arms: those of results.json,
    whose scores on validation choose the strongest control here too.

    EvendermError where a cell was not tested.
    """
    settings, real = rounds[0].settings, rounds[0].real
    tasks = tuple(task for task in settings.tasks if task not in untested(external, settings.tasks))
    rare = rare_classes(real.classes, real.counts()["train"])
    sets = {task: replace(judged_set(task, replace(rounds[0], real=external), "test"), rare=rare) for task in tasks}
    entries, judged_arms = [], []
    for arm in (arm for arm in arms if arm["task"] in tasks):
        cells = [(Cell(arm["name"], arm["task"], seed), one) for one in rounds for seed in arm["seeds"]]
        measured = measure(sets[arm["task"]], [_predictions(cell, name, external, one) for cell, one in cells])
        if len(rounds) > 1:
            measured = _fold_by_fold(measured, len(rounds))
        metrics = {key: metric_entry(key, measured, settings.confidence) for key in sets[arm["task"]].names()}
        entries.append({"task": arm["task"], "name": arm["name"], "metrics": metrics})
        judged_arms.append(JudgedArm(arm["name"], arm["task"], measured, arm["validation"]["mean"]))
    own = settings.model_copy(update={"tasks": tasks})
    comparisons = compare_arms(judged_arms, own)
    facts = external.header["provenance"][EXTERNAL]
    return {
        "name": name,
        "digest": external.digest,
        "counts": external.counts()["test"],
        "groups": len(set(external.table(["group_id"], split="test")["group_id"].to_pylist())),
        "left_out": facts["left_out"],
        "seen": facts["seen"],
        "notes": external_notes(external, settings.tasks),
        "verdicts": headlines(judged_arms, comparisons, own),
        "arms": entries,
        "comparisons": comparisons,
    }


def _fold_by_fold(measured: Measured, folds: int) -> Measured:
    """Each fold's mean over its seeds in the place of a seed: seeds of one fold share their training pairs, so that
    only the spread between folds tells how far models differ."""
    figures = []
    for seeds in np.array_split(np.arange(len(measured.figures)), folds):
        ours = [measured.figures[seed] for seed in seeds]
        shared = [name for name in ours[0].values if all(name in one.values for one in ours)]
        means = {name: float(np.mean([one.values[name] for one in ours])) for name in shared}
        figures.append(Figures(means, ours[0].reasons))
    joined = {
        name: Replicates(
            found.points.reshape(folds, -1).mean(1),
            found.values.reshape(len(found.values), folds, -1).mean(2),
            found.groups,
        )
        for name, found in measured.replicates.items()
    }
    return Measured(figures, joined)


def _digest(cell: Cell, external: Manifest, trained: Round) -> str:
    """What stands for the predictions of a trained cell on an external set."""
    source = source_of(parse_arm(cell.arm), trained.synthetic, trained.restricted)
    return part_digest(cell_digest(cell, trained.real, source, trained.settings), external.digest)


def _path(cell: Cell, name: str, trained: Round) -> Path:
    return trained.work / EXTERNAL / name / f"{cell.name}.json"


def _predictions(cell: Cell, name: str, external: Manifest, trained: Round) -> np.ndarray:
    path = _path(cell, name, trained)
    content = read_cell(path, _digest(cell, external, trained))
    if content is None:
        raise EvendermError(f"{path} is not finished; run the benchmark to its end before collecting it")
    return read_predictions(path, content, "test")
