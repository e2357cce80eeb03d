"""evenderm ablate."""

from __future__ import annotations

from pathlib import Path
from typing import Annotated

import typer

from flows.commands.options import Data, Overrides, Preset, SettingsFile
from manifests.storage.base import on_disk


def command(
    data: Data,
    out: Annotated[
        Path, typer.Option("--out", callback=on_disk, help="Folder for ablation.md, results.json and what is kept.")
    ],
    what: Annotated[
        str,
        typer.Option("--what", help="terms, codec, trained-codec, adapters, sampling or given; several with commas."),
    ] = "terms,codec",
    preset: Preset = "embedded",
    settings: SettingsFile = None,
    overrides: Overrides = None,
) -> int:
    """Measure what each loss term, mask codec and sampling setting earns."""
    from flows.ablating import ablate
    from flows.settings import load_settings

    return ablate(data, tuple(what.split(",")), out, load_settings(preset, settings, overrides or ()))
