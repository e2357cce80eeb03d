"""Commands by what they are about, each a function of its own name; they load what they need when called."""

from __future__ import annotations

# In the order in which `evenderm --help` lists them.
COMMANDS = {
    "run": "steps",
    "prepare": "steps",
    "adapt": "steps",
    "synthesise": "steps",
    "benchmark": "steps",
    "explain": "explain",
    "view": "viewing",
    "review": "viewing",
    "strategies": "studies",
    "quality": "studies",
    "ablate": "studies",
    "status": "runs",
    "compare": "runs",
    "doctor": "runs",
    "phantom": "data",
    "sources": "data",
    "fetch": "data",
    "verify": "data",
    "export": "data",
    "pretrain": "studies",
}
