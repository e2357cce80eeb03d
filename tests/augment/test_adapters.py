"""Adapter files: portable, tied to their base, and refused when tampered with."""

from __future__ import annotations

from pathlib import Path

import pytest
import torch
from safetensors import safe_open
from safetensors.torch import save_file

from augment.adapter_training import DOMAIN, AdaptTask
from augment.adapters import fused_unet, read_adapter
from augment.adapting import train_adapter
from augment.base import BaseFolder
from augment.settings import AdaptSettings
from manifests.errors import BadInput
from manifests.pairs import PairArrays

SHORT = AdaptSettings(
    steps=6, domain_steps=6, batch=4, warmup=1, rank=2, alpha=2, learning_rate=5e-3, validate_every=2, bf16=False
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


def test_plain_diffusers_and_peft_load_an_adapter_in_ten_lines(adapter_file: Path, sd2_base: BaseFolder) -> None:
    # The lines of the README.
    from diffusers import UNet2DConditionModel
    from safetensors.torch import load_file

    tensors = load_file(adapter_file)
    outer = {name: value for name, value in tensors.items() if name.startswith(("conv_in", "conv_out"))}
    lora = {name: value for name, value in tensors.items() if name not in outer}
    channels = outer["conv_in.weight"].shape[1]
    unet = UNet2DConditionModel.from_pretrained(
        sd2_base.path / "unet", in_channels=channels, out_channels=channels,
        low_cpu_mem_usage=False, ignore_mismatched_sizes=True,
    )  # fmt: skip
    unet.load_state_dict(outer, strict=False)
    unet.load_lora_adapter(lora, prefix=None)

    ours = fused_unet(sd2_base, read_adapter(adapter_file, sd2_base))
    arguments = (torch.randn(1, channels, 8, 8), torch.tensor([500]), torch.randn(1, 48, 32))
    with torch.no_grad():
        found, expected = unet.eval()(*arguments).sample, ours(*arguments).sample
    assert torch.allclose(found, expected, atol=1e-4)


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


@pytest.mark.parametrize("content", [b"", b"nonsense", b"\x80\x04K\x01."])
def test_a_file_that_is_no_adapter_is_one_sentence(content: bytes, tmp_path: Path) -> None:
    (tmp_path / "a.safetensors").write_bytes(content)
    with pytest.raises(BadInput, match="train the adapter again"):
        read_adapter(tmp_path / "a.safetensors")


def test_sampling_without_an_adapter_needs_a_joint_base(sd2_base: BaseFolder) -> None:
    with pytest.raises(BadInput, match="no mask channels"):
        fused_unet(sd2_base, None)
