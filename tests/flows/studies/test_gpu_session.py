"""The session on a borrowed GPU, rehearsed here: packed, trained on, measured, brought home, gone on with."""

from __future__ import annotations

import csv
import os
import shutil
from pathlib import Path
from types import SimpleNamespace

import cv2
import numpy as np
import pytest
from safetensors import safe_open

from augment.base.folder import check_base
from manifests.fetch.unpacking import unpack
from manifests.phantom.draw import write_phantom
from tests.benchmarks import gpu_session
from tests.benchmarks.gpu_session import go, join_folder, split_folder, write_pack
from tests.forked import ForkedCommand


def steps_done(checkpoint: Path) -> int:
    with safe_open(checkpoint, "pt") as file:
        return int(file.metadata()["step"])


def test_a_session_packs_trains_measures_and_goes_on(
    tmp_path: Path, joint_base: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    def run(words: list[str], check: bool) -> None:
        assert ForkedCommand(words[2], words[3:], os.environ).wait() == 0 and check

    monkeypatch.setattr(gpu_session, "subprocess", SimpleNamespace(run=run))
    write_phantom(tmp_path / "source", 30, 0, 192)
    pack = tmp_path / "pack"
    write_phantom(tmp_path / "softer", 12, 1, 192)
    for path in [path for path in (tmp_path / "softer").rglob("*") if path.is_file()]:  # ids of its own
        if path.suffix == ".csv":
            path.write_text(path.read_text().replace("ISIC_0", "ISIC_1"))
        path.rename(path.with_name(path.name.replace("ISIC_0", "ISIC_1")))
    shutil.copytree(joint_base, pack / "base")
    write_pack([tmp_path / "source"], [tmp_path / "softer"], pack, ["Test"])
    unpack(pack / "data.zip", tmp_path / "inside")
    inside = tmp_path / "inside"
    names = {path.name for path in inside.rglob("*") if path.is_dir()}
    assert "ISIC-2017_Training_Data" in names and not any("Test" in name for name in names)
    mask = cv2.imread(str(next(inside.rglob("*_segmentation.png"))), cv2.IMREAD_UNCHANGED)
    assert mask.shape == (256, 256) and set(np.unique(mask)) == {0, 255}
    pictures, table = list(inside.glob("*Training_Data/*.jpg")), next(inside.glob("*Training_Part3*.csv"))
    assert len(table.read_text().splitlines()) == 1 + len(pictures)
    go(pack, tmp_path / "first", pack / "work", 3600, 0.5, tiny=True)
    base = check_base(join_folder(tmp_path / "first", "base", tmp_path / "home"))
    assert base.codec is not None
    rows = list(csv.DictReader((tmp_path / "first" / "sweep.csv").open()))
    assert len(rows) >= 3 and not any(row["failed"] for row in rows)
    assert {"adapter, ours", "adapter, diffusers' example", "pairs drawn"} <= {row["what"] for row in rows}
    checkpoint = pack / "work" / "denoiser.safetensors"
    before = steps_done(checkpoint)
    assert (tmp_path / "first" / "sheet.png").exists() and "mask area" in (tmp_path / "first" / "looks.csv").read_text()
    go(pack, tmp_path / "second", pack / "work", 1, 0.5, tiny=True)
    assert steps_done(checkpoint) > before


def test_a_folder_comes_home_in_parts_as_it_was(tmp_path: Path) -> None:
    folder = tmp_path / "base"
    (folder / "unet").mkdir(parents=True)
    (folder / "unet" / "weights").write_bytes(bytes(range(256)) * 40)
    (folder / "model_index.json").write_text("{}")
    parts = split_folder(folder, tmp_path, size=3000)
    assert len(parts) > 3 and all(part.stat().st_size <= 3000 for part in parts)
    home = join_folder(tmp_path, "base", tmp_path / "home")
    assert (home / "unet" / "weights").read_bytes() == (folder / "unet" / "weights").read_bytes()
