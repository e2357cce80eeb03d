"""A joint base without its mask channels: what Stable Diffusion's layout is before anything taught it masks."""

from __future__ import annotations

import shutil
from pathlib import Path

from augment.base import CODEC_FILE, BaseFolder, check_base
from augment.joint import narrow_unet


def without_mask_channels(base: BaseFolder, folder: Path) -> BaseFolder:
    """A copy of `base` in `folder` whose UNet knows the image latents alone; made once and found again.

    The mask channels' weights are cut from both outer convolutions, so its pictures are those that the rest of the
    UNet draws without seeing a mask.
    """
    if not (folder / "model_index.json").is_file():
        shutil.rmtree(folder, ignore_errors=True)
        left_out = shutil.ignore_patterns("unet", CODEC_FILE, "model_index.json", "README.md")
        shutil.copytree(base.path, folder, ignore=left_out)
        narrow_unet(base.unet(), base.latent_channels).save_pretrained(folder / "unet")
        shutil.copy(base.path / "model_index.json", folder)
    return check_base(folder)
