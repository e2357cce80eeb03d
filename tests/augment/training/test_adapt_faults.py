"""What goes wrong while an adapter trains: memory that is full, a loss that diverges, pairs that cannot teach."""

from __future__ import annotations

from dataclasses import replace
from pathlib import Path

import pytest
import torch
from safetensors.torch import load_file

from augment.base.folder import BaseFolder
from augment.training.adapt import train_adapter
from augment.training.adapter import AdapterTrainer
from manifests.errors import BadInput, EvendermError
from manifests.pairs import PairArrays
from tests.augment.training.short_training import SHORT, TASK


def test_halving_the_batch_when_gpu_memory_is_full_keeps_the_samples(
    melanomas: PairArrays, sd2_base: BaseFolder, tmp_path: Path, monkeypatch, caplog
) -> None:
    # Mostly Dice, whose divisor is the number of pairs with little noise, not the size of the batch.
    by_dice = SHORT.model_copy(update={"objective": SHORT.objective.model_copy(update={"dice": 10.0})})
    roomy = AdapterTrainer(melanomas, TASK, sd2_base, by_dice, tmp_path / "a")
    tight = AdapterTrainer(melanomas, TASK, sd2_base, by_dice, tmp_path / "b")
    real_loss = tight.loss

    def out_of_memory_above_two(clean, *others):
        if len(clean) > 2:
            raise torch.OutOfMemoryError("CUDA out of memory")
        return real_loss(clean, *others)

    monkeypatch.setattr(tight, "loss", out_of_memory_above_two)
    told, halved = roomy.step(), tight.step()
    assert tight.memory.size == 2 and "2 pairs at a time" in caplog.text
    assert halved == pytest.approx(told, abs=1e-5)
    assert tight.held_out_loss() == pytest.approx(roomy.held_out_loss(), abs=1e-4)
    # The gradients, not the weights: Adam's first step has the size of the learning rate however small a gradient is.
    first, second = ([moments["exp_avg"] for moments in t.state.optimizer.state.values()] for t in (roomy, tight))
    assert first and all(torch.allclose(a, b, atol=1e-5) for a, b in zip(first, second, strict=True))


def test_divergence_names_the_step_and_keeps_the_checkpoint(
    melanomas: PairArrays, sd2_base: BaseFolder, tmp_path: Path, monkeypatch
) -> None:
    real_loss = AdapterTrainer.loss

    def nan_from_step_five(self, *arguments):
        loss, terms = real_loss(self, *arguments)
        return (loss * float("nan") if self.state.step >= 5 and torch.is_grad_enabled() else loss), terms

    monkeypatch.setattr(AdapterTrainer, "loss", nan_from_step_five)
    with pytest.raises(EvendermError, match="step 5"):
        train_adapter(melanomas, TASK, sd2_base, SHORT, tmp_path / "mel.safetensors", tmp_path / "work")
    kept = load_file(tmp_path / "work" / "mel.checkpoint.safetensors")
    assert all(torch.isfinite(value).all() for value in kept.values())


def test_validation_goes_on_with_fewer_pairs_when_gpu_memory_is_full(
    melanomas: PairArrays, sd2_base: BaseFolder, tmp_path: Path, monkeypatch
) -> None:
    trainer = AdapterTrainer(melanomas, TASK, sd2_base, SHORT, tmp_path)
    whole, real_loss = trainer.held_out_loss(), trainer.loss

    def out_of_memory_above_one(clean, *others):
        if len(clean) > 1:
            raise torch.OutOfMemoryError("CUDA out of memory")
        return real_loss(clean, *others)

    monkeypatch.setattr(trainer, "loss", out_of_memory_above_one)
    before = {name: value.detach().clone() for name, value in trainer.state.parameters.items()}
    assert trainer.held_out_loss() == pytest.approx(whole, abs=1e-5)
    assert all(torch.equal(value, before[name]) for name, value in trainer.state.parameters.items())


def test_a_loss_that_is_not_finite_before_the_first_step_is_one_sentence(
    melanomas: PairArrays, sd2_base: BaseFolder, tmp_path: Path, monkeypatch
) -> None:
    real_loss = AdapterTrainer.loss
    monkeypatch.setattr(AdapterTrainer, "loss", lambda *given: (real_loss(*given)[0] * float("nan"), {}))
    with pytest.raises(EvendermError, match="step 0, before anything was learned"):
        train_adapter(melanomas, TASK, sd2_base, SHORT, tmp_path / "mel.safetensors", tmp_path / "work")


def test_a_class_with_too_few_pairs_is_one_sentence(
    melanomas: PairArrays, sd2_base: BaseFolder, tmp_path: Path
) -> None:
    with pytest.raises(BadInput, match="'mel' has 3 usable training pairs and an adapter needs 8"):
        train_adapter(melanomas.select(range(3)), TASK, sd2_base, SHORT, tmp_path / "m.safetensors", tmp_path)


@pytest.mark.parametrize("kind", ["empty", "full"])
def test_training_pairs_without_a_lesion_or_without_skin_are_one_sentence(
    kind: str, melanomas: PairArrays, sd2_base: BaseFolder, tmp_path: Path
) -> None:
    masks = melanomas.masks.copy()
    masks[3] = kind == "full"
    told = f"mask of training pair {melanomas.pair_ids[3]} is {kind}"
    with pytest.raises(BadInput, match=told):
        train_adapter(replace(melanomas, masks=masks), TASK, sd2_base, SHORT, tmp_path / "m.safetensors", tmp_path)
