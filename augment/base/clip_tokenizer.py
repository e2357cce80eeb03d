"""The byte-pair tokenizer of CLIP, which every Stable Diffusion 1, 2 and XL reads prompts with.

`clip_merges.txt.gz` beside this file holds the merges of OpenAI's CLIP (Radford et al. 2021; MIT licence).
"""

from __future__ import annotations

import gzip
from pathlib import Path
from typing import Any

MERGES = Path(__file__).with_name("clip_merges.txt.gz")
TOKENS = 77
"""Length of a prompt."""
VOCABULARY = 49_408
END = "<|endoftext|>"


def clip_tokenizer(padding: str = END) -> Any:
    """CLIP's tokenizer of 49,408 tokens; `padding` is `END`, or "!" with the text encoders of OpenCLIP."""
    from transformers import CLIPTokenizer

    merges = [tuple(line.split()) for line in gzip.decompress(MERGES.read_bytes()).decode().splitlines()]
    # Bytes that print as themselves come first, then the others, told by letters from the 256th on.
    printed = [*range(33, 127), *range(161, 173), *range(174, 256)]
    letters = [chr(byte) for byte in printed] + [chr(256 + number) for number in range(256 - len(printed))]
    words = [*letters, *(f"{letter}</w>" for letter in letters), *("".join(merge) for merge in merges)]
    vocabulary = {word: number for number, word in enumerate([*words, "<|startoftext|>", END])}
    return CLIPTokenizer(vocab=vocabulary, merges=merges, pad_token=padding, model_max_length=TOKENS)
