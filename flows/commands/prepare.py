"""evenderm prepare."""

from __future__ import annotations

from pathlib import Path

from flows.commands.options import Data, DryRun, Out, Overrides, Preset, SettingsFile, Strict


def command(
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
    from flows.run_folder import new_job
    from flows.settings import load_settings

    wanted = (*(overrides or ()), *(("prepare.strict=true",) if strict else ()))
    job = new_job(data, out, preset, load_settings(preset, settings, wanted))
    return show_plan(job, ("prepare",)) if dry_run else execute(job, ("prepare",))
