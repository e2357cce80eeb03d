"""A base folder is checked before anything is loaded; each fault is one sentence."""

from __future__ import annotations

import json
import shutil
from pathlib import Path

import pytest
import torch

from augment.base import BaseFolder, check_base, open_base
from augment.settings import BaseSettings
from manifests.errors import BadInput
from tests.benchmarks.stable_diffusion_speed import UNET, VAE


@pytest.fixture
def copied(sd2_base: BaseFolder, tmp_path: Path) -> Path:
    return Path(shutil.copytree(sd2_base.path, tmp_path / "base"))


@pytest.mark.parametrize("part", ["unet", "vae", "text_encoder", "tokenizer", "scheduler"])
def test_a_missing_part_is_named(copied: Path, part: str) -> None:
    shutil.rmtree(copied / part)
    with pytest.raises(BadInput, match=part):
        check_base(copied)


def test_pickled_weights_are_refused(copied: Path) -> None:
    (copied / "unet" / "diffusion_pytorch_model.safetensors").rename(copied / "unet" / "diffusion_pytorch_model.bin")
    with pytest.raises(BadInput, match=r"diffusion_pytorch_model\.bin: pickled weights are never loaded"):
        check_base(copied)


@pytest.mark.parametrize(
    ("part", "key", "value", "said"),
    [
        ("vae", "scaling_factor", 0, "scaling_factor"),
        ("vae", "latent_channels", 16, "channels do not fit"),
        ("text_encoder", "hidden_size", 999, "hidden_size 999"),
    ],
)
def test_parts_of_different_checkpoints_are_refused(copied: Path, part: str, key: str, value, said: str) -> None:
    config = copied / part / "config.json"
    config.write_text(json.dumps(json.loads(config.read_text()) | {key: value}))
    with pytest.raises(BadInput, match=said):
        check_base(copied)


@pytest.mark.parametrize("name", ["unet", "vae", "text_encoder"])
def test_weights_that_are_no_safetensors_are_one_sentence(copied: Path, name: str) -> None:
    (weights,) = (copied / name).glob("*.safetensors")
    weights.write_bytes(b"\x80\x04K\x01." * 100)
    with pytest.raises(BadInput, match="cannot be loaded"):
        getattr(check_base(copied), name)()


def test_a_folder_that_is_not_there_is_one_sentence() -> None:
    with pytest.raises(BadInput, match="no such base folder"):
        open_base(BaseSettings(path="./nowhere/base"))


def test_the_digest_changes_with_the_weights(copied: Path, sd2_base: BaseFolder) -> None:
    assert check_base(copied).digest == sd2_base.digest
    config = copied / "scheduler" / "scheduler_config.json"
    config.write_text(config.read_text() + " ")
    assert check_base(copied).digest != sd2_base.digest


def test_the_shipped_base_is_whole_joint_and_small() -> None:
    base = open_base(BaseSettings())
    size = sum(file.stat().st_size for file in base.path.rglob("*") if file.is_file())
    assert base.codec is not None and base.unet_side * base.downscale == 128
    assert size <= 40_000_000


def test_the_speed_benchmark_builds_stable_diffusion_2_at_its_full_size() -> None:
    from diffusers import AutoencoderKL, UNet2DConditionModel

    with torch.device("meta"):
        unet, vae = UNet2DConditionModel(**UNET), AutoencoderKL(**VAE)
    sizes = [round(sum(value.numel() for value in part.parameters()) / 1e6) for part in (unet, vae)]
    assert sizes == [866, 84]
