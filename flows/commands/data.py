"""Commands about datasets and manifests."""

from __future__ import annotations

from pathlib import Path
from typing import Annotated, Literal

import typer

from manifests.storage.base import on_disk


def phantom(
    out: Annotated[Path, typer.Option("--out", callback=on_disk, help="Folder to write; must be new or empty.")],
    pairs: Annotated[int, typer.Option("--pairs", min=12, help="Image-mask pairs in all.")] = 400,
    seed: Annotated[int, typer.Option("--seed", min=0)] = 0,
    size: Annotated[int, typer.Option("--size", min=64, max=1024, help="Side of the images in pixels.")] = 256,
) -> int:
    """Draw a made-up, long-tailed dataset in the ISIC 2017 layout, for trying things out."""
    from rich.console import Console

    from flows.engine.watch import Watch
    from manifests.phantom.draw import write_phantom

    watch = Watch(None, Console())
    with watch.bars(), watch.task("phantom", "pairs") as progress:
        write_phantom(out, pairs, seed, size, progress)
    print(f"wrote {pairs} drawn pairs to {out}")
    return 0


def sources() -> int:
    """List the dataset layouts that prepare recognises, with an example of each."""
    from manifests.sources.recognition import SOURCES

    for source in SOURCES.values():
        print(f"{source.name}: {source.description}\n")
        print("\n".join(f"    {line}" for line in source.example_tree.splitlines()) + "\n")
    return 0


def fetch(
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

    from flows.engine.watch import Watch
    from manifests.fetch.datasets import fetch

    watch = Watch(None, Console())
    with watch.bars(), watch.task(f"fetch {name}", "bytes") as progress:
        summary = fetch(name, to, accept_licence, progress, most_unpacked=int(max_unpacked * 2**30))
    for file in summary.downloaded:
        checked = f"checked against {file.checked_against}" if file.checked_against else "unchecked"
        print(f"{file.name}: {file.size:,} bytes, sha256 {file.sha256}, {checked}")
    print(f"{summary.dataset} lies in {summary.folder}")
    return 0


def verify(
    manifest: Annotated[str, typer.Argument(metavar="MANIFEST", help="Manifest folder or URL (s3://...).")],
) -> int:
    """Hash and check everything in a manifest again, and name each bad row."""
    from rich.console import Console

    from flows.engine.watch import Watch
    from manifests.errors import BadInput, printable
    from manifests.format.verify import verify_manifest

    watch = Watch(None, Console())
    with watch.bars(), watch.task("verify", "pairs") as progress:
        report = verify_manifest(manifest, progress)
    for bad in report.bad:
        print(printable(str(bad)))
    if not report.ok:
        faults = "1 fault" if len(report.bad) == 1 else f"{len(report.bad)} faults"
        raise BadInput(f"{manifest}: {faults}; restore it from its original or make it again")
    print(f"{manifest}: {report.rows} pairs in {report.shards} shards, all as they should be")
    return 0


def export(
    manifest: Annotated[str, typer.Argument(metavar="MANIFEST", help="Manifest folder or URL (s3://...).")],
    to: Annotated[Literal["nnunet", "folders", "hub", "manifest"], typer.Option("--to", help="What to write.")],
    out: Annotated[str, typer.Option("--out", help="New folder; for --to manifest also a URL.")],
    push: Annotated[
        str | None, typer.Option("--push", metavar="OWNER/NAME", help="With --to hub: upload it there, private.")
    ] = None,
) -> int:
    """Write a manifest's accepted pairs for nnU-Net, by class or for the hub; or copy all of it, to s3://... too."""
    from rich.console import Console

    from flows.engine.watch import Watch
    from manifests.copying import copy_manifest
    from manifests.errors import BadInput
    from manifests.export import export_manifest
    from manifests.format.reading import open_manifest
    from manifests.hub import check_token, push_repository

    if to != "manifest":
        on_disk(Path(out))
    if push is not None:
        if to != "hub":
            raise BadInput("--push uploads what --to hub writes; give --to hub")
        check_token()
    watch = Watch(None, Console())
    with watch.bars(), watch.task("export", "pairs") as progress:
        opened = open_manifest(manifest)
        if to == "manifest":
            pairs = copy_manifest(opened, out, progress).header["rows"]
        else:
            pairs = export_manifest(opened, to, Path(out), progress)
    print(f"wrote {pairs} pairs to {out}")
    if push is not None:
        print(f"uploaded to {push_repository(Path(out), push)}, for you alone until you open it there")
    return 0
