"""Commands about runs, and about the machine for them."""

from __future__ import annotations

from pathlib import Path
from typing import Annotated

import typer

from manifests.errors import printable
from manifests.storage.base import on_disk

REGRESSION = 3


def status(out: Annotated[Path, typer.Argument(metavar="RUN", help="Run folder.")]) -> int:
    """Say what of a run is done, running and left."""
    from flows.run.folder import open_job
    from flows.status import read_status, status_lines

    job = open_job(out)
    print("\n".join(map(printable, status_lines(job, read_status(job)))))
    return 0


def compare(
    old: Annotated[Path, typer.Argument(metavar="OLD.json", help="results.json to compare with.")],
    new: Annotated[Path, typer.Argument(metavar="NEW.json", help="results.json to judge.")],
    tolerance: Annotated[
        float | None,
        typer.Option("--tolerance", help="Worse by more than this is a regression; else the old interval."),
    ] = None,
    allow_missing: Annotated[
        bool,
        typer.Option("--allow-missing", help="Only note arms and metrics that NEW.json lacks; else regressions."),
    ] = False,
    out: Annotated[
        Path | None, typer.Option("--out", callback=on_disk, help="Write the Markdown here as well.")
    ] = None,
) -> int:
    """Tell regressions between two results files; exit code 3 if there is one."""
    from evaluate.compare import compare_results

    comparison = compare_results(old, new, tolerance, allow_missing)
    print("\n".join(map(printable, comparison.markdown.splitlines())))
    if out is not None:
        out.parent.mkdir(parents=True, exist_ok=True)
        out.write_text(comparison.markdown, encoding="utf-8")
    return REGRESSION if comparison.regressions else 0


def doctor(
    out: Annotated[Path, typer.Option("--out", callback=on_disk, help="Folder for runs, whose disk counts.")] = Path(),
    as_json: Annotated[bool, typer.Option("--json", help="Print JSON for programs.")] = False,
) -> int:
    """Say what this machine has (cores, memory, GPU, disk, versions, hub, weights) and which presets it can run."""
    import json

    from flows.engine.machine import look_at_machine

    machine = look_at_machine(out)
    print(json.dumps(machine.to_json(), indent=2) if as_json else "\n".join(machine.lines()))
    return 0
