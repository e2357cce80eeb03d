"""evenderm phantom."""

from __future__ import annotations

from pathlib import Path
from typing import Annotated

import typer

from manifests.storage.base import on_disk


def command(
    out: Annotated[Path, typer.Option("--out", callback=on_disk, help="Folder to write; must be new or empty.")],
    pairs: Annotated[int, typer.Option("--pairs", min=12, help="Image-mask pairs in all.")] = 400,
    seed: Annotated[int, typer.Option("--seed", min=0)] = 0,
    size: Annotated[int, typer.Option("--size", min=64, max=1024, help="Side of the images in pixels.")] = 256,
) -> int:
    """Draw a made-up, long-tailed dataset in the ISIC 2017 layout, for trying things out."""
    from rich.console import Console

    from flows.watching import Watch
    from manifests.phantom.draw import write_phantom

    watch = Watch(None, Console())
    with watch.bars(), watch.task("phantom", "pairs") as progress:
        write_phantom(out, pairs, seed, size, progress)
    print(f"wrote {pairs} drawn pairs to {out}")
    return 0
