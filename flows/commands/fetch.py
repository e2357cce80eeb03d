"""evenderm fetch."""

from __future__ import annotations

from pathlib import Path
from typing import Annotated

import typer

from manifests.storage.base import on_disk


def command(
    name: Annotated[str, typer.Argument(metavar="DATASET", help="isic2017, isic2018 or ham10000.")],
    to: Annotated[
        Path, typer.Option("--to", callback=on_disk, help="Folder to download and unpack into; a cut download goes on.")
    ],
    accept_licence: Annotated[
        str | None, typer.Option("--accept-licence", help="The licence's own name, once you have read it.")
    ] = None,
    max_unpacked: Annotated[
        float, typer.Option("--max-unpacked", min=0.001, metavar="GIB", help="Most that one archive may unpack to.")
    ] = 64,
) -> int:
    """Download an official dataset; ask without --accept-licence to be told its licence."""
    from rich.console import Console

    from flows.watching import Watch
    from manifests.fetch.datasets import fetch

    watch = Watch(None, Console())
    with watch.bars(), watch.task(f"fetch {name}", "bytes") as progress:
        summary = fetch(name, to, accept_licence, progress, most_unpacked=int(max_unpacked * 2**30))
    for file in summary.downloaded:
        checked = f"checked against {file.checked_against}" if file.checked_against else "unchecked"
        print(f"{file.name}: {file.size:,} bytes, sha256 {file.sha256}, {checked}")
    print(f"{summary.dataset} lies in {summary.folder}")
    return 0
