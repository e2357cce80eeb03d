"""evenderm verify."""

from __future__ import annotations

from typing import Annotated

import typer


def command(
    manifest: Annotated[str, typer.Argument(metavar="MANIFEST", help="Manifest folder or URL (s3://...).")],
) -> int:
    """Hash and check everything in a manifest again, and name each bad row."""
    from rich.console import Console

    from flows.watching import Watch
    from manifests.errors import BadInput
    from manifests.format.verify import verify_manifest

    watch = Watch(None, Console())
    with watch.bars(), watch.task("verify", "pairs") as progress:
        report = verify_manifest(manifest, progress)
    for bad in report.bad:
        print(bad)
    if not report.ok:
        faults = "1 fault" if len(report.bad) == 1 else f"{len(report.bad)} faults"
        raise BadInput(f"{manifest}: {faults}; restore it from its original or make it again")
    print(f"{manifest}: {report.rows} pairs in {report.shards} shards, all as they should be")
    return 0
