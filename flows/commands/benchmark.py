"""evenderm benchmark."""

from __future__ import annotations

from flows.commands.options import DryRun, Out, Overrides


def command(out: Out, overrides: Overrides = None, dry_run: DryRun = False) -> int:
    """Train and compare downstream models on a run's real and generated pairs, and write the report."""
    from flows.execution import execute, show_plan
    from flows.run_folder import open_job
    from flows.sequence import JUDGING_STEPS

    job = open_job(out, overrides or ())
    return show_plan(job, JUDGING_STEPS) if dry_run else execute(job, JUDGING_STEPS)
