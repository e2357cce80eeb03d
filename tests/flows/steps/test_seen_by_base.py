"""What a run makes of pictures that its base was trained on: they are in train, counted and told, and never tested."""

from __future__ import annotations

import json
from pathlib import Path
from types import SimpleNamespace
from typing import Any

import pytest

from augment.base.folder import SHIPPED
from evaluate.benchmark.evidence import check_evidence, check_unseen
from evaluate.benchmark.folds import fold_splits
from evaluate.settings.benchmark import BenchmarkSettings
from flows.run.folder import Job, RunFolder
from flows.settings import load_settings
from flows.steps.prepare import open_real, prepare_source, steps, unknown_pictures
from flows.story import found_by
from flows.studies.pretrain import pretrain
from manifests.copying import write_subset
from manifests.duplicates.sketches import (
    load_training_pictures,
    save_training_pictures,
    sketched,
    sketches_of,
    thumbnails,
    training_pictures,
)
from manifests.errors import BadInput
from manifests.format.reading import Manifest, open_manifest
from manifests.format.schema import FINGERPRINTS, SPLITS
from manifests.phantom.draw import draw_pair, write_csv, write_image, write_mask, write_phantom
from manifests.prepare.prepare import prepare
from manifests.progress import no_progress
from manifests.settings import PrepareSettings

TEST_TRUTH = "ISIC-2017_Test_v2_Part3_GroundTruth.csv"
SMALL = ("prepare.size=128", "prepare.workers=1", "prepare.masks.find=false")


@pytest.fixture(scope="module")
def data(tmp_path_factory: pytest.TempPathFactory) -> Path:
    folder = tmp_path_factory.mktemp("seen") / "isic"
    write_phantom(folder, 30, 5, size=96)
    return folder


@pytest.fixture(scope="module")
def before(data: Path) -> Manifest:
    """The data as a run prepares them whose base says nothing."""
    prepare(data, data.parent / "before", PrepareSettings(size=64))
    return open_manifest(data.parent / "before")


@pytest.fixture(scope="module")
def base(before: Manifest) -> Path:
    """A base that was trained on two of the test pictures, and on others than these data have."""
    others = open_manifest(before.location).arrays(split="test")
    folder = Path(before.location).parent / "base"
    folder.mkdir()
    save_training_pictures(training_pictures(sketches_of(others.select([0, 1]))), folder)
    return folder


def run_on(data: Path, out: Path, base: Path | str, *overrides: str) -> Job:
    settings = load_settings("tiny", overrides=[*SMALL, f"base.path={base}", *overrides])
    return Job(RunFolder(out), data, "tiny", settings)


@pytest.fixture(scope="module")
def prepared(data: Path, base: Path) -> Job:
    """The data as a run prepares them beside that base."""
    job = run_on(data, data.parent / "run", base)
    prepare_source(job, no_progress)
    return job


def test_training_pictures_of_the_base_in_the_official_test_split_are_moved_and_told(
    before: Manifest, prepared: Job
) -> None:
    planted, real = before.arrays(split="test").pair_ids[:2], open_real(prepared)
    told = json.loads((prepared.folder.records / "prepare.json").read_text(encoding="utf-8"))["figures"]["understood"]
    rows = {row["pair_id"]: row for row in real.table(["pair_id", "split", "seen_by_base"]).to_pylist()}
    assert {pair for pair, row in rows.items() if row["seen_by_base"]} == {*planted}
    assert {rows[pair]["split"] for pair in planted} == {"train"}
    assert sum(real.counts()["test"].values()) == sum(before.counts()["test"].values()) - 2
    sentence = (
        "the base was trained on 2 of the pairs, which are in train, 2 of them moved there from validation or test"
    )
    assert any(sentence in line for line in told)
    assert sentence in (prepared.folder.real / "summary.md").read_text(encoding="utf-8")
    check_evidence(real, None, ("segmentation",))


def test_in_random_splits_and_folds_they_are_never_held_out(
    data: Path, before: Manifest, base: Path, tmp_path: Path
) -> None:
    pictures, planted = load_training_pictures(base), before.arrays(split="test").pair_ids[:2]
    for split in ("folds", "grouped"):
        settings = PrepareSettings(size=64, split=split, folds=3, test_fraction=0.5, duplicates=False)
        prepare(data, tmp_path / split, settings, pictures=pictures)
        table = open_manifest(tmp_path / split).table(["pair_id"], split="train")
        assert {*planted} <= {*table["pair_id"].to_pylist()}
    grouped = open_manifest(tmp_path / "grouped")
    for splits in fold_splits(grouped, BenchmarkSettings(folds=3), 0.2, 0):
        assert {splits[pair] for pair in planted} == {"train"}


def test_another_picture_of_a_lesion_that_the_base_has_seen_goes_with_it(tmp_path: Path) -> None:
    rows = []
    for number in range(8):
        pair = draw_pair("nv" if number % 2 else "mel", 4, number, 96)
        write_image(tmp_path / "data" / f"p{number}.jpg", pair.image)
        write_mask(tmp_path / "data" / f"m{number}.png", pair.mask)
        lesion, split = max(number, 1), ("test", "test", "test", "train", "train", "validation", "test", "test")[number]
        rows.append([f"p{number}.jpg", f"m{number}.png", pair.dx, f"lesion{lesion}", split])
    write_csv(tmp_path / "data" / "table.csv", ["image", "mask", "dx", "lesion_id", "split"], rows)
    seen = draw_pair("mel", 4, 0, 96)
    pictures = training_pictures(sketched(thumbnails(seen.image, seen.mask)[None]))
    summary = prepare(tmp_path / "data" / "table.csv", tmp_path / "m", PrepareSettings(size=64), pictures=pictures)
    assert {split: sum(of.values()) for split, of in summary.counts.items()} == {"train": 4, "validation": 1, "test": 3}
    told = "trained on 1 of the pairs, which are in train with 1 more of their groups, 2 of them moved there"
    assert any(told in line for line in summary.understood) and summary.rejected == ()


def test_a_test_split_that_holds_nothing_else_stays_and_is_refused_by_the_benchmark(tmp_path: Path) -> None:
    rows = []
    for number, split in enumerate(("train", "train", "validation", "test")):
        pair = draw_pair("nv" if number % 2 else "mel", 4, number, 96)
        write_image(tmp_path / "data" / f"p{number}.jpg", pair.image)
        write_mask(tmp_path / "data" / f"m{number}.png", pair.mask)
        rows.append([f"p{number}.jpg", f"m{number}.png", pair.dx, split])
    write_csv(tmp_path / "data" / "table.csv", ["image", "mask", "dx", "split"], rows)
    seen = draw_pair("nv", 4, 3, 96)
    pictures = training_pictures(sketched(thumbnails(seen.image, seen.mask)[None]))
    summary = prepare(tmp_path / "data" / "table.csv", tmp_path / "m", PrepareSettings(size=64), pictures=pictures)
    assert {split: sum(of.values()) for split, of in summary.counts.items()} == {"train": 2, "validation": 1, "test": 1}
    assert any("test stays as it was told" in line for line in summary.understood)
    with pytest.raises(BadInput, match="of test shows what the base was trained on"):
        check_evidence(open_manifest(tmp_path / "m"), None, ())


def test_the_benchmark_refuses_what_was_prepared_beside_another_base(before: Manifest, base: Path) -> None:
    pictures, settings = load_training_pictures(base), BenchmarkSettings()
    check_unseen(before, None, settings)
    with pytest.raises(BadInput, match=r"of test shows what the base was trained on; prepare the source again"):
        check_unseen(before, pictures, settings)


def test_a_marked_pair_outside_train_is_refused(prepared: Job, tmp_path: Path) -> None:
    real = open_real(prepared)
    chosen = dict.fromkeys(real.table(["pair_id"])["pair_id"].to_pylist(), "test")
    with pytest.raises(BadInput, match="of test shows what the base was trained on"):
        check_evidence(write_subset(real, chosen, tmp_path / "forged"), None, ())


def test_a_base_without_fingerprints_is_named_as_one_that_may_have_seen_anything(
    data: Path, base: Path, tmp_path: Path
) -> None:
    (line,) = unknown_pictures(run_on(data, tmp_path, "runwayml/stable-diffusion-v1-5"))
    assert "runwayml/stable-diffusion-v1-5 carries no fingerprints" in line and "unknown" in line
    assert not unknown_pictures(run_on(data, tmp_path, base)), "this one says what it has seen"


def test_what_nobody_knows_is_told_of_the_base_that_the_run_has_now(
    data: Path, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    (tmp_path / "real").mkdir()
    (tmp_path / "real" / "manifest.json").write_text("{}")
    figures: dict[str, Any] = {"source_name": "isic2017", "counts": {}, "rejected_counts": {}}
    summary = SimpleNamespace(**figures, groups=0, understood=("layout isic2017",))
    monkeypatch.setattr("manifests.prepare.prepare.prepare", lambda *_: summary)
    prepare_source(run_on(data, tmp_path, "one"), no_progress)
    layout, line = found_by(run_on(data, tmp_path, "another"), "prepare")["understood"]
    assert layout == "layout isic2017" and line.startswith("the base another carries no fingerprints")


def test_pretrain_writes_fingerprints_of_its_training_pairs_into_a_base(
    data: Path, before: Manifest, tmp_path: Path
) -> None:
    base, settings = tmp_path / "base", load_settings("tiny", overrides=SMALL)
    with pytest.raises(BadInput, match="holds no base"):
        pretrain(data, base, tmp_path / "work", settings, only="fingerprints")
    base.mkdir()
    (base / "model_index.json").write_text("{}")
    assert pretrain(data, base, tmp_path / "work", settings, only="fingerprints") == 0
    written = load_training_pictures(base)
    assert written is not None
    for split in SPLITS:
        assert {*written.among(sketches_of(before.arrays(split=split))).tolist()} == {split == "train"}


def test_the_shipped_base_says_what_it_was_trained_on() -> None:
    shipped = load_training_pictures(SHIPPED)
    assert shipped is not None and len(shipped) == 1989, "the number that its card names"


def test_other_fingerprints_make_prepare_run_again_and_forged_ones_stop_it(
    data: Path, base: Path, tmp_path: Path
) -> None:
    own = tmp_path / "base"
    own.mkdir()
    job = run_on(data, tmp_path / "run", own)
    (without,) = steps(job)
    (own / FINGERPRINTS).write_bytes((base / FINGERPRINTS).read_bytes())
    (beside,) = steps(job)
    assert without.digest != beside.digest
    (own / FINGERPRINTS).write_bytes((base / FINGERPRINTS).read_bytes()[:-1])
    with pytest.raises(BadInput, match=r"fingerprints\.safetensors"):
        prepare_source(job, no_progress)
    assert not (tmp_path / "run" / "real").exists()
