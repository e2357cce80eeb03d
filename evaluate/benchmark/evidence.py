"""The split is obeyed, or nothing is measured: checks that stop a benchmark whose data would flatter it."""

from __future__ import annotations

from collections.abc import Collection, Mapping, Sequence
from pathlib import Path

from evaluate.settings.arms import Task, parse_arm
from evaluate.settings.benchmark import BenchmarkSettings
from manifests.duplicates.sketches import TrainingPictures, sketches_of
from manifests.errors import BadInput
from manifests.format.reading import Manifest
from manifests.format.schema import BASE_PICTURES, ORIGINS, SEEN, SPLITS

LEAST_SEEDS = 3
# Among which the strongest is looked for; weighing classes means nothing where masks are learned.
EVIDENCE_CONTROLS: dict[Task, tuple[str, ...]] = {
    "classification": ("real", "real+oversampling", "real+weighted-loss", "real+replay", "real+copy-paste"),
    "segmentation": ("real", "real+oversampling", "real+replay", "real+copy-paste"),
}

# A digest stands for every byte of a manifest, so that one is read through once in a process, not for each cell: the
# splits of real pairs, by digest, and the manifests whose generated pairs were checked against them.
_SPLITS: dict[str, dict[str, str]] = {}
_CHECKED: set[tuple[str, str]] = set()


def check_evidence(
    real: Manifest, synthetic: Manifest | None, tasks: Sequence[Task], *, of_a_part: bool = False
) -> None:
    """Raise BadInput, naming the manifest and the pair, if a figure measured on these data would mislead.

    A generated pair in the real manifest, or outside training; a group or a picture on two sides of the
    split; generated pairs of another real manifest, which may have seen what is test here; a generated pair
    that was compared with a real one outside training; another dataset's classes; test pairs that cannot tell
    classes apart. of_a_part: the pairs were generated from a part of the real ones, a manifest of its own.
    """
    if real.digest not in _SPLITS:
        _SPLITS[real.digest] = _check_real(real)
    if synthetic is not None and (real.digest, synthetic.digest) not in _CHECKED:
        _check_synthetic(real, synthetic, _SPLITS[real.digest])
        _CHECKED.add((real.digest, synthetic.digest))
    if "classification" in tasks:
        _check_classes(real)
    check_splits(real)
    if synthetic is not None and not of_a_part:
        check_made_from(real, synthetic)


def check_splits(real: Manifest) -> None:
    """BadInput if a split has no pair."""
    counts = real.counts()
    empty = [split for split in SPLITS if not sum(counts.get(split, {}).values())]
    if "train" in empty:
        raise BadInput(f"{real.location} has no train pair; prepare the source again with a train split")
    if empty:
        settings = " and ".join(f"prepare.{split}_fraction" for split in empty)
        raise BadInput(
            f"{real.location} has no {' and no '.join(empty)} pair; prepare the source again with {settings} above 0, "
            "which takes three lesions of a class"
        )


def check_made_from(real: Manifest, synthetic: Manifest) -> None:
    """BadInput if the generated pairs say that they were made from another real manifest than `real`."""
    inputs = synthetic.header["provenance"].get("inputs") or {}
    stated = inputs.get("real") if isinstance(inputs, Mapping) else None
    if stated is not None and stated != real.digest:
        raise BadInput(
            f"{synthetic.location} was generated from another real manifest ({str(stated)[:12]}) than {real.location} "
            f"({real.digest[:12]}), perhaps with another split; synthesise again from this one"
        )


def _check_real(real: Manifest) -> dict[str, str]:
    """Check the real manifest; the split of each pair by its id."""
    columns = ["pair_id", "origin", "split", "group_id", "image_sha256", SEEN]
    table = real.table([name for name in columns if name in real.columns()])
    rows = list(zip(*(table[name].to_pylist() for name in table.column_names), strict=True))
    groups: dict[str, str] = {}
    pictures: dict[str, str] = {}
    for pair_id, origin, split, group, picture, *seen_by in rows:
        if origin not in ORIGINS["real"]:
            raise BadInput(f"{real.location}: pair {pair_id} is generated; a real manifest holds real pairs only")
        if split not in SPLITS:
            raise BadInput(f"{real.location}: pair {pair_id} has the unknown split {split!r}; prepare it again")
        if any(seen_by) and split != "train":
            raise _seen(real, pair_id, split)
        for kind, seen, key in (("group", groups, group), ("picture", pictures, picture)):
            if seen.setdefault(key, split) != split:
                raise BadInput(
                    f"{real.location}: {kind} {key[:40]} of pair {pair_id} is in {seen[key]} and in {split}; "
                    "prepare the source again so that each lies on one side"
                )
    return {row[0]: row[2] for row in rows}


def seen_by_base(real: Manifest) -> set[str]:
    """The pairs that the base was trained on, as prepare marked them; none where nothing tells."""
    if SEEN not in real.columns():
        return set()
    return {row["pair_id"] for row in real.table(["pair_id", SEEN]).to_pylist() if row[SEEN]}


def check_unseen(
    real: Manifest, pictures: TrainingPictures | None, settings: BenchmarkSettings, cache: Path | None = None
) -> None:
    """BadInput if a pair to be tested shows one of the `pictures` that the base was trained on, unmarked.

    They are looked for where `real` was prepared beside another base, or none.
    """
    if pictures is None or real.header["provenance"].get(BASE_PICTURES) == pictures.digest:
        return
    if (real.digest, pictures.digest) in _CHECKED:
        return
    marked = seen_by_base(real)
    for split in settings.fold_splits if settings.cross_validated else ("validation", "test"):
        pairs = real.arrays(split=split, cache=cache)
        for pair_id, seen in zip(pairs.pair_ids, pictures.among(sketches_of(pairs)), strict=True):
            if seen and pair_id not in marked:
                raise _seen(real, pair_id, split)
    _CHECKED.add((real.digest, pictures.digest))


def _seen(real: Manifest, pair_id: str, split: str) -> BadInput:
    return BadInput(
        f"{real.location}: pair {pair_id} of {split} shows what the base was trained on; prepare the source again with "
        "the base.path that is used now, which keeps it in train, and where told splits stay with prepare.split=grouped"
    )


def _check_synthetic(real: Manifest, synthetic: Manifest, sides: dict[str, str]) -> None:
    where = synthetic.location
    if synthetic.classes != real.classes:
        raise BadInput(
            f"{where} has the classes {', '.join(synthetic.classes)} but {real.location} has "
            f"{', '.join(real.classes)}; synthesise from this real manifest"
        )
    columns = ["pair_id", "origin", "split"]
    columns += ["nearest_real_id"] if "nearest_real_id" in synthetic.columns() else []
    table = synthetic.table(columns, accepted_only=False)
    for row in table.to_pylist():
        if row["origin"] != "synthetic":
            raise BadInput(f"{where}: pair {row['pair_id']} is not marked as generated; synthesise again")
        if row["split"] != "train":
            raise BadInput(
                f"{where}: generated pair {row['pair_id']} is in {row['split']}; these may only be in "
                "train: synthesise again"
            )
        nearest = row.get("nearest_real_id")
        if nearest is not None and nearest not in sides:
            raise BadInput(
                f"{where}: generated pair {row['pair_id']} was compared with {nearest}, which {real.location} does not "
                "hold; synthesise again from this real manifest"
            )
        if nearest is not None and sides[nearest] != "train":
            raise BadInput(
                f"{where}: generated pair {row['pair_id']} was compared with {nearest}, which is in "
                f"{sides[nearest]}; synthesise again from the training pairs of {real.location}"
            )


def _check_classes(real: Manifest) -> None:
    counts = real.counts()
    for split, purpose in (("train", "learn from"), ("test", "be judged on")):
        present = [dx for dx in real.classes if counts.get(split, {}).get(dx)]
        if len(present) < 2:
            held = f"only {present[0]}" if present else "no class"
            raise BadInput(
                f"{real.location}: the {split} pairs hold {held}, but classification needs two classes to "
                f"{purpose}; add pairs or leave the task classification out"
            )
    for dx in real.classes:
        if counts["test"].get(dx) and not counts["train"].get(dx):
            raise BadInput(f"{real.location}: class {dx} has test pairs but no training pair; prepare it again")


def notes(real: Manifest, synthetic: Manifest | None) -> list[str]:
    """What a reader of the figures must know about the data."""
    counts, said = real.counts(), []
    if real.drawn:
        said.append(f"{real.drawn} pairs are drawn by a program and no photographs: nothing here is about real skin")
    for dx in real.classes:
        if counts["train"].get(dx) and not counts["test"].get(dx):
            said.append(f"class {dx} has no test pair: its own metrics cannot be computed, means leave it out")
    if synthetic is not None:
        made = synthetic.counts().get("train", {})
        absent = [dx for dx in real.classes if counts["train"].get(dx) and not made.get(dx)]
        if absent:
            said.append(f"no generated pairs of {', '.join(absent)}: arms of generated pairs alone never see them")
    unknown = sum(n for by_dx in counts.values() for dx, n in by_dx.items() if dx not in real.classes)
    if unknown:
        said.append(f"{unknown} pairs of unknown class take part in segmentation only")
    return said


def evidence_notes(settings: BenchmarkSettings, trained: Collection[tuple[str, str]]) -> list[str]:
    """Where the benchmark asked for less than the rules of evidence do: seeds, and controls for the verdict.

    trained: task and name of every arm that was.
    """
    said = []
    if settings.seeds < LEAST_SEEDS:
        seeds = "1 seed" if settings.seeds == 1 else f"{settings.seeds} seeds"
        said.append(
            f"each arm was trained with {seeds}, and evidence asks for {LEAST_SEEDS} at least: take the verdicts as "
            "preliminary, or raise benchmark.seeds"
        )
    for task in settings.tasks:
        names = [name for of_task, name in trained if of_task == task]
        left_out = [control for control in EVIDENCE_CONTROLS[task] if control not in names]
        if left_out and any(not parse_arm(name).is_control for name in names):
            were = "was" if len(left_out) == 1 else "were"
            said.append(
                f"{task}: of the controls, {', '.join(left_out)} {were} not trained; the strongest of the others may "
                "be weaker than they"
            )
    return said
