"""evenderm adapt."""

from __future__ import annotations

from flows.commands.options import DryRun, Out, Overrides


def command(out: Out, overrides: Overrides = None, dry_run: DryRun = False) -> int:
    """Train one adapter per class on a run's prepared pairs."""
    from flows.execution import execute, show_plan
    from flows.run_folder import open_job

    job = open_job(out, overrides or ())
    return show_plan(job, ("adapt",)) if dry_run else execute(job, ("adapt",))
