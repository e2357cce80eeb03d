"""The benchmark end to end at a tiny size: every arm, resuming cell by cell, a split that cannot be broken."""

from __future__ import annotations

import json
from collections.abc import Mapping, Sequence
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any

import numpy as np
import pyarrow as pa
import pytest
import torch

from evaluate.benchmark import Cell, collect, plan_cells, run_cell
from evaluate.results import write_results
from evaluate.settings import BenchmarkSettings
from manifests.errors import BadInput, EvendermError
from manifests.images import encode_mask, encode_png
from manifests.progress import StopRequested
from manifests.reading import Manifest
from manifests.schema import PairRow
from manifests.writing import ManifestWriter

torch.set_num_threads(1)

CLASSES = ("nv", "mel")
CONTROLS = ("real", "real+oversampling", "real+replay", "real+strong")
GENERATED = ("hybrid", "hybrid@2", "hybrid-ungated", "synthetic", "synthetic-then-real")
SETTINGS = BenchmarkSettings.model_validate(
    {
        "classification_arms": ("real+weighted-loss", *CONTROLS, *GENERATED, "real%50", "hybrid%50"),
        "segmentation_arms": (*CONTROLS, *GENERATED),
        "seeds": 2,
        "replicates": 200,
        "subgroup_pairs": 4,
        "classifier": {"model": "test_resnet", "updates": 2, "batch_size": 8, "size": 32, "checks": 1},
        "segmenter": {
            "encoder": "tu-test_resnet", "decoder_channels": (8, 8, 8, 8, 8), "updates": 2, "batch_size": 8,
            "size": 32, "checks": 1,
        },
    }
)  # fmt: skip
FEW = SETTINGS.model_copy(update={"tasks": ("classification",), "classification_arms": ("real", "hybrid"), "seeds": 1})


def row(pair_id: str, dx: str, split: str, drawing: int, **more: Any) -> PairRow:
    """A dark or a brown disc, 32 px."""
    rng = np.random.default_rng(drawing)
    rows, columns = np.mgrid[:32, :32]
    mask = (rows - rng.uniform(12, 20)) ** 2 + (columns - rng.uniform(12, 20)) ** 2 < rng.uniform(6, 9) ** 2
    colour = [40, 25, 30] if dx == "mel" else [140, 90, 60]
    image = np.where(mask[..., None], colour, [225, 180, 160]) + rng.normal(0, 6, (32, 32, 3))
    group = more.pop("group_id", pair_id)
    png = encode_png(np.clip(image, 0, 255).astype(np.uint8))
    return PairRow(pair_id, png, encode_mask(mask), dx, split, group, "discs", "CC0-1.0", **more)


def real_rows(counts: dict[str, dict[str, int]]) -> list[PairRow]:
    rows = []
    for split, by_dx in counts.items():
        for dx, count in by_dx.items():
            for i in range(count):
                attributes = {"sex": "female" if i % 2 else "male", "site": "back" if i == 0 else None}
                rows.append(row(f"discs:{split}-{dx}-{i:03d}", dx, split, len(rows), **attributes))
    return rows


def made_row(index: int, dx: str, accepted: bool = True, **changed: Any) -> PairRow:
    fields: dict[str, Any] = {
        "split": "train", "prompt": "a lesion", "seed": index, "guidance": 2.0, "steps": 6, "sampler": "dpm",
        "base_digest": "b", "adapter_digest": "a", "nearest_real_id": "discs:train-nv-000",
        "scores": {"mask_plausibility": 0.9, "mask_agreement": 0.9, "class_consistency": 0.9},
        "nearest_similarity": 0.4, "accepted": accepted, "reject_reason": None if accepted else "the mask",
    }  # fmt: skip
    fields |= changed
    split = fields.pop("split")
    return row(f"synthetic:{dx}:{index:05d}", dx, split, 1000 + index, **fields)


def manifest(folder: Path, rows: Sequence[PairRow], kind: Any = "real", classes: Sequence[str] = CLASSES) -> Manifest:
    writer = ManifestWriter(folder, classes=classes, kind=kind, provenance={"rows": len(rows)})
    for dx in classes:
        of_class = [r for r in rows if r.dx == dx]
        if of_class:
            writer.write_shard(dx, 0, of_class)
    return writer.commit()


COUNTS = {"train": {"nv": 16, "mel": 6}, "validation": {"nv": 5, "mel": 3}, "test": {"nv": 8, "mel": 5}}
MADE = [made_row(i, "mel", accepted=i % 3 > 0) for i in range(12)] + [made_row(20, "nv"), made_row(21, "nv")]


@pytest.fixture(scope="module")
def data(tmp_path_factory: pytest.TempPathFactory) -> tuple[Manifest, Manifest]:
    folder = tmp_path_factory.mktemp("data")
    real = manifest(folder / "real", real_rows(COUNTS))
    return real, manifest(folder / "synthetic", MADE, "synthetic")


@pytest.fixture(scope="module")
def finished(data: tuple[Manifest, Manifest], tmp_path_factory: pytest.TempPathFactory) -> tuple[Path, dict[str, Any]]:
    real, synthetic = data
    work = tmp_path_factory.mktemp("work")
    restricted = {0.5: synthetic}
    for cell in plan_cells(SETTINGS, real.counts(), True, restricted):
        run_cell(cell, real, synthetic, SETTINGS, work, restricted=restricted)
    found = collect(
        work, real, synthetic, SETTINGS, {"python": "3"}, {"benchmark": 1.0},
        restricted=restricted, copies={"rate": 0.0},
    )  # fmt: skip
    return work, found


def test_every_arm_of_both_tasks_is_in_valid_results(finished: tuple[Path, dict[str, Any]], tmp_path: Path) -> None:
    _, found = finished
    write_results(tmp_path / "results.json", found)
    names = {(arm["task"], arm["name"]) for arm in found["arms"]}
    assert names == {(task, str(arm)) for task in SETTINGS.tasks for arm in SETTINGS.arms(task)}
    for arm in found["arms"]:
        assert arm["seeds"] == [0, 1] and arm["updates"] == 2
        first = "macro_f1" if arm["task"] == "classification" else "dice"
        low, high = arm["metrics"][first]["interval"]
        assert 0 <= low <= arm["metrics"][first]["mean"] <= high <= 1
        assert (arm["confusion"] is None) == (arm["task"] == "segmentation")
    assert found["copies"] == {"rate": 0.0} and found["fidelity"] is None
    assert [v["task"] for v in found["verdicts"]] == ["classification", "segmentation"]


def test_all_arms_have_one_budget(finished: tuple[Path, dict[str, Any]]) -> None:
    for arm in finished[1]["arms"]:
        draws = [n for by_dx in arm["draws"].values() for n in by_dx.values()]
        assert sum(draws) == pytest.approx(2 * 8, abs=2)
        assert {run["updates"] for run in arm["runs"]} == {2}
    sizes = {(arm["task"], arm["model"], arm["parameters"]) for arm in finished[1]["arms"]}
    assert len(sizes) == 2


def test_train_counts_tell_what_was_seen(finished: tuple[Path, dict[str, Any]]) -> None:
    of_classes = [arm for arm in finished[1]["arms"] if arm["task"] == "classification"]
    counts = {arm["name"]: arm["train_counts"] for arm in of_classes}
    assert counts["real"] == {"real": {"nv": 16, "mel": 6}, "synthetic": {"nv": 0, "mel": 0}}
    assert counts["hybrid"]["synthetic"] == {"nv": 2, "mel": 8}
    assert counts["synthetic"]["real"] == {"nv": 0, "mel": 0}
    assert counts["hybrid-ungated"]["synthetic"] == {"nv": 2, "mel": 8}
    assert counts["real%50"]["real"] == {"nv": 8, "mel": 3}


def test_subgroups_with_enough_pairs_have_figures(finished: tuple[Path, dict[str, Any]]) -> None:
    for arm in finished[1]["arms"]:
        groups = {(g["attribute"], g["value"]) for g in arm["subgroups"]}
        assert groups == {("sex", "female"), ("sex", "male")}
        assert sum(g["pairs"] for g in arm["subgroups"]) == 13


def test_finished_cells_are_recognised_and_damaged_ones_run_again(
    data: tuple[Manifest, Manifest], finished: tuple[Path, dict[str, Any]]
) -> None:
    real, synthetic = data
    work, _ = finished
    cell = Cell("hybrid", "classification", 0)

    def forbidden(done: int, total: int, **figures: float | str) -> None:
        raise AssertionError("a finished cell was trained again")

    path = run_cell(cell, real, synthetic, SETTINGS, work, forbidden)
    before = {name: (work / name).read_bytes() for name in _predictions(path)}
    assert len(before) == 2
    next(iter(work.glob("hybrid-classification-0-test.npy"))).write_bytes(b"damaged")
    run_cell(cell, real, synthetic, SETTINGS, work)
    assert {name: (work / name).read_bytes() for name in before} == before
    longer = SETTINGS.model_copy(update={"classifier": SETTINGS.classifier.model_copy(update={"updates": 3})})
    with pytest.raises(AssertionError, match="trained again"):
        run_cell(cell, real, synthetic, longer, work, forbidden)


def _predictions(path: Path) -> list[str]:
    return [saved["file"] for saved in json.loads(path.read_text())["predictions"].values()]


def test_an_interrupted_benchmark_goes_on_and_ends_the_same(data: tuple[Manifest, Manifest], tmp_path: Path) -> None:
    real, synthetic = data

    def run(work: Path, stop_at: int | None) -> None:
        updates = 0

        def progress(done: int, total: int, **figures: float | str) -> None:
            nonlocal updates
            updates += 1
            if updates == stop_at:
                raise StopRequested

        for cell in plan_cells(FEW, real.counts(), True):
            run_cell(cell, real, synthetic, FEW, work, progress)

    run(tmp_path / "whole", None)
    with pytest.raises(StopRequested):
        run(tmp_path / "resumed", 3)
    with pytest.raises(EvendermError, match="not finished"):
        collect(tmp_path / "resumed", real, synthetic, FEW, {}, {})
    run(tmp_path / "resumed", None)
    names = sorted(p.name for p in (tmp_path / "whole").glob("*.npy"))
    assert names and names == sorted(p.name for p in (tmp_path / "resumed").glob("*.npy"))
    for name in names:
        assert (tmp_path / "whole" / name).read_bytes() == (tmp_path / "resumed" / name).read_bytes()
    found = [_timeless(collect(tmp_path / w, real, synthetic, FEW, {}, {})) for w in ("whole", "resumed")]
    assert found[0] == found[1]


def _timeless(found: dict[str, Any]) -> dict[str, Any]:
    """Everything but the time it took, which nothing else depends on."""
    return {name: part for name, part in found.items() if name != "timings"}


def test_without_generated_pairs_the_controls_run_and_the_rest_is_listed(
    data: tuple[Manifest, Manifest], tmp_path: Path
) -> None:
    real, _ = data
    cells = plan_cells(FEW, real.counts(), False)
    assert [cell.arm for cell in cells] == ["real"]
    run_cell(cells[0], real, None, FEW, tmp_path)
    found = collect(tmp_path, real, None, FEW, {}, {})
    assert [(s["arm"], s["reason"]) for s in found["data"]["skipped_arms"]] == [
        ("hybrid", "there are no generated pairs")
    ]
    assert found["comparisons"] == [] and found["verdicts"][0]["verdict"] is None
    with pytest.raises(BadInput, match="needs generated pairs"):
        run_cell(Cell("hybrid", "classification", 0), real, None, FEW, tmp_path)


def test_cells_go_seed_by_seed(data: tuple[Manifest, Manifest]) -> None:
    seeds = [c.seed for c in plan_cells(SETTINGS, data[0].counts(), True) if c.task == "segmentation"]
    assert seeds == sorted(seeds)
    assert len(plan_cells(BenchmarkSettings(), data[0].counts(), True)) == 4 * 3 * 2


def refused(real: Manifest, synthetic: Manifest | None, work: Path) -> str:
    """The one sentence with which a cell refuses the data."""
    with pytest.raises(BadInput) as error:
        run_cell(Cell("hybrid", "classification", 0), real, synthetic, FEW, work)
    assert "\n" not in str(error.value)
    return str(error.value)


@dataclass(frozen=True, eq=False)
class Tampered(Manifest):
    """A manifest whose rows claim what no writer of ours would commit."""

    claims: Mapping[str, str] = field(default_factory=dict)

    def table(self, *args: Any, **named: Any) -> pa.Table:
        table = super().table(*args, **named)
        for name, value in self.claims.items():
            column = pa.array([value] * len(table))
            table = table.set_column(table.column_names.index(name), name, column)
        return table


def tampered(honest: Manifest, **claims: str) -> Tampered:
    return Tampered(honest.storage, honest.header, honest.digest, honest.shards, claims)


@pytest.mark.parametrize("split", ["validation", "test"])
def test_generated_pairs_outside_training_are_refused(
    data: tuple[Manifest, Manifest], tmp_path: Path, split: str
) -> None:
    said = refused(data[0], tampered(data[1], split=split), tmp_path)
    assert f"is in {split}" in said and "synthesise again" in said
    with pytest.raises(BadInput, match="training split"):
        manifest(tmp_path / "made", [made_row(0, "mel", split=split)], "synthetic")


def test_rows_that_claim_another_origin_or_split_are_refused(data: tuple[Manifest, Manifest], tmp_path: Path) -> None:
    assert "is generated" in refused(tampered(data[0], origin="synthetic"), data[1], tmp_path)
    assert "not marked as generated" in refused(data[0], tampered(data[1], origin="real"), tmp_path)
    assert "unknown split" in refused(tampered(data[0], split="holdout"), data[1], tmp_path)


def test_a_lesion_on_two_sides_is_refused(data: tuple[Manifest, Manifest], tmp_path: Path) -> None:
    rows = [*real_rows(COUNTS), row("discs:a", "nv", "train", 901, group_id="lesion-7")]
    leaking = manifest(tmp_path / "real", [*rows, row("discs:b", "nv", "test", 902, group_id="lesion-7")])
    said = refused(leaking, data[1], tmp_path / "work")
    assert "lesion-7" in said and "train" in said and "test" in said


def test_the_same_picture_on_two_sides_is_refused(data: tuple[Manifest, Manifest], tmp_path: Path) -> None:
    rows = [*real_rows(COUNTS), row("discs:a", "nv", "train", 901), row("discs:b", "nv", "test", 901)]
    assert "picture" in refused(manifest(tmp_path / "real", rows), data[1], tmp_path / "work")


def test_pairs_judged_against_test_pairs_are_refused(data: tuple[Manifest, Manifest], tmp_path: Path) -> None:
    peeking = [made_row(0, "mel", nearest_real_id="discs:test-mel-000")]
    said = refused(data[0], manifest(tmp_path / "made", peeking, "synthetic"), tmp_path / "work")
    assert "discs:test-mel-000" in said and "synthesise again" in said


def test_another_dataset_s_pairs_are_refused(data: tuple[Manifest, Manifest], tmp_path: Path) -> None:
    other = manifest(tmp_path / "made", [made_row(0, "mel")], "synthetic", classes=("mel", "bkl"))
    assert "mel, bkl" in refused(data[0], other, tmp_path / "work")
    assert "generated" in refused(data[1], data[1], tmp_path / "work")


def test_a_test_set_of_one_class_is_refused(data: tuple[Manifest, Manifest], tmp_path: Path) -> None:
    single = manifest(tmp_path / "real", real_rows(COUNTS | {"test": {"nv": 8}}))
    assert "only nv" in refused(single, data[1], tmp_path / "work")


def test_a_split_without_pairs_is_refused(data: tuple[Manifest, Manifest], tmp_path: Path) -> None:
    without = manifest(tmp_path / "real", real_rows({k: v for k, v in COUNTS.items() if k != "validation"}))
    assert "no validation pair" in refused(without, data[1], tmp_path / "work")


def test_a_class_without_test_pairs_is_noted_and_its_metrics_are_null(
    data: tuple[Manifest, Manifest], tmp_path: Path
) -> None:
    classes = ("nv", "mel", "bkl")
    counts = {split: by_dx | {"bkl": 3} for split, by_dx in COUNTS.items() if split != "test"}
    real = manifest(tmp_path / "real", real_rows(counts | {"test": COUNTS["test"]}), classes=classes)
    settings = FEW.model_copy(update={"classification_arms": ("real",)})
    (cell,) = plan_cells(settings, real.counts(), False)
    run_cell(cell, real, None, settings, tmp_path / "work")
    found = collect(tmp_path / "work", real, None, settings, {}, {})
    assert found["data"]["notes"][0].startswith("class bkl has no test pair")
    recall = found["arms"][0]["metrics"]["recall:bkl"]
    assert (recall["mean"], recall["interval"], recall["per_seed"]) == (None, None, [None])
    assert recall["reason"] == "no test pair of class bkl"
    assert found["arms"][0]["metrics"]["macro_f1"]["mean"] is not None
