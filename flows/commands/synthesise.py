"""evenderm synthesise."""

from __future__ import annotations

from flows.commands.options import DryRun, Out, Overrides


def command(out: Out, overrides: Overrides = None, dry_run: DryRun = False) -> int:
    """Generate pairs until the classes of a run are balanced."""
    from flows.execution import execute, show_plan
    from flows.run_folder import open_job

    job, steps = open_job(out, overrides or ()), ("gates", "synthesise")
    return show_plan(job, steps) if dry_run else execute(job, steps)
