"""Prior preservation: what the start of a rare class's adapter draws without a class, learned beside its few pairs.

After Ruiz et al. 2023 (DreamBooth, section 3.2): the weights stay near those that draw every kind of lesion.
"""

from __future__ import annotations

import hashlib
from pathlib import Path

import torch
from torch import Tensor

from augment.adapters import AdapterFile
from augment.base.folder import BaseFolder
from augment.sampling import PairSampler
from augment.settings import SamplingSettings
from augment.tensor_files import write_tensors

_DRAWS = 32
_SAMPLING = SamplingSettings(steps=12, guidance=1.0)


def prior_latents(base: BaseFolder, start: AdapterFile | None, seed: int, folder: Path) -> Tensor:
    """Joint latents (32, C + M, h, w) drawn by `start` (or the joint base alone) to the empty prompt.

    They are made once and kept in `folder`.
    """
    from safetensors.torch import load_file

    named = f"{base.digest} {start.digest if start else ''} {seed}"
    path = folder / f"prior-{hashlib.sha256(named.encode()).hexdigest()[:16]}.safetensors"
    if not path.exists():
        sampler = PairSampler(base, start, _SAMPLING)
        seeds = [seed * _DRAWS + number for number in range(_DRAWS)]
        parts = [seeds[first : first + _SAMPLING.batch] for first in range(0, _DRAWS, _SAMPLING.batch)]
        drawn = torch.cat([sampler.latents([""] * len(part), part) for part in parts])
        write_tensors(path, {"latents": drawn.half().cpu()}, {})
    return load_file(path)["latents"].float()
