"""Adapter files: portable, tied to their base, and refused when tampered with."""

from __future__ import annotations

import json
from dataclasses import replace
from pathlib import Path
from typing import Any

import pytest
import torch
from safetensors import safe_open
from safetensors.torch import save_file

from augment.adapters import fused_unet, read_adapter, tensor_digest
from augment.base.folder import BaseFolder, open_base
from augment.settings import AdaptSettings, CheckpointSettings
from augment.training.adapt import train_adapter
from augment.training.adapter import DOMAIN, AdapterTrainer, AdaptTask
from manifests.errors import BadInput
from manifests.pairs import PairArrays

ROOT = Path(__file__).parents[2]
SHORT = AdaptSettings(
    steps=6,
    domain_steps=6,
    batch=4,
    warmup=1,
    rank=2,
    alpha=2,
    learning_rate=5e-3,
    validate_every=2,
    bf16=False,
    prior_share=0,
)


@pytest.fixture(scope="module")
def adapter_file(drawn_pairs: PairArrays, sd2_base: BaseFolder, tmp_path_factory) -> Path:
    out = tmp_path_factory.mktemp("adapters") / "domain.safetensors"
    train_adapter(drawn_pairs, AdaptTask(DOMAIN, 0, "data"), sd2_base, SHORT, out, out.parent / "work")
    return out


def rewritten(path: Path, out: Path, change) -> Path:
    with safe_open(path, "pt") as file:
        header, tensors = file.metadata(), {name: file.get_tensor(name) for name in file.keys()}  # noqa: SIM118
    change(header, tensors)
    save_file(tensors, out, metadata=header)
    return out


@pytest.fixture(scope="module")
def scaled_class_adapter(melanomas: PairArrays, tmp_path_factory) -> Path:
    """A class adapter of the shipped base whose LoRA is scaled: neither alpha nor its divisor is the rank."""
    out = tmp_path_factory.mktemp("scaled") / "mel.safetensors"
    settings = SHORT.model_copy(update={"rank": 4, "alpha": 10, "rslora": True})
    trainer = AdapterTrainer(
        melanomas, AdaptTask("mel", 0, "data"), open_base(CheckpointSettings()), settings, out.parent
    )
    for _ in range(3):
        trainer.step()
    trainer.validate()  # the first validation is the best so far, so that these weights are the ones written
    trainer.write(out)
    return out


def readme_block(adapter: Path, base: Path) -> str:
    """The lines of the README, with the adapter and the base of a test in them."""
    section = (ROOT / "augment/README.md").read_text(encoding="utf-8").split("## Adapters in plain diffusers")[1]
    block = section.split("```python\n")[1].split("```")[0]
    assert len([line for line in block.splitlines() if line]) <= 10
    return block.replace("runs/mine/adapters/mel.safetensors", str(adapter)).replace("augment/shipped_base", str(base))


@pytest.mark.parametrize("kind", ["class adapter of the shipped base", "domain adapter of Stable Diffusion 2"])
def test_plain_diffusers_and_peft_load_an_adapter_in_the_readmes_ten_lines(kind: str, request) -> None:
    if kind.startswith("class"):
        path, base = request.getfixturevalue("scaled_class_adapter"), open_base(CheckpointSettings())
    else:
        path, base = request.getfixturevalue("adapter_file"), request.getfixturevalue("sd2_base")
    names: dict[str, Any] = {}
    exec(readme_block(path, base.path), names)
    adapter = read_adapter(path, base)
    ours = fused_unet(base, adapter)
    width, side = ours.config.cross_attention_dim, ours.config.sample_size
    noisy = torch.randn(1, ours.config.in_channels, side, side)
    arguments = (noisy, torch.tensor([500]), torch.randn(1, 48, width))
    with torch.no_grad():
        found, expected = names["unet"].eval()(*arguments).sample, ours(*arguments).sample
        unscaled = fused_unet(base, replace(adapter, lora={**adapter.lora, "lora_alpha": 1}))(*arguments).sample
    assert torch.allclose(found, expected, atol=1e-4)
    assert not torch.allclose(unscaled, expected, atol=1e-3)


def test_the_header_holds_what_the_adapter_was_made_from(adapter_file: Path, sd2_base: BaseFolder) -> None:
    adapter = read_adapter(adapter_file)
    assert adapter.provenance["base_digest"] == sd2_base.digest
    assert adapter.provenance["data_digest"] == "data"
    assert set(adapter.provenance["classes"]) == {"nv", "mel", "bkl"}
    assert adapter.provenance["settings"]["rank"] == 2 and adapter.lora["r"] == 2


def test_an_adapter_for_another_base_is_refused(adapter_file: Path, sd15_base: BaseFolder) -> None:
    with pytest.raises(BadInput, match="made for another base"):
        read_adapter(adapter_file, sd15_base)


def test_tampered_tensors_are_refused(adapter_file: Path, tmp_path: Path) -> None:
    def change(header, tensors):
        tensors["conv_in.weight"] += 1e-3

    with pytest.raises(BadInput, match="differ from the digest"):
        read_adapter(rewritten(adapter_file, tmp_path / "a.safetensors", change))


def test_nan_weights_are_refused(adapter_file: Path, tmp_path: Path) -> None:
    def change(header, tensors):
        tensors["conv_in.weight"][0, 0, 0, 0] = float("nan")

    with pytest.raises(BadInput, match="NaN"):
        read_adapter(rewritten(adapter_file, tmp_path / "a.safetensors", change))


@pytest.mark.parametrize("name", ["tensor_digest", "provenance", "lora_config", "mask_codec"])
@pytest.mark.parametrize("content", [None, "[]", "{"])
def test_a_header_that_is_not_whole_is_one_sentence(
    name: str, content: str | None, adapter_file: Path, tmp_path: Path
) -> None:
    def change(header, tensors):
        del header[name]
        if content is not None:
            header[name] = content

    with pytest.raises(BadInput, match="train the adapter again"):
        read_adapter(rewritten(adapter_file, tmp_path / "a.safetensors", change))


@pytest.mark.parametrize(
    ("name", "changed", "said"),
    [
        ("lora_config", {"r": 10**9}, "rank"),
        ("lora_config", {"r": "2"}, "rank"),
        ("lora_config", {"lora_alpha": float("inf")}, "scale"),
        ("lora_config", {"target_modules": "(a+)+$"}, "target modules"),
        ("lora_config", {"init_lora_weights": "pissa"}, "LoRA"),
        ("mask_codec", {"name": "vae", "channels": 999}, "mask channels"),
        ("provenance", {"base_digest": 7}, "base"),
        ("provenance", {"classes": "mel"}, "classes"),
        ("provenance", {"validation_loss": [1, None]}, "losses"),
        ("provenance", {"settings": [1]}, "settings"),
    ],
)
def test_a_header_that_its_tensors_do_not_bear_out_is_one_sentence(
    name: str, changed: dict[str, Any], said: str, adapter_file: Path, tmp_path: Path
) -> None:
    def change(header, tensors):
        header[name] = json.dumps(changed if name == "mask_codec" else json.loads(header[name]) | changed)

    with pytest.raises(BadInput, match=f"what the header says of its {said} does not fit; train"):
        read_adapter(rewritten(adapter_file, tmp_path / "a.safetensors", change))


def test_tensors_of_other_shapes_are_one_sentence(adapter_file: Path, sd2_base: BaseFolder, tmp_path: Path) -> None:
    def wide(header, tensors):
        tensors["conv_in.weight"] = torch.zeros(7, 64, 3, 3)
        header["tensor_digest"] = tensor_digest(tensors)

    def thin(header, tensors):
        name = next(name for name in tensors if "lora_B" in name)
        tensors[name] = tensors[name][:3].contiguous()
        header["tensor_digest"] = tensor_digest(tensors)

    for number, change in enumerate((wide, thin)):
        adapter = read_adapter(rewritten(adapter_file, tmp_path / f"{number}.safetensors", change), sd2_base)
        with pytest.raises(BadInput, match="does not fit this base") as error:
            fused_unet(sd2_base, adapter)
        assert "\n" not in str(error.value) and f"{number}.safetensors" in str(error.value)


def test_a_header_that_claims_to_fill_the_memory_is_not_read(adapter_file: Path, tmp_path: Path) -> None:
    bomb, path = adapter_file.read_bytes(), tmp_path / "a.safetensors"
    path.write_bytes((2**62).to_bytes(8, "little") + bomb[8:])
    with pytest.raises(BadInput, match="are said to be its header"):
        read_adapter(path)
    with path.open("wb") as file:  # mostly a hole: it would be 90 MiB of JSON
        file.write((90 * 1024**2).to_bytes(8, "little") + b"{")
        file.truncate(91 * 1024**2)
    with pytest.raises(BadInput, match="are said to be its header"):
        read_adapter(path)
    header = b'{"a":{"dtype":"F32","shape":[1048576,1048576],"data_offsets":[0,4]}}'
    path.write_bytes(len(header).to_bytes(8, "little") + header + bytes(4))
    with pytest.raises(BadInput, match="not readable as safetensors"):
        read_adapter(path)


def test_targets_that_the_unet_lacks_are_one_sentence(drawn_pairs: PairArrays, sd2_base: BaseFolder, tmp_path) -> None:
    settings = SHORT.model_copy(update={"targets": ("to_q", "to_z")})
    with pytest.raises(BadInput, match=r"adapt.targets names 'to_z', which the UNet of .* has no module of"):
        AdapterTrainer(drawn_pairs, AdaptTask(DOMAIN, 0, "data"), sd2_base, settings, tmp_path)


@pytest.mark.parametrize("content", [b"", b"nonsense", b"\x80\x04K\x01."])
def test_a_file_that_is_no_adapter_is_one_sentence(content: bytes, tmp_path: Path) -> None:
    (tmp_path / "a.safetensors").write_bytes(content)
    with pytest.raises(BadInput, match="train the adapter again"):
        read_adapter(tmp_path / "a.safetensors")


def test_sampling_without_an_adapter_needs_a_joint_base(sd2_base: BaseFolder) -> None:
    with pytest.raises(BadInput, match="no mask channels"):
        fused_unet(sd2_base, None)
