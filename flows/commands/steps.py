"""Commands of a run: the whole job and each of its steps."""

from __future__ import annotations

from collections.abc import Sequence
from pathlib import Path
from typing import TYPE_CHECKING

from flows.commands.options import AsJson, Data, DryRun, Out, Overrides, Preset, Quiet, SettingsFile, Strict, Verify

if TYPE_CHECKING:
    from flows.run.folder import Job


def run(
    data: Data,
    out: Out = Path("runs/run"),
    preset: Preset = "embedded",
    settings: SettingsFile = None,
    overrides: Overrides = None,
    strict: Strict = False,
    verify: Verify = False,
    dry_run: DryRun = False,
    quiet: Quiet = False,
    as_json: AsJson = False,
) -> int:
    """The whole job: prepare, adapt, synthesise, benchmark, report. Run it again to resume."""
    from flows.steps import STEPS

    return _do(_new(data, out, preset, settings, overrides, strict), STEPS, dry_run, quiet, as_json, verify)


def prepare(
    data: Data,
    out: Out = Path("runs/run"),
    preset: Preset = "embedded",
    settings: SettingsFile = None,
    overrides: Overrides = None,
    strict: Strict = False,
    dry_run: DryRun = False,
    quiet: Quiet = False,
    as_json: AsJson = False,
) -> int:
    """Read a dataset into the run's real manifest: checked, deduplicated, split."""
    return _do(_new(data, out, preset, settings, overrides, strict), ("prepare",), dry_run, quiet, as_json)


def adapt(
    out: Out, overrides: Overrides = None, dry_run: DryRun = False, quiet: Quiet = False, as_json: AsJson = False
) -> int:
    """Train one adapter per class on a run's prepared pairs."""
    return _do(_opened(out, overrides), ("adapt",), dry_run, quiet, as_json)


def synthesise(
    out: Out, overrides: Overrides = None, dry_run: DryRun = False, quiet: Quiet = False, as_json: AsJson = False
) -> int:
    """Generate pairs until the classes of a run are balanced."""
    return _do(_opened(out, overrides), ("gates", "synthesise"), dry_run, quiet, as_json)


def benchmark(
    out: Out, overrides: Overrides = None, dry_run: DryRun = False, quiet: Quiet = False, as_json: AsJson = False
) -> int:
    """Train and compare downstream models on a run's real and generated pairs, and write the report."""
    from flows.steps import JUDGING_STEPS

    return _do(_opened(out, overrides), JUDGING_STEPS, dry_run, quiet, as_json)


def _new(data: Path, out: Path, preset: str, settings: Path | None, overrides: list[str] | None, strict: bool) -> Job:
    from flows.run.folder import new_job
    from flows.settings import load_settings

    wanted = (*(overrides or ()), *(("prepare.strict=true",) if strict else ()))
    return new_job(data, out, preset, load_settings(preset, settings, wanted))


def _opened(out: Path, overrides: list[str] | None) -> Job:
    from flows.run.folder import open_job

    return open_job(out, overrides or ())


def _do(job: Job, steps: Sequence[str], dry_run: bool, quiet: bool, as_json: bool, verify: bool = False) -> int:
    """Runs the steps, or tells what they would do."""
    from flows.execution import execute, show_plan

    if dry_run:
        return show_plan(job, steps, as_json)
    return execute(job, steps, every=verify, quiet=quiet, as_json=as_json)
