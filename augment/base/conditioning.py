"""What the denoiser is told of a pair: embeddings of its prompt and, with Stable Diffusion XL, sizes."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass
from typing import Any

import torch
from torch import Tensor

from augment.base.folder import BaseFolder
from augment.base.text_encoder import embeddings_of, tokens_of
from manifests.errors import BadInput

_PROMPTS = 64  # encoded at once


@dataclass(frozen=True)
class Conditioning:
    """embeddings: (B, L, D); with XL also pooled: (B, P), and sizes: (B, 6), which are the picture's height and width,
    the top and left of its crop, and the height and width that are drawn (Podell et al. 2023, section 2.2)."""

    embeddings: Tensor
    pooled: Tensor | None = None
    sizes: Tensor | None = None

    def __len__(self) -> int:
        return len(self.embeddings)

    def __getitem__(self, chosen: Tensor | slice) -> Conditioning:
        if self.pooled is None or self.sizes is None:
            return Conditioning(self.embeddings[chosen])
        return Conditioning(self.embeddings[chosen], self.pooled[chosen], self.sizes[chosen])

    def to(self, device: torch.device, dtype: torch.dtype = torch.float32) -> Conditioning:
        """On a device, the embeddings as `dtype`; sizes stay float32, which holds each of them."""
        if self.pooled is None or self.sizes is None:
            return Conditioning(self.embeddings.to(device, dtype))
        return Conditioning(self.embeddings.to(device, dtype), self.pooled.to(device, dtype), self.sizes.to(device))

    def output_of(self, unet: Any, latents: Tensor, timesteps: Tensor) -> Tensor:
        """What `unet` says of noisy latents (B, C + M, h, w) when it is told this: the same shape."""
        if self.pooled is None:
            output: Tensor = unet(latents, timesteps, self.embeddings).sample
        else:
            added = {"text_embeds": self.pooled, "time_ids": self.sizes}
            output = unet(latents, timesteps, self.embeddings, added_cond_kwargs=added).sample
        return output


def joined_conditioning(parts: Sequence[Conditioning]) -> Conditioning:
    """Several of one base as one batch."""
    pooled = [part.pooled for part in parts if part.pooled is not None]
    sizes = [part.sizes for part in parts if part.sizes is not None]
    embeddings = torch.cat([part.embeddings for part in parts])
    return Conditioning(embeddings, torch.cat(pooled), torch.cat(sizes)) if pooled else Conditioning(embeddings)


@torch.inference_mode()
def _encoded(base: BaseFolder, part: str, prompts: Sequence[str]) -> tuple[Tensor, Tensor | None]:
    """Embeddings (B, L, D) of one text encoder, and the pooled ones (B, P) of XL's second."""
    encoder = base.text_encoder(part)
    tokens = _fitting_tokens(base, part.replace("text_encoder", "tokenizer"), encoder.config, prompts)
    if not base.xl:
        return torch.cat([embeddings_of(encoder, some).float() for some in tokens.split(_PROMPTS)]), None
    found = [encoder(some, output_hidden_states=True) for some in tokens.split(_PROMPTS)]
    hidden = torch.cat([output.hidden_states[-2].float() for output in found])  # before the last layer
    return hidden, torch.cat([output.text_embeds.float() for output in found]) if part.endswith("_2") else None


def conditioning_of(base: BaseFolder, prompts: Sequence[str]) -> Conditioning:
    """What `base` is told by `prompts`; a text encoder is in memory only meanwhile, one at a time.

    BadInput if a tokenizer does not fit its text encoder.
    """
    encoded = [_encoded(base, part, prompts) for part in base.text_encoders]
    if len({hidden.shape[1] for hidden, _ in encoded}) > 1:
        raise BadInput(f"{base.path}: its tokenizers cut prompts at different lengths; take both from one checkpoint")
    embeddings = torch.cat([hidden for hidden, _ in encoded], dim=-1)
    pooled = encoded[-1][1]
    if pooled is None:
        return Conditioning(embeddings)
    pooled = pooled.clone()
    if base.silent_zeros:
        silent = torch.tensor([not prompt for prompt in prompts])
        embeddings[silent], pooled[silent] = 0, 0
    # A pair fills the square that is drawn, uncut: what the flips and turns of training leave as it is.
    side = float(base.unet_side * base.downscale)
    return Conditioning(embeddings, pooled, torch.tensor([[side, side, 0.0, 0.0, side, side]]).repeat(len(prompts), 1))


def _fitting_tokens(base: BaseFolder, part: str, config: Any, prompts: Sequence[str]) -> Tensor:
    tokenizer = base.tokenizer(part)
    positions, vocabulary = config.max_position_embeddings, config.vocab_size
    # A tokenizer whose files tell no length claims 1e30.
    length = tokenizer.model_max_length if tokenizer.model_max_length < 1_000_000 else positions
    if length > positions:
        raise BadInput(
            f"{base.path / part}: prompts of {length} tokens do not fit the text encoder's {positions} "
            "positions; take both from one checkpoint"
        )
    tokens = tokens_of(tokenizer, prompts, length)
    if int(tokens.max()) >= vocabulary:
        raise BadInput(
            f"{base.path / part}: token {int(tokens.max())} does not fit the text encoder's vocabulary of "
            f"{vocabulary}; take both from one checkpoint"
        )
    return tokens
