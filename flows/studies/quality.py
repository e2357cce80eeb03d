"""The quality table of a base, as a command: prepare, draw, train the judges, measure, write."""

from __future__ import annotations

from pathlib import Path
from typing import TYPE_CHECKING

from rich.console import Console

from flows.engine.process import limit_threads
from flows.engine.watch import Watch
from flows.run.folder import RunFolder
from flows.run.lock import run_lock
from flows.settings import Settings
from manifests.errors import BadInput

if TYPE_CHECKING:
    from augment.base.folder import BaseFolder
    from evaluate.studies.quality import BaseStudy


def measure(data: Path, base_path: str, out: Path, settings: Settings) -> int:
    """Writes quality.md, quality.json and contact_sheet.png of a base to `out`; exit code 0 whatever the bars say."""
    from augment.base.folder import open_base
    from evaluate.studies.contact_sheet import contact_sheet
    from evaluate.studies.quality import measure_quality, quality_json, quality_table
    from manifests.png import encode_png

    base = open_base(settings.base.model_copy(update={"path": base_path}), RunFolder(out).bases)
    out.mkdir(parents=True, exist_ok=True)
    limit_threads(settings.engine.threads)
    watch = Watch(out / "log.jsonl", Console())
    with run_lock(out / "run.lock", on_stale=watch.say), watch.bars():
        subject = subject_of(data, base, out, settings, watch)
        with watch.task("quality", "units") as progress:
            lines, drawn = measure_quality(subject, progress)
        (out / "contact_sheet.png").write_bytes(encode_png(contact_sheet(drawn), level=6))
    (out / "quality.json").write_text(quality_json(lines))
    (out / "quality.md").write_text(quality_table(lines))
    print(quality_table(lines), end="")
    return 0


def subject_of(data: Path, base: BaseFolder, out: Path, settings: Settings, watch: Watch) -> BaseStudy:
    """The base with the training and validation pairs of `data` at its side, through a real manifest in `out`.

    Raises BadInput where no pair is held out for validation.
    """
    from evaluate.studies.quality import BaseStudy
    from manifests.prepare.prepare import prepare

    if not (out / "real" / "manifest.json").exists():
        with watch.task("prepare", "pairs") as progress:
            prepare(data, out / "real", settings.prepare, progress)
    folder, side = RunFolder(out), base.unet_side * base.downscale
    validation = folder.pairs("validation", side)
    if not len(validation):
        raise BadInput(
            f"{folder.real}: no validation pair to measure on; give another --out, and prepare.validation_fraction "
            "above 0"
        )
    return BaseStudy(
        folder.pairs("train", side),
        validation,
        base,
        settings.sampling,
        settings.quality,
        out / "work",
        settings.seed,
        settings.synthesis.detail,
    )
