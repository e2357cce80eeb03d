"""Commands of a run: the whole job and each of its steps."""

from __future__ import annotations

from pathlib import Path

from flows.commands.options import Data, DryRun, Out, Overrides, Preset, SettingsFile, Strict, Verify


def run(
    data: Data,
    out: Out = Path("runs/run"),
    preset: Preset = "embedded",
    settings: SettingsFile = None,
    overrides: Overrides = None,
    strict: Strict = False,
    verify: Verify = False,
    dry_run: DryRun = False,
) -> int:
    """The whole job: prepare, adapt, synthesise, benchmark, report. Run it again to resume."""
    from flows.execution import execute, show_plan
    from flows.run.folder import new_job
    from flows.settings import load_settings

    wanted = (*(overrides or ()), *(("prepare.strict=true",) if strict else ()))
    job = new_job(data, out, preset, load_settings(preset, settings, wanted))
    return show_plan(job) if dry_run else execute(job, every=verify)


def prepare(
    data: Data,
    out: Out = Path("runs/run"),
    preset: Preset = "embedded",
    settings: SettingsFile = None,
    overrides: Overrides = None,
    strict: Strict = False,
    dry_run: DryRun = False,
) -> int:
    """Read a dataset into the run's real manifest: checked, deduplicated, split."""
    from flows.execution import execute, show_plan
    from flows.run.folder import new_job
    from flows.settings import load_settings

    wanted = (*(overrides or ()), *(("prepare.strict=true",) if strict else ()))
    job = new_job(data, out, preset, load_settings(preset, settings, wanted))
    return show_plan(job, ("prepare",)) if dry_run else execute(job, ("prepare",))


def adapt(out: Out, overrides: Overrides = None, dry_run: DryRun = False) -> int:
    """Train one adapter per class on a run's prepared pairs."""
    from flows.execution import execute, show_plan
    from flows.run.folder import open_job

    job = open_job(out, overrides or ())
    return show_plan(job, ("adapt",)) if dry_run else execute(job, ("adapt",))


def synthesise(out: Out, overrides: Overrides = None, dry_run: DryRun = False) -> int:
    """Generate pairs until the classes of a run are balanced."""
    from flows.execution import execute, show_plan
    from flows.run.folder import open_job

    job, steps = open_job(out, overrides or ()), ("gates", "synthesise")
    return show_plan(job, steps) if dry_run else execute(job, steps)


def benchmark(out: Out, overrides: Overrides = None, dry_run: DryRun = False) -> int:
    """Train and compare downstream models on a run's real and generated pairs, and write the report."""
    from flows.execution import execute, show_plan
    from flows.run.folder import open_job
    from flows.steps import JUDGING_STEPS

    job = open_job(out, overrides or ())
    return show_plan(job, JUDGING_STEPS) if dry_run else execute(job, JUDGING_STEPS)
