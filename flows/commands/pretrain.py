"""evenderm pretrain."""

from __future__ import annotations

from pathlib import Path
from typing import Annotated

import typer

from flows.commands.options import Data, Overrides, Preset, SettingsFile
from manifests.storage.base import on_disk


def command(
    data: Data,
    out: Annotated[Path, typer.Option("--out", callback=on_disk, help="Base folder to write.")],
    work: Annotated[
        Path, typer.Option("--work", callback=on_disk, help="Checkpoints and caches; training resumes from here.")
    ],
    preset: Preset = "embedded",
    settings: SettingsFile = None,
    overrides: Overrides = None,
) -> int:
    """Train a base from scratch on a dataset's training split, joint from the start."""
    from flows.pretraining import pretrain
    from flows.settings import load_settings

    return pretrain(data, out, work, load_settings(preset, settings, overrides or ()))
