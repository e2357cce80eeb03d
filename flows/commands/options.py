"""Options that several commands share."""

from __future__ import annotations

from pathlib import Path
from typing import Annotated

import typer

from manifests.storage.base import on_disk

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
Strict = Annotated[
    bool, typer.Option("--strict", help="Any row that would be set aside, or lacks its mask, is an error.")
]
Verify = Annotated[
    bool, typer.Option("--verify", help="Read every byte of what is finished; what was changed is made again.")
]
Quiet = Annotated[bool, typer.Option("--quiet", help="Print the last lines alone: verdicts, time, report.")]
AsJson = Annotated[bool, typer.Option("--json", help="Print a JSON object on a line for each event, for programs.")]
