"""How much is trained on how many pairs, what overrides it, and what keeps a rare class from being copied."""

from __future__ import annotations

from pathlib import Path

import numpy as np
import pytest
import torch

from augment.base.folder import check_base
from augment.budget import prior
from augment.budget.plan import budgeted, minutes_of, told
from augment.settings import AdaptSettings
from augment.training import adapter as training
from augment.training.adapter import AdapterTrainer
from manifests.pairs import PairArrays
from manifests.progress import StopRequested, no_progress
from tests.augment.training.short_training import SHORT, TASK, stop_after

FREE = AdaptSettings()
SIZES = (10, 30, 60, 100, 300, 2000)


def test_the_more_pairs_the_more_steps_and_the_greater_rank_and_rate_up_to_an_end() -> None:
    plans = [budgeted(FREE, pairs, domain=False, joint=True) for pairs in SIZES]
    for name in ("steps", "rank", "learning_rate"):
        values = [getattr(plan, name) for plan in plans]
        assert values == sorted(values) and values[0] < values[-1], name
    assert plans[-1].steps == 300 and plans[-1].learning_rate == 1e-3
    assert all(plan.alpha == plan.rank for plan in plans)
    assert all(plan.validate_every * 4 <= max(plan.steps, 20) for plan in plans), "else it could not stop early"


def test_rare_classes_alone_learn_beside_prior_draws_and_hold_enough_pairs_out() -> None:
    rare, common = (budgeted(FREE, pairs, domain=False, joint=True) for pairs in (12, 60))
    assert (rare.prior_share, common.prior_share) == (0.25, 0.0)
    assert rare.holdout * 12 >= 3 and common.holdout == FREE.holdout
    assert budgeted(FREE, 12, domain=True, joint=True).prior_share == 0.0


def test_what_the_settings_say_goes_before() -> None:
    said = AdaptSettings(steps=7, domain_steps=9, rank=3, alpha=5, learning_rate=2e-4, prior_share=0.5)
    own = budgeted(said, 12, domain=False, joint=True)
    assert (own.steps, own.rank, own.alpha, own.learning_rate, own.prior_share) == (7, 3, 5, 2e-4, 0.5)
    assert own.validate_every == said.validate_every and own.holdout == said.holdout
    assert budgeted(said, 12, domain=True, joint=False).steps == 9


def test_an_adapter_keeps_the_rank_of_the_one_that_it_begins_at() -> None:
    own = budgeted(FREE, 12, domain=False, joint=True, start={"r": 16, "lora_alpha": 8})
    assert (own.rank, own.alpha) == (16, 8)


def test_a_base_without_mask_channels_gets_the_longer_domain_stage() -> None:
    joint, other = (budgeted(FREE, 100, domain=True, joint=kind) for kind in (True, False))
    assert joint.steps == 250 < other.steps == 1000


def test_a_base_without_mask_channels_has_no_prior_draws_for_its_domain_stage() -> None:
    said = AdaptSettings(prior_share=0.5)
    assert budgeted(said, 100, domain=True, joint=False).prior_share == 0.0
    assert budgeted(said, 100, domain=True, joint=True).prior_share == 0.5
    assert budgeted(said, 100, domain=False, joint=False).prior_share == 0.5


def test_a_budget_is_told_in_words() -> None:
    own = budgeted(FREE, 12, domain=False, joint=True)
    line = told("df", own, 12)
    assert line.startswith("df: 70 steps at most on 12 pairs, rank 4") and ", 25 % of each batch drawn" in line
    assert ", 50 % of each batch drawn" in told("df", own.model_copy(update={"prior_share": 0.5}), 12)
    assert 0 < minutes_of(own) < minutes_of(budgeted(FREE, 400, domain=True, joint=True)) < 3


def test_prior_draws_are_made_once_and_kept(sd2_base, tmp_path: Path, monkeypatch) -> None:
    made = []

    class Sampler:
        def __init__(self, base, start, settings) -> None:
            made.append(start)

        def latents(self, prompts, seeds):
            assert set(prompts) == {""}, "of no class in particular"
            return torch.stack([torch.full((8, 4, 4), float(seed)) for seed in seeds])

    monkeypatch.setattr(prior, "PairSampler", Sampler)
    first, again = (prior.prior_latents(sd2_base, None, 3, tmp_path) for _ in range(2))
    assert len(made) == 1 and first.shape == (32, 8, 4, 4) and torch.equal(first, again)
    assert len({float(latent[0, 0, 0]) for latent in first}) == 32


@pytest.mark.slow
def test_with_prior_draws_a_stopped_training_goes_on_as_if_nothing_had_happened(
    melanomas: PairArrays, joint_base: Path, tmp_path: Path, monkeypatch
) -> None:
    drawn = torch.from_numpy(np.random.default_rng(0).normal(size=(32, 36, 16, 16)).astype(np.float32))
    monkeypatch.setattr(training, "prior_latents", lambda *of: drawn)
    settings = SHORT.model_copy(update={"steps": 3, "prior_share": 0.25})
    whole = trainer(melanomas, joint_base, settings, tmp_path / "whole")
    whole.run(no_progress)
    with pytest.raises(StopRequested):
        trainer(melanomas, joint_base, settings, tmp_path / "parts").run(stop_after(2))
    resumed = trainer(melanomas, joint_base, settings, tmp_path / "parts")
    resumed.run(no_progress)
    assert all(torch.equal(whole.state.ema[name], value) for name, value in resumed.state.ema.items())
    assert whole.prior is not None and whole.settings.prior_share == 0.25


def trainer(pairs: PairArrays, base: Path, settings: AdaptSettings, work: Path) -> AdapterTrainer:
    return AdapterTrainer(pairs, TASK, check_base(base), settings, work)
