"""evenderm strategies."""

from __future__ import annotations

from pathlib import Path
from typing import Annotated

import typer

from flows.commands.options import Overrides
from manifests.storage.base import on_disk


def command(
    run: Annotated[
        Path, typer.Option("--run", callback=on_disk, help="Run folder whose data and adapters are compared.")
    ],
    out: Annotated[
        Path | None, typer.Option("--out", callback=on_disk, help="Folder for the tables; else RUN/strategies.")
    ] = None,
    overrides: Overrides = None,
) -> int:
    """Compare ways to draw demonstrations (text, image, inside the mask), and check that they are faithful."""
    from flows.comparing_strategies import compare
    from flows.run_folder import open_job

    job = open_job(run, overrides or ())
    return compare(job, (out or job.folder.path / "strategies").expanduser().resolve())
