"""evenderm explain."""

from __future__ import annotations

from pathlib import Path
from typing import Annotated

import typer

from flows.commands.options import Overrides
from manifests.storage.base import on_disk


def command(
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
    from flows.explain_run import explain_images, serve_page
    from flows.explaining import with_diagnoser
    from flows.run_folder import open_job

    job = open_job(run, with_diagnoser(overrides or (), diagnoser))
    if serve:
        return serve_page(job, port)
    target = (out or job.folder.path / "explain").expanduser().resolve()
    return explain_images(job, images or (), target, mask, wanted or (), split, limit, flow)
