"""evenderm sources."""

from __future__ import annotations


def command() -> int:
    """List the dataset layouts that prepare recognises, with an example of each."""
    from manifests.sources import SOURCES

    for source in SOURCES.values():
        print(f"{source.name}: {source.description}\n")
        print("\n".join(f"    {line}" for line in source.example_tree.splitlines()) + "\n")
    return 0
