"""The command line, which tells at its end what the process has imported."""

from __future__ import annotations

import sys

MARK = "imported: "


def main() -> None:
    """Runs the command line and prints the names of all modules in one line after `MARK`."""
    from flows.command_line import main as run

    try:
        run()
    finally:
        print(MARK, *sorted(sys.modules))
