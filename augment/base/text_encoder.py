"""The shipped base's small CLIP text encoder and its byte-pair tokenizer, made from the prompt table."""

from __future__ import annotations

import re
from collections import Counter
from collections.abc import Sequence
from itertools import pairwise
from pathlib import Path
from typing import Any

import torch
from torch import Tensor

from augment.prompts import training_corpus

TOKENS = 48
_END = "</w>"


def make_tokenizer(folder: Path) -> Any:
    """Makes a CLIP byte-pair tokenizer from the prompt table and writes it to `folder`; always the same one."""
    from tokenizers import pre_tokenizers
    from transformers import CLIPTokenizer

    alphabet = sorted(pre_tokenizers.ByteLevel.alphabet())
    merges = byte_pair_merges(training_corpus())
    # CLIP's vocabulary holds every byte, inside and at the end of a word, then what the merges make of them.
    vocabulary = [*alphabet, *(byte + _END for byte in alphabet), *("".join(merge) for merge in merges)]
    ordered = [*dict.fromkeys(vocabulary), "<|startoftext|>", "<|endoftext|>"]
    made = CLIPTokenizer(
        vocab={token: index for index, token in enumerate(ordered)}, merges=merges, model_max_length=TOKENS
    )
    made.save_pretrained(folder)
    return CLIPTokenizer.from_pretrained(folder)


def byte_pair_merges(corpus: Sequence[str]) -> list[tuple[str, str]]:
    """Byte-pair merges (Sennrich et al. 2016) until every word of `corpus` is one token.

    The trainer of the tokenizers library breaks ties at random; here the first pair in the alphabet wins.
    """
    counts = Counter(word for text in corpus for word in re.findall(r"[a-z]+|[0-9]|[^\sa-z0-9]+", text.lower()))
    words = {word: (*word[:-1], word[-1] + _END) for word in counts}
    merges: list[tuple[str, str]] = []
    while True:
        pairs: Counter[tuple[str, str]] = Counter()
        for word, parts in words.items():
            for pair in pairwise(parts):
                pairs[pair] += counts[word]
        if not pairs:
            return merges
        best = min(pairs, key=lambda pair: (-pairs[pair], pair))
        merges.append(best)
        words = {word: _merged(parts, best) for word, parts in words.items()}


def _merged(parts: tuple[str, ...], pair: tuple[str, str]) -> tuple[str, ...]:
    merged: list[str] = []
    for part in parts:
        if merged and (merged[-1], part) == pair:
            merged[-1] += part
        else:
            merged.append(part)
    return tuple(merged)


def make_text_encoder(tokenizer: Any, width: int) -> torch.nn.Module:
    """A randomly initialised CLIPTextModel of two layers; it learns with the denoiser."""
    from transformers import CLIPTextConfig, CLIPTextModel

    config = CLIPTextConfig(
        vocab_size=len(tokenizer),
        hidden_size=width,
        intermediate_size=2 * width,
        num_hidden_layers=2,
        num_attention_heads=4,
        max_position_embeddings=TOKENS,
        projection_dim=width,
        bos_token_id=tokenizer.bos_token_id,
        eos_token_id=tokenizer.eos_token_id,
        pad_token_id=tokenizer.pad_token_id,
    )
    return CLIPTextModel(config)


def tokens_of(tokenizer: Any, prompts: Sequence[str], length: int | None = None) -> Tensor:
    """Token ids (B, L), padded and cut to `length`, by default the tokenizer's own."""
    found = tokenizer(
        list(prompts),
        padding="max_length",
        truncation=True,
        max_length=length or tokenizer.model_max_length,
        return_tensors="pt",
    )
    return found.input_ids


def embeddings_of(text_encoder: torch.nn.Module, tokens: Tensor) -> Tensor:
    """Prompt embeddings (B, L, D) that condition the denoiser, as Stable Diffusion 1 and 2 take them."""
    return text_encoder(tokens).last_hidden_state
