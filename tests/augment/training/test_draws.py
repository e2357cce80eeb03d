"""What the denoiser is trained on and told: crops by words of their own, a phantom by its own prompts."""

from __future__ import annotations

from pathlib import Path

import numpy as np
import pytest

from augment.base.text_encoder import make_tokenizer, tokens_of
from augment.prompts import ZOOMS, drawn_prompt_for, prompt_for
from augment.training.draws import PromptedPairs, TrainingPairs, class_weights
from augment.training.latents import DIHEDRAL, LatentCache, crop_share, zoom_steps

CLASSES = ("mel", "nv")


def cache(pairs: int = 6, rounds: int = 3, first: float = 0.0) -> LatentCache:
    """Latents (pairs, views, 2, 1, 1) that hold the numbers of their pair and their view."""
    latents = np.zeros((pairs, DIHEDRAL * rounds, 2, 1, 1), np.float16)
    latents[:, :, 0, 0, 0] = first + np.arange(pairs)[:, None]
    latents[:, :, 1, 0, 0] = np.arange(DIHEDRAL * rounds)
    return LatentCache(latents, np.arange(pairs) % 2, CLASSES, 1)


def test_what_is_told_belongs_to_the_pair_and_its_view() -> None:
    pairs = PromptedPairs(cache())
    latents, said = pairs.draw(np.random.default_rng(0), 400, whole=0.5, dropout=0.2)
    told = [pairs.prompts[number] for number in said]
    whole = 0
    for (pair, view), prompt in zip(latents[:, :, 0, 0].long().tolist(), told, strict=True):
        share = crop_share(view, pair)
        words = ZOOMS[0] if share == 1 else ZOOMS[1] if share >= 0.85 else ZOOMS[2]
        assert prompt.startswith(words) and (share < 1) == ("view" in prompt)
        dropped = prompt in ZOOMS
        assert dropped or prompt.endswith(prompt_for(CLASSES[pair % 2]))
        whole += share == 1
    assert 160 < whole < 240 and 50 < sum(prompt in ZOOMS for prompt in told) < 110


def test_without_crops_every_view_is_whole() -> None:
    pairs = PromptedPairs(cache(rounds=1))
    _, said = pairs.draw(np.random.default_rng(0), 50, whole=0.1, dropout=0.0)
    assert {pairs.prompts[number] for number in said} == {prompt_for(dx) for dx in CLASSES}


def test_the_steps_of_zoom_are_those_of_the_views() -> None:
    steps = zoom_steps(5, 3 * DIHEDRAL)
    assert (steps[:, :DIHEDRAL] == 0).all() and set(steps[:, DIHEDRAL:].flat) == {1, 2}


def test_drawn_pairs_come_by_their_share_under_their_own_prompts() -> None:
    drawn = PromptedPairs(cache(pairs=4, first=100), drawn_prompt_for)
    pairs = TrainingPairs(PromptedPairs(cache()), drawn, drawn_share=0.25)
    latents, said = pairs.draw(np.random.default_rng(0), 800, whole=1.0, dropout=0.1)
    drawn_ones = latents[:, 0, 0, 0] >= 100
    assert 150 < int(drawn_ones.sum()) < 250
    assert all(("illustration" in pairs.prompts[n]) == one for n, one in zip(said, drawn_ones.tolist(), strict=True))


def test_the_tokenizer_knows_every_word_that_is_told(tmp_path: Path) -> None:
    pairs = TrainingPairs(PromptedPairs(cache()), PromptedPairs(cache(), drawn_prompt_for), 0.1)
    tokenizer = make_tokenizer(tmp_path)
    tokens = tokens_of(tokenizer, pairs.prompts)
    assert len({tuple(row.tolist()) for row in tokens}) == len(set(pairs.prompts))
    words = tokenizer.tokenize("closer view, drawn dermoscopy illustration")
    assert words == ["closer</w>", "view</w>", ",</w>", "drawn</w>", "dermoscopy</w>", "illustration</w>"]


def test_rare_classes_are_drawn_more_often_than_they_are_there() -> None:
    weights = class_weights(np.array([0] * 90 + [1] * 10), 2)
    assert weights.sum() == pytest.approx(1) and weights[90:].sum() == pytest.approx(0.25)
