"""Adapters: they learn, resume to the bit, stop early, and say in one sentence what is wrong."""

from __future__ import annotations

from dataclasses import replace
from pathlib import Path

import numpy as np
import pytest
import torch
from safetensors.torch import load_file

from augment.adapters import read_adapter
from augment.base.folder import BaseFolder, open_base
from augment.mask_codec import VaeCodec
from augment.prompts import prompt_for
from augment.sampling import PairSampler
from augment.settings import AdaptSettings, CheckpointSettings, CodecSettings, ObjectiveSettings, SamplingSettings
from augment.training.adapt import train_adapter, write_model_card
from augment.training.adapter import DOMAIN, AdapterTrainer, AdaptTask
from augment.training.data import prompts_of, split_by_group
from manifests.pairs import PairArrays
from manifests.progress import StopRequested
from tests.augment.training.short_training import SHORT, TASK, stop_after


@pytest.fixture(scope="module")
def domain(drawn_pairs: PairArrays, sd2_base: BaseFolder, tmp_path_factory) -> Path:
    out = tmp_path_factory.mktemp("domain") / "domain.safetensors"
    train_adapter(drawn_pairs, AdaptTask(DOMAIN, 0, "data"), sd2_base, SHORT, out, out.parent / "work")
    return out


@pytest.mark.parametrize("architecture", ["sd2_base", "sd15_base"])
def test_a_domain_adapter_gives_a_base_its_mask_channels(
    architecture: str, drawn_pairs: PairArrays, request, tmp_path: Path
) -> None:
    base = request.getfixturevalue(architecture)
    task = AdaptTask(DOMAIN, 0, "data")
    longer = SHORT.model_copy(update={"domain_steps": 30, "validate_every": 15})
    report = train_adapter(drawn_pairs, task, base, longer, tmp_path / "domain.safetensors", tmp_path / "work")
    adapter = read_adapter(tmp_path / "domain.safetensors", base)
    assert adapter.tensors["conv_in.weight"].shape[1] == 8
    assert adapter.tensors["conv_out.weight"][4:].abs().sum() > 0
    assert report.best_loss < report.first_loss and report.steps == 30


def test_a_domain_adapter_trains_its_own_number_of_steps(
    drawn_pairs: PairArrays, sd2_base: BaseFolder, tmp_path: Path
) -> None:
    settings = SHORT.model_copy(update={"steps": 2, "domain_steps": 3})
    out = tmp_path / "adapter.safetensors"
    domain = train_adapter(drawn_pairs, AdaptTask(DOMAIN, 0, "data"), sd2_base, settings, out, tmp_path / "a")
    of_a_class = train_adapter(drawn_pairs, TASK, sd2_base, settings, out, tmp_path / "b")
    assert (domain.steps, of_a_class.steps) == (3, 2)
    joint = AdapterTrainer(
        drawn_pairs, AdaptTask(DOMAIN, 0, "data"), open_base(CheckpointSettings()), settings, tmp_path
    )
    assert joint.settings.steps == 3


def test_masks_may_be_coded_by_the_autoencoder(drawn_pairs: PairArrays, sd2_base: BaseFolder, tmp_path: Path) -> None:
    plain = SHORT.objective.model_copy(update={"lesion": 0.0, "dice": 0.0})
    settings = SHORT.model_copy(update={"objective": plain, "codec": CodecSettings(name="vae")})
    out = tmp_path / "domain.safetensors"
    report = train_adapter(drawn_pairs, AdaptTask(DOMAIN, 0, "data"), sd2_base, settings, out, tmp_path / "work")
    assert np.isfinite(report.best_loss)
    adapter = read_adapter(out, sd2_base)
    assert adapter.codec == VaeCodec(4)
    sampler = PairSampler(sd2_base, adapter, SamplingSettings(steps=2))
    drawn = sampler.draw(["a melanoma"] * 2, [0, 1], tidy=False)
    assert drawn.masks.shape == drawn.images.shape[:3] and drawn.masks.dtype == bool
    known = sampler.given_mask(np.pad(np.ones((1, 16, 16), bool), ((0, 0), (8, 8), (8, 8))))
    assert known.latents.shape[1] == 8
    with pytest.raises(ValueError, match="set both to 0 for codec vae"):
        AdaptSettings(codec=CodecSettings(name="vae"), objective=ObjectiveSettings(dice=0.1))


def test_a_class_adapter_starts_from_the_domain_adapter(
    melanomas: PairArrays, sd2_base: BaseFolder, domain: Path, tmp_path: Path
) -> None:
    task = replace(TASK, start=read_adapter(domain, sd2_base))
    started = AdapterTrainer(melanomas, task, sd2_base, SHORT, tmp_path / "work").state.parameters
    expected = read_adapter(domain, sd2_base).tensors
    assert torch.equal(started["conv_in.weight"], expected["conv_in.weight"])
    lora = {name.replace(".default", ""): value for name, value in started.items() if "lora" in name}
    assert lora and all(torch.equal(value, expected[name]) for name, value in lora.items())


def test_a_resumed_adapter_equals_an_uninterrupted_one_to_the_bit(
    melanomas: PairArrays, sd2_base: BaseFolder, tmp_path: Path
) -> None:
    train_adapter(melanomas, TASK, sd2_base, SHORT, tmp_path / "whole.safetensors", tmp_path / "a")
    for steps in (3, 6):
        with pytest.raises(StopRequested):
            train_adapter(
                melanomas,
                TASK,
                sd2_base,
                SHORT,
                tmp_path / "cut.safetensors",
                tmp_path / "b",
                stop_after(steps),
            )
    train_adapter(melanomas, TASK, sd2_base, SHORT, tmp_path / "cut.safetensors", tmp_path / "b")
    assert (tmp_path / "whole.safetensors").read_bytes() == (tmp_path / "cut.safetensors").read_bytes()
    whole, cut = (load_file(tmp_path / side / "mel.checkpoint.safetensors") for side in "ab")
    assert whole.keys() == cut.keys() and all(torch.equal(whole[name], cut[name]) for name in whole)


def test_training_stops_when_validation_no_longer_improves(
    melanomas: PairArrays, sd2_base: BaseFolder, tmp_path: Path
) -> None:
    wild = SHORT.model_copy(update={"steps": 40, "validate_every": 2, "patience": 2, "learning_rate": 0.3})
    report = train_adapter(melanomas, TASK, sd2_base, wild, tmp_path / "mel.safetensors", tmp_path / "work")
    assert report.steps < 40 and report.best_loss <= report.first_loss


def test_the_validation_loss_is_the_same_every_time(
    melanomas: PairArrays, sd2_base: BaseFolder, tmp_path: Path
) -> None:
    trainer = AdapterTrainer(melanomas, TASK, sd2_base, SHORT, tmp_path)
    first = trainer.held_out_loss()
    torch.rand(7)
    assert trainer.held_out_loss() == first
    assert AdapterTrainer(melanomas, TASK, sd2_base, SHORT, tmp_path).held_out_loss() == first


def test_the_written_adapter_is_the_average_of_the_weights(
    melanomas: PairArrays, sd2_base: BaseFolder, tmp_path: Path
) -> None:
    trainer = AdapterTrainer(melanomas, TASK, sd2_base, SHORT, tmp_path)
    average = {name: value.detach().clone() for name, value in trainer.state.parameters.items()}
    for step in range(3):
        trainer.step()
        decay = min(SHORT.ema_decay, (1 + step) / (10 + step))
        for name, value in trainer.state.parameters.items():
            average[name] = decay * average[name] + (1 - decay) * value.detach()
    last = {name: value.detach().clone() for name, value in trainer.state.parameters.items()}
    trainer.validate()
    trainer.write(tmp_path / "mel.safetensors")
    written = read_adapter(tmp_path / "mel.safetensors", sd2_base).tensors
    files = {name: name.replace(".default", "").replace(".base_layer", "") for name in average}
    assert all(torch.allclose(written[files[name]], value, atol=1e-6) for name, value in average.items())
    assert not torch.allclose(written["conv_in.weight"], last["conv_in.weight"], atol=1e-5)


def test_every_term_of_the_loss_is_logged_apart(melanomas: PairArrays, sd2_base: BaseFolder, tmp_path: Path) -> None:
    # All noise levels: every batch has pairs whose Dice counts.
    weights = SHORT.objective.model_copy(update={"dice_max_noise": 1.0})
    settings = SHORT.model_copy(update={"objective": weights})
    told: list[dict[str, float | str]] = []
    work = tmp_path / "work"
    report = train_adapter(
        melanomas, TASK, sd2_base, settings, tmp_path / "mel.safetensors", work, lambda *at, **terms: told.append(terms)
    )
    terms = report.history[-1]
    assert {"image", "mask", "lesion", "dice", "loss", "validation"} <= terms.keys()
    assert all({"image", "mask", "lesion", "dice", "loss"} <= step.keys() for step in told if "rate" in step)
    summed = sum(getattr(weights, name) * terms[name] for name in ("image", "mask", "lesion", "dice"))
    assert terms["loss"] == pytest.approx(summed, rel=1e-4) and terms["dice"] > 0


def test_a_corrected_mask_of_the_same_pair_is_encoded_anew(
    melanomas: PairArrays, sd2_base: BaseFolder, tmp_path: Path
) -> None:
    before = AdapterTrainer(melanomas, TASK, sd2_base, SHORT, tmp_path).cache
    corrected = replace(melanomas, masks=np.roll(melanomas.masks, 9, axis=2))
    task = replace(TASK, data_digest="corrected")
    after = AdapterTrainer(corrected, task, sd2_base, SHORT, tmp_path).cache
    assert np.array_equal(before.latents[:, :, :4], after.latents[:, :, :4])
    assert not np.array_equal(before.latents[:, :, 4:], after.latents[:, :, 4:])


def test_prompts_tell_the_attributes_that_are_set_where_a_pair_has_them(melanomas: PairArrays) -> None:
    people = [{"age_group": "20-29", "sex": "male"}, {"sex": "male"}, {}]
    pairs = replace(melanomas.select(range(3)), attributes=people)
    plain = prompt_for("mel")
    assert prompts_of(pairs, ())[0] == [plain, ""] and prompts_of(pairs, ())[1].tolist() == [0, 0, 0]
    told, own = prompts_of(pairs, ("age_group", "sex"))
    assert told == [plain, f"{plain}, age group 20 to 29, sex male", f"{plain}, sex male", ""]
    assert own.tolist() == [1, 2, 0]


def test_an_adapter_learns_attributes_and_says_so(melanomas: PairArrays, sd2_base: BaseFolder, tmp_path: Path) -> None:
    people = [{"sex": "female" if index % 2 else "male"} for index in range(len(melanomas))]
    pairs = replace(melanomas, attributes=people)
    out, told = tmp_path / "mel.safetensors", SHORT.model_copy(update={"attributes": ("sex",), "steps": 4})
    digests = []
    for folder, settings, given in (
        ("a", told, pairs),
        ("b", told.model_copy(update={"attributes": ()}), pairs),
        ("c", told.model_copy(update={"attributes": ()}), melanomas),
    ):
        digests.append(train_adapter(given, TASK, sd2_base, settings, out, tmp_path / folder).digest)
        assert read_adapter(out).attributes == settings.attributes
    assert digests[0] != digests[1] == digests[2]


def test_dora_and_rslora_are_settings(melanomas: PairArrays, sd2_base: BaseFolder, tmp_path: Path) -> None:
    fancy = SHORT.model_copy(update={"dora": True, "rslora": True, "steps": 2})
    train_adapter(melanomas, TASK, sd2_base, fancy, tmp_path / "mel.safetensors", tmp_path / "work")
    adapter = read_adapter(tmp_path / "mel.safetensors", sd2_base)
    assert adapter.lora["use_dora"] and adapter.lora["use_rslora"]
    assert any("magnitude" in name for name in adapter.tensors)


def test_gradient_checkpointing_changes_nothing(melanomas: PairArrays, sd2_base: BaseFolder, tmp_path: Path) -> None:
    thrifty = SHORT.model_copy(update={"gradient_checkpointing": True})
    plain = AdapterTrainer(melanomas, TASK, sd2_base, SHORT, tmp_path / "a")
    saving = AdapterTrainer(melanomas, TASK, sd2_base, thrifty, tmp_path / "b")
    assert plain.step()["loss"] == pytest.approx(saving.step()["loss"], abs=1e-5)


def test_a_group_is_held_out_whole_and_always_the_same() -> None:
    groups = [f"lesion-{n // 3}" for n in range(90)]
    training, held_out = split_by_group(groups, 0.2)
    assert not {groups[i] for i in training} & {groups[i] for i in held_out}
    assert np.array_equal(split_by_group(groups, 0.2)[1], held_out) and len(held_out) == 18


def test_a_model_card_lies_beside_the_adapters(domain: Path, sd2_base: BaseFolder) -> None:
    card = write_model_card(domain.parent).read_text()
    assert "domain.safetensors" in card and sd2_base.digest in card and "not for diagnosis" in card
