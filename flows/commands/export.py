"""evenderm export."""

from __future__ import annotations

from pathlib import Path
from typing import Annotated, Literal

import typer

from manifests.storage.base import on_disk


def command(
    manifest: Annotated[str, typer.Argument(metavar="MANIFEST", help="Manifest folder or URL (s3://...).")],
    to: Annotated[Literal["nnunet", "folders", "manifest"], typer.Option("--to", help="What to write.")],
    out: Annotated[str, typer.Option("--out", help="New folder; for --to manifest also a URL.")],
) -> int:
    """Write a manifest's accepted pairs for nnU-Net or as a folder per class, or copy all of it, to s3://... too."""
    from rich.console import Console

    from flows.watching import Watch
    from manifests.copying import copy_manifest
    from manifests.export import export_manifest
    from manifests.format.reading import open_manifest

    if to != "manifest":
        on_disk(Path(out))
    watch = Watch(None, Console())
    with watch.bars(), watch.task("export", "pairs") as progress:
        opened = open_manifest(manifest)
        if to == "manifest":
            pairs = copy_manifest(opened, out, progress).header["rows"]
        else:
            pairs = export_manifest(opened, to, Path(out), progress)
    print(f"wrote {pairs} pairs to {out}")
    return 0
