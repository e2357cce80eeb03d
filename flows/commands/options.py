"""Options that several commands share."""

from __future__ import annotations

import re
from pathlib import Path
from typing import Annotated

import typer

from manifests.errors import BadInput


def on_disk(path: Path | None) -> Path | None:
    """The path as it is; BadInput for a URL, of which a path would make a folder called `s3:`."""
    if path is not None and (url := re.match(r"([A-Za-z][A-Za-z0-9+.-]+):/+", str(path))):
        raise BadInput(
            f"{url[1]}://{str(path)[url.end() :]}: this option takes a path on disk; a finished manifest goes to a URL "
            "and back with evenderm export MANIFEST --to manifest --out URL"
        )
    return path


Data = Annotated[
    Path, typer.Option("--data", callback=on_disk, help="Dataset as downloaded: a folder, or a CSV or Parquet file.")
]
Out = Annotated[Path, typer.Option("--out", callback=on_disk, help="Run folder; an unfinished run in it goes on.")]
Preset = Annotated[str, typer.Option("--preset", help="embedded, tiny or sd2.")]
SettingsFile = Annotated[Path | None, typer.Option("--settings", help="TOML file that overrides the preset.")]
Overrides = Annotated[
    list[str] | None,
    typer.Option("--set", metavar="NAME=VALUE", help="Overrides one setting, as in adapt.steps=200."),
]
DryRun = Annotated[bool, typer.Option("--dry-run", help="Print what would run and why, and do nothing.")]
Strict = Annotated[bool, typer.Option("--strict", help="Any row that would be set aside is an error.")]
