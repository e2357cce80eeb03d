"""One module per command, each with a function `command`; they load what they need when they are called."""

from __future__ import annotations

# In the order in which `evenderm --help` lists them.
COMMANDS = (
    "run",
    "prepare",
    "adapt",
    "synthesise",
    "benchmark",
    "explain",
    "strategies",
    "quality",
    "ablate",
    "status",
    "compare",
    "phantom",
    "sources",
    "fetch",
    "verify",
    "export",
    "pretrain",
)
