"""prepare: every row is in the manifest or in rejected.csv with its reason, and no lesion is in two splits."""

from __future__ import annotations

import hashlib
from collections import Counter
from pathlib import Path
from typing import Any

import numpy as np
import pytest

from manifests.errors import BadInput
from manifests.format.reading import open_manifest
from manifests.format.verify import verify_manifest
from manifests.phantom.draw import draw_pair, write_csv, write_image, write_mask, write_phantom
from manifests.prepare.prepare import prepare
from manifests.prepare.summary import PrepareSummary
from manifests.progress import StopRequested
from manifests.settings import PrepareSettings
from tests.manifests.sources.phantom_layouts import rephotographed, write_isic2018, write_layout

SMALL = PrepareSettings(size=48)
TRAIN, TRAIN_MASKS = "ISIC-2017_Training_Data", "ISIC-2017_Training_Part1_GroundTruth"
TRUTH = "ISIC-2017_Training_Part3_GroundTruth.csv"


@pytest.fixture()
def isic(tmp_path: Path) -> Path:
    """18 pairs of 64 px in the ISIC 2017 layout, to be spoilt."""
    write_phantom(tmp_path / "isic", 18, 0, size=64)
    return tmp_path / "isic"


def _train_ids(folder: Path) -> list[str]:
    return sorted(p.stem for p in (folder / TRAIN).iterdir())


def _bytes(folder: Path) -> dict[str, str]:
    files = sorted(p for p in folder.rglob("*") if p.is_file())
    return {str(p.relative_to(folder)): hashlib.sha256(p.read_bytes()).hexdigest() for p in files}


def test_a_clean_dataset_becomes_a_manifest_that_verifies(isic: Path, tmp_path: Path) -> None:
    summary = prepare(isic, tmp_path / "m", SMALL)
    manifest = open_manifest(tmp_path / "m")
    assert summary.rejected == () and summary.classes == ("bkl", "mel", "nv") and summary.groups == 18
    assert sum(sum(of.values()) for of in manifest.counts().values()) == 18
    assert summary.counts == manifest.counts() and summary.manifest_digest == manifest.digest
    assert verify_manifest(tmp_path / "m").ok
    arrays = manifest.arrays()
    assert arrays.images.shape == (18, 48, 48, 3) and arrays.masks.any((1, 2)).all()
    assert all(pair_id.startswith("isic2017:ISIC_") for pair_id in arrays.pair_ids)


def test_the_same_data_give_the_same_bytes_whatever_the_workers(isic: Path, tmp_path: Path) -> None:
    for name, workers in (("one", 1), ("three", 3)):
        prepare(isic, tmp_path / name, PrepareSettings(size=48, workers=workers))
    assert _bytes(tmp_path / "one") == _bytes(tmp_path / "three")
    prepare(isic, tmp_path / "one", SMALL)
    assert _bytes(tmp_path / "one") == _bytes(tmp_path / "three"), "again over itself"


def test_images_are_cut_to_the_centre_square_and_their_masks_with_them(tmp_path: Path) -> None:
    image = np.full((60, 100, 3), 220, np.uint8)
    mask = np.zeros((60, 100), bool)
    image[20:40, 45:60], mask[20:40, 45:60] = (90, 50, 40), True
    write_image(tmp_path / "d" / "nv" / "a.png", image)
    write_mask(tmp_path / "d" / "masks" / "nv" / "a.png", mask)
    prepare(tmp_path / "d", tmp_path / "m", PrepareSettings(size=60))
    arrays = open_manifest(tmp_path / "m").arrays()
    assert np.array_equal(arrays.images[0], image[:, 20:80])
    assert np.array_equal(arrays.masks[0], mask[:, 20:80])


def test_strict_makes_any_of_them_an_error_and_leaves_the_earlier_manifest(isic: Path, tmp_path: Path) -> None:
    strict = PrepareSettings(size=48, strict=True)
    prepare(isic, tmp_path / "m", strict)
    before = _bytes(tmp_path / "m")
    (isic / TRAIN / f"{_train_ids(isic)[0]}.jpg").write_bytes(b"no picture")
    with pytest.raises(BadInput, match=r"strict: 1 rows would be set aside.*not a readable picture"):
        prepare(isic, tmp_path / "m", strict)
    assert _bytes(tmp_path / "m") == before


def test_a_file_that_is_no_picture_gives_the_same_reason_every_time(isic: Path, tmp_path: Path) -> None:
    (isic / TRAIN / f"{_train_ids(isic)[0]}.jpg").write_bytes(b"no picture")
    for name in ("m", "n"):
        prepare(isic, tmp_path / name, SMALL)
    rejected = (tmp_path / "m" / "rejected.csv").read_bytes()
    assert b"its format is not known" in rejected
    assert (tmp_path / "n" / "rejected.csv").read_bytes() == rejected


def _add(folder: Path, split: str, name: str, image: np.ndarray, mask: np.ndarray, flags: tuple[str, str]) -> None:
    stem = f"ISIC-2017_{split}"
    write_image(folder / f"{stem}_Data" / f"{name}.png", image)
    write_mask(folder / f"{stem}_Part1_GroundTruth" / f"{name}_segmentation.png", mask)
    with (folder / f"{stem}_Part3_GroundTruth.csv").open("a") as file:
        file.write(f"{name},{','.join(flags)}\n")


def test_a_lesion_photographed_for_train_and_test_stays_in_test_alone(tmp_path: Path) -> None:
    write_phantom(tmp_path / "isic", 12, 0, size=128)
    pair = draw_pair("mel", 77, 1, 128)
    again = rephotographed(pair, 3)
    flipped = pair.image[:, ::-1].copy(), pair.mask[:, ::-1].copy()
    _add(tmp_path / "isic", "Training", "ISIC_1000001", pair.image, pair.mask, ("1", "0"))
    _add(tmp_path / "isic", "Training", "ISIC_1000002", *flipped, ("1", "0"))
    _add(tmp_path / "isic", "Test_v2", "ISIC_1000003", again.image, again.mask, ("1", "0"))
    summary = prepare(tmp_path / "isic", tmp_path / "m", PrepareSettings(size=128))
    leaked = [row for row in summary.rejected if row.check == "split leak"]
    assert [row.pair_id for row in leaked] == ["isic2017:ISIC_1000001", "isic2017:ISIC_1000002"]
    assert "same lesion or patient as isic2017:ISIC_1000003 in test" in leaked[0].reason
    assert summary.duplicates.clusters == 1 and summary.duplicates.across_splits >= 1
    groups = open_manifest(tmp_path / "m").table(["group_id", "split"]).to_pylist()
    assert len({row["group_id"] for row in groups}) == len(groups) == summary.groups
    with pytest.raises(BadInput, match="strict"):
        prepare(tmp_path / "isic", tmp_path / "n", PrepareSettings(size=128, strict=True))


def test_grouped_splits_keep_near_duplicates_together(tmp_path: Path) -> None:
    write_layout(tmp_path / "ham", "ham10000", 40, 1, size=96)
    summary = prepare(tmp_path / "ham", tmp_path / "m", PrepareSettings(size=96))
    rows = open_manifest(tmp_path / "m").table(["group_id", "split"]).to_pylist()
    splits: dict[str, set[str]] = {}
    for row in rows:
        splits.setdefault(row["group_id"], set()).add(row["split"])
    assert all(len(told) == 1 for told in splits.values())
    assert len(rows) == 40 and len(splits) == summary.groups < 40


def test_a_source_without_masks_serves_classification_and_one_without_classes_segmentation(tmp_path: Path) -> None:
    write_isic2018(tmp_path / "classes", 12, 0, 48, tasks=(3,))
    write_isic2018(tmp_path / "masks", 12, 0, 48, tasks=(1,))
    classification = prepare(tmp_path / "classes", tmp_path / "c", SMALL)
    assert classification.task == "classification" and len(classification.classes) > 2
    assert all(row["mask"] is None for row in open_manifest(tmp_path / "c").table(["mask"]).to_pylist())
    segmentation = prepare(tmp_path / "masks", tmp_path / "s", SMALL)
    assert segmentation.task == "segmentation" and segmentation.classes == ("lesion",)
    rows = open_manifest(tmp_path / "s").table(["dx", "label"]).to_pylist()
    assert {(row["dx"], row["label"]) for row in rows} == {("lesion", 0)}


def test_masks_and_classes_of_different_images_are_prepared_as_a_whole(tmp_path: Path) -> None:
    write_isic2018(tmp_path / "d", 10, 0, 48, tasks=(1,))
    write_isic2018(tmp_path / "e", 10, 1, 48, tasks=(3,))
    for path in (tmp_path / "e").rglob("*.jpg"):
        path.rename(path.with_name(path.name.replace("ISIC_0", "ISIC_1")))
    for path in (tmp_path / "e").rglob("*.csv"):
        path.write_text(path.read_text().replace("ISIC_0", "ISIC_1"))
    for child in (tmp_path / "e").iterdir():
        child.rename(tmp_path / "d" / child.name)
    whole = prepare(tmp_path / "d", tmp_path / "whole", SMALL)
    rows = open_manifest(tmp_path / "whole").table(["mask_origin", "dx"]).to_pylist()
    assert sum(row["mask_origin"] == "given" for row in rows) == sum(row["dx"] == "unlabelled" for row in rows) == 10
    assert whole.task == "pairs" and "masks: 10 given, 10 missing, 0 found" in whole.understood
    halves = "10 pairs with a mask and no class serve segmentation alone, and 10 with a class and no given mask"
    assert any(line.startswith(halves) for line in whole.understood)
    assert any("by lesion_id of the lesion groupings" in line for line in whole.understood)
    summary = prepare(tmp_path / "d", tmp_path / "m", PrepareSettings(size=48, task="segmentation"))
    assert summary.rejected_counts == {"missing mask": 10}


def _splits_of(location: Path) -> dict[str, str]:
    table = open_manifest(location).table(["pair_id", "split"])
    return dict(zip(table["pair_id"].to_pylist(), table["split"].to_pylist(), strict=True))


def _table(folder: Path, pairs: dict[str, tuple[np.ndarray, np.ndarray]], **splits: str) -> None:
    rows = []
    for name, (image, mask) in pairs.items():
        write_image(folder / f"{name}.png", image)
        write_mask(folder / "masks" / f"{name}.png", mask)
        rows.append((f"{name}.png", f"masks/{name}.png", "mel" if int(name[1:]) % 3 == 0 else "nv"))
        rows[-1] += (splits.get(name, ""),) if splits else ()
    write_csv(folder / "pairs.csv", ("image", "mask", "class", *(("split",) if splits else ())), rows)


def test_pairs_of_an_earlier_manifest_keep_their_splits_when_rows_are_added(tmp_path: Path) -> None:
    drawn = [draw_pair("nv", 5, number, 128) for number in range(40)]
    first = {f"b{number}": (pair.image, pair.mask) for number, pair in enumerate(drawn)}
    _table(tmp_path / "first", first)
    prepare(tmp_path / "first", tmp_path / "m", PrepareSettings(size=128))
    before = _splits_of(tmp_path / "m")
    # New pictures of every earlier lesion, whose ids come first and so name the clusters, and exact copies.
    again = {f"a{number}": rephotographed(pair, 3) for number, pair in enumerate(drawn)}
    added = {name: (pair.image, pair.mask) for name, pair in again.items()}
    copies = {f"A{number}": (pair.image, pair.mask) for number, pair in enumerate(drawn[:4])}
    new = {f"c{number}": draw_pair("nv", 6, number, 128) for number in range(20)}
    more = {**first, **added, **copies, **{name: (pair.image, pair.mask) for name, pair in new.items()}}
    _table(tmp_path / "second", more)
    keeping = PrepareSettings(size=128, keep_splits_of=str(tmp_path / "m"))
    summary = prepare(tmp_path / "second", tmp_path / "n", keeping)
    after = _splits_of(tmp_path / "n")
    assert {name: after[name] for name in before} == before
    assert summary.rejected_counts == {"exact duplicate": 4}
    rows = open_manifest(tmp_path / "n").table(["group_id", "split"]).to_pylist()
    assert len({row["group_id"] for row in rows}) == len({tuple(row.values()) for row in rows})
    assert summary.groups < len(after) - 30, "the new pictures were recognised"
    assert {after[f"table:c{number}"] for number in range(20)} >= {"train", "test"}
    provenance = open_manifest(tmp_path / "n").header["provenance"]
    assert provenance["splits_of"] == open_manifest(tmp_path / "m").digest
    assert "40 pairs keep the split" in provenance["splits"] and str(tmp_path) not in str(provenance)
    prepare(tmp_path / "second", tmp_path / "free", PrepareSettings(size=128))
    free = _splits_of(tmp_path / "free")
    assert any(free.get(name, split) != split for name, split in before.items()), "this takes keeping"


def test_a_new_pair_joins_the_side_of_its_lesion_and_an_official_test_pair_stays_one(tmp_path: Path) -> None:
    drawn = {f"b{number}": draw_pair("nv", 5, number, 128) for number in range(9)}
    first = {name: (pair.image, pair.mask) for name, pair in drawn.items()}
    told = {name: ("train", "validation", "test")[int(name[1:]) % 3] for name in first}
    _table(tmp_path / "first", first, **told)
    prepare(tmp_path / "first", tmp_path / "m", PrepareSettings(size=128))
    again = {name: rephotographed(drawn[name], 3) for name in ("b0", "b2", "b3")}
    added = {f"c{name[1:]}": (pair.image, pair.mask) for name, pair in again.items()}
    _table(tmp_path / "second", {**first, **added}, **told, c0="test", c2="train", c3="train")
    settings = PrepareSettings(size=128, keep_splits_of=str(tmp_path / "m"))
    summary = prepare(tmp_path / "second", tmp_path / "n", settings)
    after = _splits_of(tmp_path / "n")
    assert (after["table:c0"], after["table:c2"], after["table:c3"]) == ("test", "test", "train")
    assert [(row.pair_id, row.check) for row in summary.rejected] == [("table:b0", "split leak")]


def test_splits_are_kept_of_a_real_manifest_that_is_there(isic: Path, tmp_path: Path, manifest_at: Any) -> None:
    manifest_at(tmp_path / "synthetic", kind="synthetic")
    for place, said in (("synthetic", "give prepare.keep_splits_of a real manifest"), ("none", "no committed")):
        with pytest.raises(BadInput, match=said):
            prepare(isic, tmp_path / "m", PrepareSettings(size=48, keep_splits_of=str(tmp_path / place)))


def test_a_missing_validation_split_is_taken_from_train_by_group_if_one_is_wanted(tmp_path: Path) -> None:
    write_layout(tmp_path / "d", "isic2016", 60, 1, size=48)
    summary = prepare(tmp_path / "d", tmp_path / "m", SMALL)
    assert sum(summary.counts["test"].values()) == 15, "the official test split stays as it is"
    assert sum(summary.counts["validation"].values()) > 0
    assert "validation taken from train" in (tmp_path / "m" / "summary.md").read_text()
    summary = prepare(tmp_path / "d", tmp_path / "m", SMALL.model_copy(update={"validation_fraction": 0}))
    assert [sum(summary.counts[split].values()) for split in ("train", "validation", "test")] == [45, 0, 15]


def test_each_fold_of_a_cross_validation_tests_other_pairs(isic: Path, tmp_path: Path) -> None:
    tested: list[str] = []
    for fold in range(3):
        prepare(isic, tmp_path / str(fold), PrepareSettings(size=48, split="folds", folds=3, fold=fold))
        table = open_manifest(tmp_path / str(fold)).table(["pair_id"], split="test")
        tested += table["pair_id"].to_pylist()
    assert len(tested) == len(set(tested)) == 18


def test_expected_classes_are_kept_and_others_refused(isic: Path, tmp_path: Path) -> None:
    summary = prepare(isic, tmp_path / "m", PrepareSettings(size=48, classes=("mel", "nv", "bkl", "vasc")))
    assert summary.classes == ("mel", "nv", "bkl", "vasc")
    assert summary.rare == {"mel": 3, "bkl": 2, "vasc": 0} or set(summary.rare) >= {"vasc"}
    with pytest.raises(BadInput, match=r"has the unknown class 'bkl'; expected one of mel, nv"):
        prepare(isic, tmp_path / "m", PrepareSettings(size=48, classes=("mel", "nv")))


def test_nothing_usable_is_one_sentence_and_leaves_nothing_behind(isic: Path, tmp_path: Path) -> None:
    for path in isic.rglob("*.jpg"):
        path.write_bytes(b"no picture")
    with pytest.raises(BadInput, match=r"all 18 were set aside, most often for: unreadable image"):
        prepare(isic, tmp_path / "m", SMALL)
    assert not (tmp_path / "m" / "manifest.json").exists()
    assert not list(tmp_path.glob(".prepare-*"))


def test_a_stop_request_leaves_no_manifest_and_no_spools(isic: Path, tmp_path: Path) -> None:
    def stop(done: int, total: int, **figures: float | str) -> None:
        if done >= 5:
            raise StopRequested

    with pytest.raises(StopRequested):
        prepare(isic, tmp_path / "m", SMALL, stop)
    assert not (tmp_path / "m" / "manifest.json").exists()
    assert not list(tmp_path.glob(".prepare-*"))


def test_progress_only_grows_and_ends_complete(isic: Path, tmp_path: Path) -> None:
    seen: list[tuple[int, int]] = []
    prepare(isic, tmp_path / "m", SMALL, lambda done, total, **_: seen.append((done, total)))
    assert seen == sorted(seen) and seen[-1][0] == seen[-1][1]


def test_a_place_that_cannot_be_written_is_one_sentence(isic: Path, tmp_path: Path) -> None:
    (tmp_path / "file").write_text("in the way")
    for place in (tmp_path / "file" / "m", tmp_path / "file" / "deeper" / "m", tmp_path / "file"):
        with pytest.raises(BadInput, match="file"):
            prepare(isic, place, SMALL)
    assert (tmp_path / "file").read_text() == "in the way"


def test_the_summary_counts_what_was_asked_for(isic: Path, tmp_path: Path) -> None:
    summary = prepare(isic, tmp_path / "m", SMALL)
    assert isinstance(summary, PrepareSummary)
    expected = Counter(row["split"] for row in open_manifest(tmp_path / "m").table(["split"]).to_pylist())
    assert {split: sum(of.values()) for split, of in summary.counts.items()} == dict(expected)
