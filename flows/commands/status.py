"""evenderm status."""

from __future__ import annotations

from pathlib import Path
from typing import Annotated

import typer


def command(out: Annotated[Path, typer.Argument(metavar="RUN", help="Run folder.")]) -> int:
    """Say what of a run is done, running and left."""
    from flows.run_folder import open_job
    from flows.status import read_status, status_lines

    job = open_job(out)
    print("\n".join(status_lines(job, read_status(job))))
    return 0
