"""The model card of a base that was trained from scratch."""

from __future__ import annotations

import json
import math
from collections.abc import Mapping, Sequence
from pathlib import Path

from augment.settings import PretrainSettings


def base_card(
    folder: Path,
    settings: PretrainSettings,
    *,
    resolution: int,
    classes: Mapping[str, int],
    sources: Sequence[str],
    licences: Sequence[str],
    data_digest: str,
    samples: int,
) -> str:
    """Markdown with the hub's YAML head for the base in `folder`, whose weights are there already.

    samples: pairs that the denoiser was shown; classes: training pairs by class; sources and licences: as the real
    manifest names them.
    """
    unet, vae, text = (_count(folder, part) for part in ("unet", "vae", "text_encoder"))
    pairs = ", ".join(f"{count:,} {dx}" for dx, count in sorted(classes.items(), key=lambda item: -item[1]))
    return f"""---
license: {licences[0].lower() if len(licences) == 1 else "other"}
tags: [dermoscopy, diffusion, segmentation, synthetic-data]
---
# A joint dermoscopy base for Evenderm

A small Stable-Diffusion-layout checkpoint that draws a dermoscopy image and its lesion mask together, {resolution} px,
from a text prompt. Research use only: it is no medical device, and nothing that it draws is a photograph of a patient.

| part | what | parameters |
| --- | --- | --- |
| `unet` | joint denoiser, {settings.latent_channels} image channels and the mask's, v-prediction | {unet} |
| `vae` | AutoencoderDC: a linear patch code (principal components) as encoder, a decoder trained from it | {vae} |
| `text_encoder`, `tokenizer` | CLIP with a byte-pair vocabulary made from the prompts | {text} |
| `mask_codec.json` | clipped signed distance map: {settings.codec.name} | |

- **Data**: the training split of {", ".join(sources)}: {pairs}, after near-duplicates of the validation and test
  splits were set aside{_drawn(settings)}; no other data. Manifest digest `{data_digest}`.
- **Licence of the data**: {", ".join(licences)}.
- **Steps**: {_decoder_steps(settings)};
  denoiser {samples:,} pairs shown, {settings.batch} at a time, class balanced by the square root, flips, turns and
  crops; averaged weights, stored as fp16.
- **Quality**: `evenderm quality --base THIS --data DATA` measures it on the validation split.
- **Limits**: it knows these classes and these cameras only, and fine texture is softer than in photographs.
"""


def _decoder_steps(settings: PretrainSettings) -> str:
    if settings.start is not None:
        return "autoencoder, and the denoiser's weights to begin with, from an earlier base"
    text = f"decoder {settings.decoder_steps:,} of {settings.decoder_batch} crops of 64 px, from the linear code"
    if not settings.decoder_teacher:
        return text
    return f"{text}, compared by the features of `{Path(settings.decoder_teacher).name}` too"


def _drawn(settings: PretrainSettings) -> str:
    if not settings.drawn_pairs:
        return ""
    return f", and {settings.drawn_pairs:,} pairs of a drawn phantom, {settings.drawn_share:.0%} of those shown"


def _count(folder: Path, part: str) -> str:
    """Parameters of a part in millions, read from the headers of its safetensors files."""
    total = 0
    for path in (folder / part).glob("*.safetensors"):
        with path.open("rb") as file:
            header = json.loads(file.read(int.from_bytes(file.read(8), "little")))
        total += sum(math.prod(entry["shape"]) for name, entry in header.items() if name != "__metadata__")
    return f"{total / 1e6:.1f} M"
