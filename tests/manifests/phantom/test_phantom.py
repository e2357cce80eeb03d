"""The phantom: drawn, deterministic, long-tailed, in the official layout, with classes that look different."""

from __future__ import annotations

import csv
import hashlib
from pathlib import Path

import cv2
import numpy as np
import pytest

from manifests.copying import write_subset
from manifests.errors import BadInput
from manifests.format.reading import open_manifest
from manifests.format.verify import verify_manifest
from manifests.phantom.draw import PhantomPair, draw_pair, split_counts, write_phantom
from manifests.phantom.lesions import LESIONS
from manifests.prepare.prepare import prepare
from manifests.progress import StopRequested
from manifests.settings import PrepareSettings
from tests.manifests.sources.phantom_layouts import rephotographed


def _digests(folder: Path) -> dict[str, str]:
    files = sorted(p for p in folder.rglob("*") if p.is_file())
    return {str(p.relative_to(folder)): hashlib.sha256(p.read_bytes()).hexdigest() for p in files}


def _jaggedness(pair: PhantomPair) -> float:
    """Border length against that of a circle of the same area."""
    contours, _ = cv2.findContours(pair.mask.astype(np.uint8), cv2.RETR_EXTERNAL, cv2.CHAIN_APPROX_NONE)
    return cv2.arcLength(contours[0], True) / (2 * np.sqrt(np.pi * float(pair.mask.sum())))


def test_the_same_seed_writes_the_same_bytes_and_another_seed_does_not(tmp_path: Path) -> None:
    for name, seed in (("one", 4), ("two", 4), ("other", 5)):
        write_phantom(tmp_path / name, 12, seed, size=64)
    assert _digests(tmp_path / "one") == _digests(tmp_path / "two")
    assert _digests(tmp_path / "one") != _digests(tmp_path / "other")


def test_sixty_pairs_have_eight_of_each_class_to_train_on_and_two_to_validate_and_test() -> None:
    counts = split_counts(60)
    assert sum(sum(split.values()) for split in counts.values()) == 60
    assert min(counts["train"].values()) >= 8
    assert min(min(counts[split].values()) for split in ("validation", "test")) >= 2


@pytest.mark.parametrize("pairs", [9, 10, 17, 33, 60, 150, 1000])
def test_every_size_is_long_tailed_and_complete(pairs: int) -> None:
    counts = split_counts(pairs)
    assert sum(sum(split.values()) for split in counts.values()) == pairs
    assert all(count > 0 for split in counts.values() for count in split.values())
    assert counts["train"]["nv"] >= counts["train"]["mel"] >= counts["train"]["bkl"]


def test_the_folder_has_the_official_layout_and_says_that_it_is_drawn(phantom_folder: Path) -> None:
    for split in ("Training", "Validation", "Test_v2"):
        stem = f"ISIC-2017_{split}"
        with (phantom_folder / f"{stem}_Part3_GroundTruth.csv").open() as file:
            ids = [row["image_id"] for row in csv.DictReader(file)]
        images = sorted(p.stem for p in (phantom_folder / f"{stem}_Data").iterdir())
        masks = sorted(p.name for p in (phantom_folder / f"{stem}_Part1_GroundTruth").iterdir())
        assert images == sorted(ids)
        assert masks == [f"{name}_segmentation.png" for name in images]
    assert "drawn by a program; none is a photograph" in (phantom_folder / "README.txt").read_text()


@pytest.mark.parametrize("dx", sorted(LESIONS))
def test_masks_lie_on_the_lesion(dx: str) -> None:
    for index in range(6):
        pair = draw_pair(dx, 3, index, 128)
        assert pair.image.shape == (128, 128, 3) and pair.image.dtype == np.uint8
        assert 0.01 < pair.mask.mean() < 0.8
        count, _ = cv2.connectedComponents(pair.mask.astype(np.uint8))
        assert count == 2, "one lesion in one piece"
        near = cv2.dilate(pair.mask.astype(np.uint8), np.ones((25, 25), np.uint8)).astype(bool) & ~pair.mask
        difference = np.abs(pair.image[pair.mask].mean(0) - pair.image[near].mean(0)).max()
        assert difference > 5, "the lesion differs from the skin around it"


def test_classes_differ_in_border_and_colour() -> None:
    drawn = {dx: [draw_pair(dx, 11, i, 128) for i in range(12)] for dx in ("nv", "mel", "bkl", "vasc")}
    jagged = {dx: np.median([_jaggedness(p) for p in pairs]) for dx, pairs in drawn.items()}
    spread = {dx: np.median([p.image[p.mask].std(0).mean() for p in pairs]) for dx, pairs in drawn.items()}
    redness = {
        dx: np.median([p.image[p.mask][:, 0].mean() / p.image[p.mask][:, 1].mean() for p in pairs])
        for dx, pairs in drawn.items()
    }
    assert jagged["mel"] > 1.2 * jagged["nv"]
    assert spread["mel"] > 1.2 * spread["nv"] and spread["mel"] > 1.2 * spread["bkl"]
    assert redness["vasc"] > 1.3 * redness["bkl"]


def test_another_photograph_of_a_lesion_keeps_its_mask_on_it() -> None:
    pair = draw_pair("nv", 2, 1, 128)
    again = rephotographed(pair, 5)
    assert again.dx == "nv" and not np.array_equal(again.image, pair.image)
    assert again.image[again.mask].mean() < again.image[~again.mask].mean()


def test_bad_requests_are_refused_in_one_sentence(tmp_path: Path) -> None:
    with pytest.raises(BadInput, match="9 or more"):
        write_phantom(tmp_path / "small", 8, 0)
    (tmp_path / "mine").mkdir()
    (tmp_path / "mine" / "thesis.txt").write_text("precious")
    with pytest.raises(BadInput, match="already holds files"):
        write_phantom(tmp_path / "mine", 20, 0)
    assert [p.name for p in (tmp_path / "mine").iterdir()] == ["thesis.txt"]


def test_progress_counts_every_pair_and_can_stop(tmp_path: Path) -> None:
    seen: list[tuple[int, int]] = []

    def watch(done: int, total: int, **figures: float | str) -> None:
        seen.append((done, total))
        if done == 5:
            raise StopRequested

    with pytest.raises(StopRequested):
        write_phantom(tmp_path / "p", 12, 0, 64, watch)
    assert seen == [(i, 12) for i in range(1, 6)]


def test_what_is_prepared_from_a_phantom_is_drawn_and_not_real(real_manifest: Path, tmp_path: Path) -> None:
    manifest = open_manifest(real_manifest)
    assert set(manifest.table(["origin"])["origin"].to_pylist()) == {"drawn"} and manifest.drawn > 0
    card = (real_manifest / "README.md").read_text()
    assert "# Drawn skin-lesion pairs" in card and f"{manifest.drawn:,} drawn pairs" in card and '"drawn"' in card
    kept = manifest.table(["pair_id"], split="train")["pair_id"].to_pylist()[:3]
    part = write_subset(manifest, kept, tmp_path / "part")
    assert part.drawn == 3 and verify_manifest(tmp_path / "part").ok


def test_a_photograph_is_not_drawn(tmp_path: Path) -> None:
    write_phantom(tmp_path / "phantom", 9, 0, size=64)
    for path in (tmp_path / "phantom").glob("*_Data/*.jpg"):
        path.write_bytes(cv2.imencode(".jpg", cv2.imread(str(path)))[1].tobytes())  # as a camera's, without a word
    prepare(tmp_path / "phantom", tmp_path / "real", PrepareSettings(size=64))
    manifest = open_manifest(tmp_path / "real")
    assert set(manifest.table(["origin"])["origin"].to_pylist()) == {"real"} and manifest.drawn == 0
