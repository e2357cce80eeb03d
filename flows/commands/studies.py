"""Commands that measure a generator, its demonstrations, or make a base."""

from __future__ import annotations

from pathlib import Path
from typing import Annotated, Literal

import typer

from flows.commands.options import Data, Overrides, Preset, SettingsFile
from manifests.storage.base import on_disk


def strategies(
    run: Annotated[
        Path, typer.Option("--run", callback=on_disk, help="Run folder whose data and adapters are compared.")
    ],
    out: Annotated[
        Path | None, typer.Option("--out", callback=on_disk, help="Folder for the tables; else RUN/strategies.")
    ] = None,
    overrides: Overrides = None,
) -> int:
    """Compare ways to draw demonstrations (text, image, inside the mask), and check that they are faithful."""
    from flows.run.folder import open_job
    from flows.studies.strategies import compare

    job = open_job(run, overrides or ())
    return compare(job, (out or job.folder.path / "strategies").expanduser().resolve())


def quality(
    data: Data,
    out: Annotated[
        Path, typer.Option("--out", callback=on_disk, help="Folder for quality.md, quality.json and what is kept.")
    ] = Path("runs/quality"),
    base: Annotated[str, typer.Option("--base", help="Base folder, or 'shipped'.")] = "shipped",
    preset: Preset = "embedded",
    settings: SettingsFile = None,
    overrides: Overrides = None,
) -> int:
    """Measure what a base's generated pairs are worth, each figure beside its bar."""
    from flows.settings import load_settings
    from flows.studies.quality import measure

    return measure(data, base, out, load_settings(preset, settings, overrides or ()))


def ablate(
    data: Data,
    out: Annotated[
        Path, typer.Option("--out", callback=on_disk, help="Folder for ablation.md, results.json and what is kept.")
    ],
    what: Annotated[
        str,
        typer.Option(
            "--what",
            help="terms, codec, trained-codec, adapters, sampling, given, ways; of a run's folder: recipes, adapted; "
            "several with commas.",
        ),
    ] = "terms,codec",
    preset: Preset = "embedded",
    settings: SettingsFile = None,
    overrides: Overrides = None,
) -> int:
    """Measure what each loss term, mask codec and sampling setting earns."""
    from flows.settings import load_settings
    from flows.studies.ablation import ablate

    return ablate(data, tuple(what.split(",")), out, load_settings(preset, settings, overrides or ()))


def pretrain(
    data: Data,
    out: Annotated[Path, typer.Option("--out", callback=on_disk, help="Base folder to write.")],
    work: Annotated[
        Path, typer.Option("--work", callback=on_disk, help="Checkpoints and caches; training resumes from here.")
    ],
    only: Annotated[
        Literal["decoder", "denoiser", "segmenter", "fingerprints"] | None,
        typer.Option(
            "--only",
            help="Train one part and write no base; each part may have a process of its own. The segmenter, which "
            "finds missing masks, is written to --out; fingerprints of the training pictures into the base there.",
        ),
    ] = None,
    seconds: Annotated[
        float, typer.Option("--seconds", min=0, help="Train the denoiser for so long and write what it has become.")
    ] = 0,
    preset: Preset = "embedded",
    settings: SettingsFile = None,
    overrides: Overrides = None,
) -> int:
    """Train a base from scratch on a dataset's training split, joint from the start."""
    from flows.settings import load_settings
    from flows.studies.pretrain import pretrain

    return pretrain(data, out, work, load_settings(preset, settings, overrides or ()), only, seconds)
