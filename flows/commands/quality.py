"""evenderm quality."""

from __future__ import annotations

from pathlib import Path
from typing import Annotated

import typer

from flows.commands.options import Data, Overrides, Preset, SettingsFile
from manifests.storage.base import on_disk


def command(
    data: Data,
    out: Annotated[
        Path, typer.Option("--out", callback=on_disk, help="Folder for quality.md, quality.json and what is kept.")
    ] = Path("runs/quality"),
    base: Annotated[str, typer.Option("--base", help="Base folder, or 'shipped'.")] = "shipped",
    preset: Preset = "embedded",
    settings: SettingsFile = None,
    overrides: Overrides = None,
) -> int:
    """Measure what a base's generated pairs are worth, each figure beside its bar."""
    from flows.measuring import measure
    from flows.settings import load_settings

    return measure(data, base, out, load_settings(preset, settings, overrides or ()))
