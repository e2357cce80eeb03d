"""A base folder is checked before anything is loaded; each fault is one sentence."""

from __future__ import annotations

import json
import shutil
from pathlib import Path, PurePath

import pytest
import torch
from huggingface_hub.errors import LocalEntryNotFoundError
from safetensors.torch import load_file, save_file

from augment.base.conditioning import conditioning_of
from augment.base.folder import BaseFolder, check_base, image_encoder, open_base
from augment.mask_codec import SignedDistanceCodec
from augment.settings import CheckpointSettings
from augment.training.latents import build_latent_cache
from flows.settings import load_settings
from manifests.errors import BadInput
from manifests.pairs import PairArrays
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


def as_variant(base: BaseFolder, out: Path, variant: str, shard_size: str) -> Path:
    """A copy of a base whose weights are there in float16 alone, as a variant, and in shards where they are larger."""
    shutil.copytree(base.path, out, ignore=shutil.ignore_patterns("*.safetensors"))
    for part in ("unet", "vae", "text_encoder"):
        half = getattr(base, part)().half()
        half.save_pretrained(out / part, variant=variant, max_shard_size=shard_size)
    return out


@pytest.mark.parametrize(("variant", "shard_size"), [("fp16", "1GB"), ("fp16", "100KB"), ("bf16", "1GB")])
def test_a_base_whose_weights_are_a_variant_alone_is_loaded_in_float32(
    variant: str, shard_size: str, sd15_base: BaseFolder, tmp_path: Path
) -> None:
    base = check_base(as_variant(sd15_base, tmp_path / "base", variant, shard_size))
    weights = sorted((base.path / "unet").glob("*.safetensors"))
    assert (len(weights) > 1) == (shard_size == "100KB")
    for part in ("unet", "vae", "text_encoder"):
        found, expected = getattr(base, part)().state_dict(), getattr(sd15_base, part)().state_dict()
        assert all(torch.equal(found[name], value.half().float()) for name, value in expected.items())
    weights[-1].write_bytes(b"other weights")
    assert check_base(base.path).digest != base.digest


def test_a_shard_that_is_missing_is_named(sd15_base: BaseFolder, tmp_path: Path) -> None:
    copy = as_variant(sd15_base, tmp_path / "base", "fp16", "100KB")
    next(copy.glob("unet/*.fp16-00002-of-*.safetensors")).unlink()
    with pytest.raises(BadInput, match=r"fp16-00002-of-.* is missing; copy it from the checkpoint"):
        check_base(copy)


def test_a_pointer_to_weights_is_one_sentence(copied: Path) -> None:
    (copied / "vae" / "diffusion_pytorch_model.safetensors").write_text("version https://git-lfs.github.com/spec/v1\n")
    with pytest.raises(BadInput, match="is a Git LFS pointer to the weights; run git lfs pull"):
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


@pytest.mark.parametrize(
    ("file", "change", "said"),
    [
        ("text_encoder/config.json", {"vocab_size": 40}, r"token \d+ does not fit the text encoder's vocabulary of 40"),
        ("tokenizer/tokenizer_config.json", {"model_max_length": 77}, "77 tokens do not fit .* 48 positions"),
    ],
)
def test_a_tokenizer_of_another_checkpoint_is_one_sentence(copied: Path, file: str, change: dict, said: str) -> None:
    config = copied / file
    config.write_text(json.dumps(json.loads(config.read_text()) | change))
    if "vocab_size" in change:
        weights = copied / "text_encoder" / "model.safetensors"
        tensors = load_file(weights)
        name = next(name for name in tensors if name.endswith("token_embedding.weight"))
        save_file(tensors | {name: tensors[name][:40].clone()}, weights, {"format": "pt"})
    with pytest.raises(BadInput, match=said):
        conditioning_of(check_base(copied), ["melanoma"])


def test_a_tokenizer_that_tells_no_length_takes_the_text_encoders(copied: Path, sd2_base: BaseFolder) -> None:
    config = copied / "tokenizer" / "tokenizer_config.json"
    told = json.loads(config.read_text())
    del told["model_max_length"]
    config.write_text(json.dumps(told))
    found = conditioning_of(check_base(copied), ["melanoma"]).embeddings
    assert torch.equal(found, conditioning_of(sd2_base, ["melanoma"]).embeddings)


@pytest.mark.parametrize("factor", [1 / 12, 12])
def test_a_scaling_factor_that_is_not_the_vaes_is_one_sentence(
    copied: Path, factor: float, drawn_pairs: PairArrays, tmp_path: Path
) -> None:
    config = copied / "vae" / "config.json"
    told = json.loads(config.read_text())
    config.write_text(json.dumps(told | {"scaling_factor": told["scaling_factor"] * factor}))
    base = check_base(copied)
    with pytest.raises(BadInput, match="set the scaling_factor that belongs to this VAE"):
        encode = image_encoder(base.vae(), base)
        build_latent_cache(drawn_pairs, encode, SignedDistanceCodec(), tmp_path, base.digest, 64)


@pytest.mark.parametrize("name", ["unet", "vae", "text_encoder"])
def test_weights_that_are_no_safetensors_are_one_sentence(copied: Path, name: str) -> None:
    (weights,) = (copied / name).glob("*.safetensors")
    weights.write_bytes(b"\x80\x04K\x01." * 100)
    with pytest.raises(BadInput, match="cannot be loaded"):
        getattr(check_base(copied), name)()


def test_a_folder_that_is_not_there_is_one_sentence() -> None:
    with pytest.raises(BadInput, match="no such base folder"):
        open_base(CheckpointSettings(path="./nowhere/base"))


def test_the_digest_changes_with_the_weights(copied: Path, sd2_base: BaseFolder) -> None:
    assert check_base(copied).digest == sd2_base.digest
    config = copied / "scheduler" / "scheduler_config.json"
    config.write_text(config.read_text() + " ")
    assert check_base(copied).digest != sd2_base.digest


def test_the_shipped_base_is_whole_joint_and_small() -> None:
    base = open_base(CheckpointSettings())
    size = sum(file.stat().st_size for file in base.path.rglob("*") if file.is_file())
    assert base.codec is not None and base.unet_side * base.downscale == 128
    assert size <= 40_000_000


def test_the_speed_benchmark_builds_stable_diffusion_2_at_its_full_size() -> None:
    from diffusers import AutoencoderKL, UNet2DConditionModel

    with torch.device("meta"):
        unet, vae = UNet2DConditionModel(**UNET), AutoencoderKL(**VAE)
    sizes = [round(sum(value.numel() for value in part.parameters()) / 1e6) for part in (unet, vae)]
    assert sizes == [866, 84]


SHIPPED_DIGEST = "655505c88c020714615df096f1090ec1fd2fce47f1002d78b2ec8dcfc766e6b3"


def test_the_digest_of_the_shipped_base_stays_and_files_that_are_not_loaded_do_not_count(
    copied: Path, sd2_base: BaseFolder
) -> None:
    assert open_base(CheckpointSettings()).digest == SHIPPED_DIGEST
    (copied / "unet" / "diffusion_pytorch_model.fp16.safetensors").write_bytes(b"another variant")
    (copied / "tokenizer" / "notes.txt").write_text("of no one's concern")
    assert check_base(copied).digest == sd2_base.digest


def test_a_base_from_the_hub_is_the_pinned_revision_and_nothing_but_what_is_loaded(
    sd2_base: BaseFolder, monkeypatch
) -> None:
    asked: list[tuple] = []

    def download(name, *, revision, allow_patterns):
        asked.append((name, revision, allow_patterns))
        return str(sd2_base.path)

    monkeypatch.setattr("huggingface_hub.snapshot_download", download)
    chosen = load_settings("sd2").base
    assert open_base(chosen).digest == sd2_base.digest
    ((name, revision, patterns),) = asked
    assert (name, revision) == (chosen.path, chosen.revision) and len(revision or "") == 40
    fetched = {
        file.relative_to(sd2_base.path).as_posix()
        for file in sd2_base.path.rglob("*")
        if any(file.match(pattern) for pattern in patterns) and file.is_file()
    }
    assert {"model_index.json", "unet/config.json", "unet/diffusion_pytorch_model.safetensors"} <= fetched
    assert not any(PurePath("unet/diffusion_pytorch_model.fp16.safetensors").match(pattern) for pattern in patterns)


def test_of_a_base_on_the_hub_without_plain_weights_the_variant_is_fetched(
    sd15_base: BaseFolder, tmp_path: Path, monkeypatch
) -> None:
    hub, here = as_variant(sd15_base, tmp_path / "hub", "fp16", "1GB"), tmp_path / "here"

    def download(name, *, revision, allow_patterns):
        for file in (file for file in hub.rglob("*") if any(file.match(pattern) for pattern in allow_patterns)):
            (here / file.relative_to(hub)).parent.mkdir(parents=True, exist_ok=True)
            shutil.copy(file, here / file.relative_to(hub))
        return str(here)

    monkeypatch.setattr("huggingface_hub.snapshot_download", download)
    assert open_base(CheckpointSettings(path="some/base")).digest == check_base(hub).digest


@pytest.mark.parametrize("error", [LocalEntryNotFoundError("no connection"), OSError("no route"), ValueError("name")])
def test_a_hub_that_does_not_answer_is_one_sentence(error: Exception, monkeypatch) -> None:
    def download(name, **told):
        raise error

    monkeypatch.setattr("huggingface_hub.snapshot_download", download)
    with pytest.raises(BadInput, match=r"some/base: cannot be had from the hub .* download it once and give base.path"):
        open_base(CheckpointSettings(path="some/base"))
