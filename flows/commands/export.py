"""evenderm export."""

from __future__ import annotations

from pathlib import Path
from typing import Annotated, Literal

import typer


def command(
    manifest: Annotated[str, typer.Argument(metavar="MANIFEST", help="Manifest folder or URL (s3://...).")],
    to: Annotated[Literal["nnunet", "folders"], typer.Option("--to", help="Layout to write.")],
    out: Annotated[Path, typer.Option("--out", help="New folder.")],
) -> int:
    """Write a manifest's accepted pairs in another layout: nnU-Net's, or a folder per class."""
    from rich.console import Console

    from flows.watching import Watch
    from manifests.export import export_manifest
    from manifests.reading import open_manifest

    watch = Watch(None, Console())
    with watch.bars(), watch.task("export", "pairs") as progress:
        pairs = export_manifest(open_manifest(manifest), to, out, progress)
    print(f"wrote {pairs} pairs to {out}")
    return 0
