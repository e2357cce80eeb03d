"""Masks that a source lacks are found by whoever is handed over, and are told from given ones ever after."""

from __future__ import annotations

import csv
from pathlib import Path
from typing import Any

import numpy as np
import pytest

from manifests.errors import BadInput
from manifests.export import export_manifest
from manifests.format.reading import open_manifest
from manifests.format.verify import verify_manifest
from manifests.pairs import PairArrays
from manifests.phantom.draw import draw_pair, write_csv, write_image, write_mask
from manifests.prepare.prepare import prepare
from manifests.prepare.understanding import understand
from manifests.progress import Progress
from manifests.settings import MaskSettings, PrepareSettings

SIZE = 48
SMALL = PrepareSettings(size=SIZE, duplicates=False)
DISC = np.hypot(*(np.mgrid[:SIZE, :SIZE] - SIZE / 2)) < 12


class Disc:
    """Finds the same disc everywhere, and believes every second one."""

    said: dict[str, Any] = {"segmenter": "disc", "least_confidence": 0.5}  # noqa: RUF012
    name = "a disc"

    def __call__(self, images: np.ndarray) -> tuple[np.ndarray, np.ndarray]:
        return np.repeat(DISC[None], len(images), 0), np.where(np.arange(len(images)) % 2, 0.9, 0.1)


class MakeDisc:
    side = 32

    def __init__(self) -> None:
        self.given: list[list[str]] = []

    def __call__(self, train: PairArrays, validation: PairArrays, progress: Progress) -> Disc:
        assert train.images.shape[1:] == (32, 32, 3)
        self.given = [train.pair_ids, validation.pair_ids]
        return Disc()


@pytest.fixture(scope="module")
def half(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """Twelve pictures of two classes in three splits; every second one has its mask."""
    data, rows = tmp_path_factory.mktemp("half"), []
    for number in range(12):
        pair = draw_pair("nv" if number % 4 < 2 else "mel", 8, number, 64)
        write_image(data / "images" / f"{number}.png", pair.image)
        write_mask(data / "masks" / f"{number}.png", pair.mask)
        mask = "" if number % 2 else f"masks/{number}.png"
        rows.append((f"p{number}", f"images/{number}.png", mask, pair.dx, ("train", "validation", "test")[number // 4]))
    write_csv(data / "pairs.csv", ("id", "image", "mask", "class", "split"), rows)
    return data


@pytest.fixture(scope="module")
def prepared(half: Path, tmp_path_factory: pytest.TempPathFactory) -> Path:
    out = tmp_path_factory.mktemp("prepared") / "real"
    make = MakeDisc()
    summary = prepare(half, out, SMALL, make_finder=make)
    assert make.given == [["table:p0", "table:p2"], ["table:p4", "table:p6"]], "test masks teach and calibrate nothing"
    assert "masks: 6 given, 0 missing, 6 found" in summary.understood
    assert any("found by a disc; 3 doubtful ones teach no adapter" in line for line in summary.understood)
    return out


def test_found_masks_say_so_with_their_confidence_and_given_ones_stay(prepared: Path) -> None:
    rows = open_manifest(prepared).table(["pair_id", "mask_origin", "mask_confidence"]).to_pylist()
    origin = {row["pair_id"]: row["mask_origin"] for row in rows}
    assert all(origin[f"table:p{n}"] == ("predicted" if n % 2 else "given") for n in range(12))
    assert sorted(row["mask_confidence"] or 0.0 for row in rows) == [0.0] * 6 + [0.1] * 3 + [0.9] * 3
    assert verify_manifest(prepared).ok
    assert "were found by a segmenter" in (prepared / "README.md").read_text()


def test_doubtful_masks_are_set_aside_and_found_ones_judge_nobody(prepared: Path) -> None:
    pairs = open_manifest(prepared).arrays()
    assert len(pairs) == 12 and len(pairs.masked()) == 9 and len(pairs.given()) == 6
    assert pairs.predicted is not None and pairs.predicted.sum() == 6
    assert pairs.select([1, 0]).concatenate(pairs.given()).predicted is not None
    told = open_manifest(prepared).masks_by()
    assert sum(told.values()) == 12
    assert sum(count for (_, origin), count in told.items() if origin == "doubtful") == 3


def test_the_same_data_and_finder_give_the_same_bytes(half: Path, prepared: Path, tmp_path: Path) -> None:
    prepare(half, tmp_path / "again", SMALL, make_finder=MakeDisc())
    assert open_manifest(tmp_path / "again").digest == open_manifest(prepared).digest


@pytest.mark.parametrize(
    "settings",
    [SMALL.model_copy(update={"masks": MaskSettings(find=False)}), SMALL.model_copy(update={"task": "pairs"})],
)
def test_nothing_is_found_where_nobody_asked(half: Path, tmp_path: Path, settings: PrepareSettings) -> None:
    summary = prepare(half, tmp_path / "m", settings, make_finder=MakeDisc())
    assert any(line.endswith("missing, 0 found") for line in summary.understood)
    assert {origin for _, origin in open_manifest(tmp_path / "m").masks_by()} == {"given"}


def test_strict_counts_a_missing_mask(half: Path, tmp_path: Path) -> None:
    strict = SMALL.model_copy(update={"strict": True})
    with pytest.raises(BadInput, match="strict: 6 rows have no mask, the first table:p1; add the masks"):
        prepare(half, tmp_path / "m", strict, make_finder=MakeDisc())
    classes = strict.model_copy(update={"task": "classification"})
    assert prepare(half, tmp_path / "m", classes).task == "classification"


def test_an_export_does_not_pass_found_masks_for_given_ones(prepared: Path, tmp_path: Path) -> None:
    manifest = open_manifest(prepared)
    with pytest.raises(BadInput, match="a mask that a segmenter found and no given one"):
        export_manifest(manifest, "nnunet", tmp_path / "raw")
    export_manifest(manifest, "folders", tmp_path / "folders")
    with (tmp_path / "folders" / "metadata.csv").open(newline="") as file:
        rows = list(csv.DictReader(file))
    assert sum(bool(row["mask"]) for row in rows) == sum(bool(row["found_mask"]) for row in rows) == 6
    again = understand(tmp_path / "folders", SMALL)
    assert (again.given, again.missing) == (6, 6), "what was found is not read back as given"
