"""How much work the expensive things take, in counts that no busy machine moves: more of any wants a reason."""

from __future__ import annotations

import subprocess
import sys
from collections import Counter
from collections.abc import Iterator
from dataclasses import asdict
from pathlib import Path
from types import SimpleNamespace
from typing import Any

import pytest
import torch

from augment.base.folder import BaseFolder, check_base, open_base
from augment.prompts import prompt_for
from augment.sampling import PairSampler
from augment.settings import CheckpointSettings
from augment.synthesis import Verdict
from augment.training.adapt import train_adapter
from augment.ways.plan import Origin
from augment.ways.shard import pack
from evaluate.downstream.segmenter import Segmenter
from flows.run.folder import RunFolder
from flows.settings import load_settings
from manifests.format import decoding, reading
from manifests.format.reading import open_manifest
from tests.augment.base.tiny_bases import write_narrow_base
from tests.augment.training.short_training import SHORT, TASK
from tests.benchmarks import limits, meter
from tests.evaluate.downstream.small_trainings import TINY_MASKS
from tests.evaluate.downstream.small_trainings import lesions as discs

PASSES = {"embedded": 38, "sd2": 40, "tiny": 8}
"""Of one pair through the denoiser: its steps, and once more at each level with guidance."""
HELP_MODULES = 440
PAIR_BYTES = 750
"""Of a pair in a manifest of sixty in three shards, beside its two pictures."""


class Opened:
    """Counts files that this process opens, while it is told to."""

    def __init__(self) -> None:
        self.on, self.names = False, list[str]()
        sys.addaudithook(self._hear)

    def _hear(self, event: str, arguments: tuple[Any, ...]) -> None:
        if self.on and event == "open":
            self.names.append(str(arguments[0]))


@pytest.fixture(scope="module")
def opened() -> Opened:
    return Opened()


@pytest.fixture
def counted(monkeypatch: pytest.MonkeyPatch) -> Iterator[Counter[str]]:
    """Counts parts of bases that are loaded, pictures decoded and shards opened, by name."""
    counts: Counter[str] = Counter()

    def counting(owner: Any, name: str, label: str) -> None:
        original = getattr(owner, name)

        def call(*arguments: Any, **keywords: Any) -> Any:
            counts[label] += 1
            return original(*arguments, **keywords)

        monkeypatch.setattr(owner, name, call)

    for part in ("vae", "text_encoder", "unet"):
        counting(BaseFolder, part, part)
    counting(decoding, "decode_pair", "pictures")
    counting(reading, "parquet_file", "shards")
    yield counts


@pytest.mark.parametrize("preset", PASSES)
def test_passes_through_the_denoiser_for_one_pair(preset: str) -> None:
    settings, rows = load_settings(preset).sampling, list[int]()
    sampler = PairSampler(open_base(CheckpointSettings()), None, settings)

    def forward(latents: torch.Tensor, *_: object) -> SimpleNamespace:
        rows.append(len(latents))
        return SimpleNamespace(sample=latents)

    sampler.unet.forward = forward
    sampler.draw([prompt_for("mel")] * 3, [1, 2, 3])
    assert sum(rows) == 3 * PASSES[preset] and len(rows) == settings.steps


def test_an_adapter_loads_each_part_once_encodes_each_view_once_and_opens_no_file_in_an_epoch(
    real_manifest: Path, tmp_path: Path, counted: Counter[str], opened: Opened, monkeypatch: pytest.MonkeyPatch
) -> None:
    from augment.training import adapter

    pairs = open_manifest(real_manifest).arrays(split="train", size=64, dx="mel")
    base, encoded, encoder = check_base(write_narrow_base(tmp_path / "base")), list[int](), adapter.image_encoder

    def image_encoder(vae: Any, base: BaseFolder) -> Any:
        encode = encoder(vae, base)
        return lambda images: (encoded.append(len(images)), encode(images))[1]

    def progress(done: int, total: int, **figures: object) -> None:
        opened.on = done < total - 1

    monkeypatch.setattr(adapter, "image_encoder", image_encoder)
    counted.clear()
    settings = SHORT.model_copy(update={"checkpoint_every": 100, "validate_every": 100, "domain": "never"})
    for out in ("first", "again"):
        train_adapter(pairs, TASK, base, settings, tmp_path / f"{out}.safetensors", tmp_path / out, progress)
        opened.on = False
    steps = settings.steps
    views = min(8, -(-steps * settings.batch // len(pairs)))
    assert sum(encoded) == 2 * views * len(pairs), "once for each of the two"
    assert counted == {"vae": 2, "text_encoder": 2, "unet": 2}
    assert not opened.names, "a step reads what is in memory or mapped"


def test_a_split_is_decoded_once_in_a_run_and_an_epoch_of_a_manifest_opens_each_shard_once(
    real_manifest: Path, tmp_path: Path, counted: Counter[str]
) -> None:
    (tmp_path / "real").symlink_to(real_manifest)
    manifest = open_manifest(real_manifest)
    train = sum(manifest.counts()["train"].values())
    counted.clear()
    for dx in (None, "mel", None):
        RunFolder(tmp_path).pairs("train", 128, dx)
    assert counted["pictures"] == train
    counted.clear()
    assert sum(len(group) for group in manifest.row_groups(split="train")) == train
    assert counted["shards"] == len(manifest.shards)


def test_bytes_written_for_a_pair(real_manifest: Path) -> None:
    manifest = open_manifest(real_manifest)
    rows = manifest.table()
    pictures = sum(len(cell["bytes"]) for name in ("image", "mask") for cell in rows[name].to_pylist())
    written = sum(path.stat().st_size for path in real_manifest.rglob("*") if path.is_file())
    assert (written - pictures) / len(rows) <= PAIR_BYTES
    pairs = manifest.arrays(split="train", size=128)
    verdict = {**asdict(Verdict()), "scores": {}}
    shard = len(pack(pairs, [verdict] * len(pairs), [Origin()] * len(pairs)))
    assert shard / len(pairs) <= 4 * 128 * 128 + 250, "raw pixels and a mask of bytes"


def test_modules_that_help_imports() -> None:
    code = "import sys, flows.command_line as c; c.exit_code(['--help']); print(len(sys.modules), file=sys.stderr)"
    shown = subprocess.run([sys.executable, "-c", code], capture_output=True, text=True, check=True)
    assert int(shown.stderr) <= HELP_MODULES


def test_operations_and_bytes_are_those_counted_by_hand() -> None:
    picture, weight, gradient = torch.randn(2, 8, 16, 16), torch.randn(8, 2, 3, 3), torch.randn(2, 8, 16, 16)
    tokens, square = torch.randn(2, 5, 8), torch.randn(8, 8)

    def trained() -> None:
        kernel = weight.clone().requires_grad_()
        torch.autograd.grad(torch.nn.functional.conv2d(picture, kernel, padding=1, groups=4), kernel, gradient)

    @torch.inference_mode()
    def attended() -> None:
        known = torch.nn.functional.linear(tokens, square).to(torch.bfloat16)
        torch.nn.functional.scaled_dot_product_attention(known, known, known)

    works = {"trained": meter.Work("fp32", 2, trained), "attended": meter.Work("fp32", 1, attended)}
    found = dict(meter.measured(works, meter.Meter(), 1))
    one_way = 2 * 16 * 16 * 18 * 8  # each output from two channels in three by three
    assert found["trained"]["operations"] == 2 * one_way
    image, kernel = 8 * 16 * 16, 8 * 18
    # The kernel is cloned, used twice and given a gradient, for both pictures together.
    assert found["trained"]["bytes"] == 4 * (2 * (image + image) + (2 + 2 + 1) * kernel / 2)
    assert found["attended"]["operations"] == 2 * 10 * 8 * 8 + 2 * (2 * 2 * 5 * 5 * 8)
    assert found["attended"]["bytes"] >= 4 * (80 + 64 + 80) + (4 + 2) * 80 + 2 * 4 * 80
    assert set(found["attended"]["by_kind"]) <= {meter.PRODUCTS, "copies and casts"}


def test_limits_name_where_all_of_a_trainings_time_goes(monkeypatch: pytest.MonkeyPatch) -> None:
    for name, small in {"UPDATES": 1, "PRODUCT": 8, "CHANNELS": 4, "COPIED": 64}.items():
        monkeypatch.setattr(limits, name, small)
    clock = meter.Meter()
    work = limits.downstream(Segmenter(TINY_MASKS), discs(16, 0), clock)
    found = limits.stated(dict(meter.measured(limits.machine_work() | {"segmenter": work}, clock, 1)))
    (said,) = found["work"].values()
    assert set(found["peaks"]) == {"copy", "bf16", "fp32"} and said["operations"] > 0 < said["bytes"]
    assert {limits.AUGMENTATION, limits.ELSE, *meter.KINDS, meter.ELEMENTWISE} == set(said["shares"])
    assert sum(said["shares"].values()) == pytest.approx(1)
