"""The quality and ablation tables: every line is measured, on drawn data, at a toy size."""

from __future__ import annotations

from pathlib import Path

import pytest

from augment.adapters import read_adapter
from augment.base.folder import check_base, open_base
from augment.settings import AdaptSettings, CheckpointSettings, ObjectiveSettings, SamplingSettings
from evaluate.settings.gates import QualitySettings
from evaluate.studies.ablation import (
    ADAPTERS,
    CODECS,
    Bench,
    ablate_adapters,
    ablate_codecs,
    ablate_given,
    ablate_terms,
    compare_codecs,
    make_bench,
    sweep_sampling,
    variants_table,
)
from evaluate.studies.quality import BaseStudy, draw_like_real, measure_quality, quality_table
from manifests.errors import BadInput
from manifests.format.reading import open_manifest
from manifests.pairs import PairArrays

SAMPLING = SamplingSettings(steps=2)
SMALL = QualitySettings.model_validate(
    {
        "share": 0.5,
        "seeds": 1,
        "classifier": {"model": "test_resnet", "updates": 3, "batch_size": 8, "size": 32},
        "segmenter": {"encoder": "tu-test_resnet", "updates": 3, "batch_size": 8, "size": 32},
        "copies": {"calibration_pairs": 16, "planted_per_attack": 4},
        "fidelity": {"size": 32, "kid_subsets": 4, "minimum": 4},
    }
)


@pytest.fixture(scope="module")
def real(real_manifest: Path) -> tuple[PairArrays, PairArrays]:
    manifest = open_manifest(real_manifest)
    return manifest.arrays(split="train", size=128), manifest.arrays(split="validation", size=128)


@pytest.fixture(scope="module")
def bench(real, joint_base: Path, tmp_path_factory) -> Bench:
    train, validation = real
    return make_bench(_subject(joint_base, train, validation, tmp_path_factory.mktemp("bench")))


def _subject(base: Path, train: PairArrays, validation: PairArrays, work: Path) -> BaseStudy:
    return BaseStudy(train, validation, check_base(base), SAMPLING, SMALL, work)


def test_every_promised_figure_stands_in_the_table_beside_its_bar(real, joint_base: Path, tmp_path: Path) -> None:
    train, validation = real
    lines, drawn = measure_quality(_subject(joint_base, train, validation, tmp_path))
    assert len(drawn) == sum(round(0.5 * len(train.of_class(dx))) for dx in train.classes)
    names = [line.name for line in lines]
    for promised in (
        "PSNR", "round trip told apart, AUROC: nv blurred", "generated told apart, AUROC: mel sharp", "KID x 1000: mel",
        "mask area: bkl", "masks at the frame: nv", "Dice learned from it", "macro-F1 learned from it",
        "Class follows the prompt: mel", "Masks sit", "Copies",
    ):  # fmt: skip
        assert any(promised in name for name in names), promised
    for line in lines:
        assert (line.value is None) == (line.detail == "too few pictures"), line
    table = quality_table(lines)
    assert table.count("\n") == len(lines) + 2
    for word, reached in (("yes", True), ("no", False)):
        assert table.count(f"| {word} |") == sum(line.reached is reached for line in lines)


def test_drawn_pairs_are_kept_and_found_again(bench: Bench, real) -> None:
    calls: list[int] = []
    first = draw_like_real(bench.subject)
    again = draw_like_real(bench.subject, progress=lambda done, total, **figures: calls.append(done))
    assert not calls and (first.images == again.images).all()
    assert len(first) == sum(round(0.5 * len(real[0].of_class(dx))) for dx in real[0].classes)


def test_a_class_without_validation_pairs_is_one_sentence(real, joint_base: Path, tmp_path: Path) -> None:
    train, validation = real
    with pytest.raises(BadInput, match="no validation pair"):
        measure_quality(_subject(joint_base, train, validation.of_class("nv"), tmp_path))


def test_taking_a_term_out_or_in_is_a_variant_of_its_own(bench: Bench) -> None:
    adapt = AdaptSettings(domain_steps=2, batch=4, warmup=1, rank=2, validate_every=2)
    adapt = adapt.model_copy(update={"objective": ObjectiveSettings(dice=0.1)})
    variants = list(ablate_terms(bench, adapt))
    assert [variant.name for variant in variants] == [
        "joint base, no adapter", "as set", "without image", "without mask", "with lesion", "without dice",
    ]  # fmt: skip
    assert all(0 <= variant.figures["agreement"] <= 1 for variant in variants)
    assert variants[1].figures != variants[0].figures
    rows = [{"variant": variant.name, **variant.figures} for variant in variants]
    assert variants_table("terms", rows).count("\n") == 4 + len(variants)


def test_each_codec_is_trained_with(bench: Bench) -> None:
    variants = list(ablate_codecs(bench, AdaptSettings(domain_steps=2, batch=4, warmup=1, rank=2, validate_every=2)))
    assert [variant.name for variant in variants] == list(CODECS)
    assert len({variant.figures["agreement"] for variant in variants}) > 1


def test_each_way_of_adapting_is_trained(bench: Bench) -> None:
    short = AdaptSettings(steps=2, batch=4, warmup=1, rank=2, validate_every=2)
    variants = list(ablate_adapters(bench.subject, short))
    assert [variant.name for variant in variants] == list(ADAPTERS)
    assert len({variant.figures["loss_before"] for variant in variants}) == 1
    assert all(variant.figures["loss_after"] <= variant.figures["loss_before"] for variant in variants)
    adapters = [read_adapter(path) for path in (bench.subject.work / "adapters").glob("*.safetensors")]
    assert {tuple(sorted(adapter.lora["target_modules"])) for adapter in adapters} == {
        tuple(sorted(changed["targets"])) for changed in ADAPTERS.values()
    }


def test_a_sweep_changes_one_setting_at_a_time(bench: Bench) -> None:
    variants = list(
        sweep_sampling(
            bench, guidances=(1.0, 1.5), steps=(2, 3), spacings=(), samplers=("ddim",), rescales=(), aboves=()
        )
    )
    assert [variant.name for variant in variants] == ["as set", "guidance 1.0", "steps 3", "sampler ddim"]


def test_rounds_around_a_given_mask_or_picture_are_compared(bench: Bench) -> None:
    variants = list(ablate_given(bench, rounds=(1, 2), pairs=3))
    assert [variant.name for variant in variants] == ["real pairs", "1 round", "2 rounds"]
    assert variants[1].figures != variants[2].figures
    assert all(0 <= variant.figures["mask_fits_picture"] <= 1 for variant in variants[1:])
    rows = [{"variant": variant.name, **variant.figures} for variant in variants]
    assert "| real pairs |" in variants_table("given", rows)


def test_codecs_are_compared_under_the_same_noise(real) -> None:
    variants = {
        variant.name: variant.figures for variant in compare_codecs(real[1].masks, open_base(CheckpointSettings()))
    }
    clean = variants["signed distance, 4 channels, noise 0"]
    assert clean["dice"] > 0.97 and clean["boundary_error"] < 1.5
    assert variants["signed distance, 4 channels, noise 0.4"]["dice"] < clean["dice"]
    assert any(name.startswith("VAE") for name in variants)
