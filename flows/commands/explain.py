"""The explain command, and what it says in the terminal."""

from __future__ import annotations

import time
from collections.abc import Sequence
from pathlib import Path
from typing import TYPE_CHECKING, Annotated, Any

import typer
from rich.console import Console

from flows.commands.options import Overrides
from flows.engine.process import limit_threads
from flows.engine.terminal import duration
from flows.engine.watch import Watch
from flows.explain.sources import ImageSource, chunks, find_sources
from flows.run.lock import run_lock
from manifests.errors import BadInput
from manifests.storage.base import on_disk

if TYPE_CHECKING:
    from evaluate.explain.explainer import Explainer
    from evaluate.settings.explain import ExplainSettings
    from flows.run.folder import Job

SPLITS = ("train", "validation", "test")


def explain(
    images: Annotated[
        list[str] | None, typer.Argument(help="Image files, folders of images, or manifests.", show_default=False)
    ] = None,
    run: Annotated[
        Path, typer.Option("--run", callback=on_disk, help="Run folder whose data and adapters explain.")
    ] = Path("runs/run"),
    out: Annotated[
        Path | None, typer.Option("--out", callback=on_disk, help="Folder for explain.html; else RUN/explain.")
    ] = None,
    mask: Annotated[Path | None, typer.Option("--mask", help="Your own mask of a single image.")] = None,
    wanted: Annotated[
        list[str] | None, typer.Option("--as", metavar="CLASS", help="Show this class, not the most probable ones.")
    ] = None,
    split: Annotated[str, typer.Option("--split", help="Split of a manifest that is explained.")] = "validation",
    limit: Annotated[int, typer.Option("--limit", min=0, help="At most this many images; 0 takes all.")] = 0,
    diagnoser: Annotated[str | None, typer.Option("--diagnoser", help="classifier, vlm or endpoint.")] = None,
    flow: Annotated[bool, typer.Option("--flow", help="Run it as a Prefect flow.")] = False,
    serve: Annotated[bool, typer.Option("--serve", help="Open a local page to drop images into.")] = False,
    port: Annotated[int, typer.Option("--port", min=0, max=65535, help="Port of --serve; 0 takes a free one.")] = 8765,
    overrides: Overrides = None,
) -> int:
    """Say what an image may show and how sure, and show what each diagnosis looks like. For research use."""
    from flows.explain.explain import with_diagnoser
    from flows.run.folder import open_job

    job = open_job(run, with_diagnoser(overrides or (), diagnoser))
    if serve:
        return serve_page(job, port)
    target = (out or job.folder.path / "explain").expanduser().resolve()
    return explain_images(job, images or (), target, mask, wanted or (), split, limit, flow)


def explain_images(
    job: Job,
    places: Sequence[str],
    out: Path,
    mask: Path | None = None,
    wanted: Sequence[str] = (),
    split: str = "validation",
    limit: int = 0,
    flow: bool = False,
) -> int:
    """Explains the images at `places` into `out`; exit code 1 if some could not be, 2 if none could."""
    from flows.explain.explain import finish

    if not places:
        raise BadInput("no image given; name image files, a folder or a manifest, or use --serve")
    if split not in SPLITS:
        raise BadInput(f"--split {split}: no such split; choose from {', '.join(SPLITS)}")
    sources = find_sources(places, split)
    sources = sources[:limit] if limit else sources
    if mask is not None and (len(sources) != 1 or not mask.is_file()):
        raise BadInput(f"{mask}: --mask takes the mask file of one image; give one image and check the path")
    _check_wanted(job, wanted)
    _check_any_is_a_picture(sources, job.settings.explain)
    started = time.monotonic()
    out.mkdir(parents=True, exist_ok=True)
    limit_threads(job.settings.engine.threads)
    console = Console()
    watch = Watch(out / "log.jsonl", console)
    _say_what_is_sent(job, watch)
    with run_lock(out / "explain.lock", on_stale=watch.say):
        if flow:
            from flows.orchestration.explain_flow import run_flow

            records = run_flow(job, sources, out, wanted)
        else:
            records = _here(job, sources, out, mask, wanted, watch)
        finish(job, out, records)
    return _summarise(records, out, watch, time.monotonic() - started)


def _check_any_is_a_picture(sources: Sequence[ImageSource], settings: ExplainSettings) -> None:
    """Raises BadInput, before any model is loaded, if none of the image files can be read."""
    from evaluate.explain.explainer import read_image

    first: BadInput | None = None
    for source in sources:
        if source.path is None:
            return
        try:
            read_image(source.read(), source.name, settings)
            return
        except BadInput as error:
            first = first or error
    if first is not None:
        raise first


def serve_page(job: Job, port: int) -> int:
    """Serves the local page on loopback until it is stopped."""
    from flows.explain.server import serve

    console = Console()
    limit_threads(job.settings.engine.threads)
    _say_what_is_sent(job, Watch(None, console))
    serve(job, port, lambda line: console.print(line, highlight=False, markup=False, soft_wrap=True))
    return 0


def _here(
    job: Job, sources: Sequence[ImageSource], out: Path, mask: Path | None, wanted: Sequence[str], watch: Watch
) -> list[dict[str, Any]]:
    from flows.explain.explain import explain_chunk, watched_explainer

    records = []

    def load() -> Explainer:
        return watched_explainer(job, watch)

    with watch.bars():
        for number, chunk in enumerate(chunks(sources)):
            with watch.task(f"explain page {number + 1}", "images") as progress:
                records.append(explain_chunk(job, number, chunk, out, mask, wanted, progress, load))
    return records


def _summarise(records: Sequence[dict[str, Any]], out: Path, watch: Watch, seconds: float) -> int:
    rows = [row for record in records for row in record["rows"]]
    failures = {name: reason for record in records for name, reason in record["failures"].items()}
    for name, reason in failures.items():
        watch.say(f"not explained: {reason if name in reason else f'{name}: {reason}'}")
    for row in rows[:20]:
        watch.say(f"{row['image']}: {answer_line(row)}")
    for record in records:
        watch.say(f"page: {out / record['page']}")
    watch.say(f"{len(rows)} explained in {duration(seconds)}; research use, not a diagnosis")
    if failures and not rows:
        raise BadInput(next(iter(failures.values())))
    return 1 if failures else 0


def answer_line(row: dict[str, Any]) -> str:
    """The answer of one row in one line."""
    if row["none_of_these"]:
        return "none of the lesions that this run knows"
    named = [
        candidate["name"] + ("" if candidate["probability"] is None else f" {candidate['probability']:.0%}")
        for candidate in row["candidates"][:3]
    ]
    return ", ".join(named)


def _check_wanted(job: Job, wanted: Sequence[str]) -> None:
    from flows.steps.prepare import open_real

    classes = open_real(job).classes
    for dx in wanted:
        if dx not in classes:
            raise BadInput(f"--as {dx}: no class of this run; choose from {', '.join(classes)}")


def _say_what_is_sent(job: Job, watch: Watch) -> None:
    """Nothing leaves this machine unless an endpoint is named; then it is said what does."""
    if job.settings.explain.diagnoser != "endpoint":
        return
    from evaluate.diagnosis.endpoint import EndpointDiagnoser
    from flows.steps.prepare import open_real

    watch.say(EndpointDiagnoser(job.settings.explain.endpoint, open_real(job).classes).what_is_sent())
