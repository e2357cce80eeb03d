"""The command line with storage that goes wrong: `python -m tests.faults.broken_storage KIND AFTER TIMES COMMAND...`.

What a fault campaign runs to see that a run survives a storage fault that passes and ends cleanly on one that stays.
"""

from __future__ import annotations

import errno
import itertools
import sys
from typing import Any

from manifests.files import TEMPORARY
from manifests.storage.base import explained
from manifests.storage.local import LocalStorage

# Printed when the fault comes, for whoever started this.
MARK = "storage fault:"
STORAGE_FAULTS = ("refused write", "cut write", "refused read")


def break_storage(kind: str, after: int, times: int) -> None:
    """From now on the operations `after` to `after + times` of this process fail as `kind` says."""
    name = "read" if kind == "refused read" else "write"
    works = getattr(LocalStorage, name)
    calls = itertools.count()

    def faulty(storage: LocalStorage, file: str, *arguments: Any, **named: Any) -> Any:
        if not after <= next(calls) < after + times:
            return works(storage, file, *arguments, **named)
        print(f"{MARK} {kind} of {file}", file=sys.stderr, flush=True)
        with explained(storage.shown(file), name):
            if kind == "cut write":
                _leave_half(storage, file, arguments[0])
            raise OSError(errno.EREMOTEIO, "503 Slow Down")

    setattr(LocalStorage, name, faulty)


def _leave_half(storage: LocalStorage, file: str, content: bytes) -> None:
    """What an upload leaves that was cut off: half a file under a temporary name."""
    target = storage.root / file
    target.parent.mkdir(parents=True, exist_ok=True)
    target.with_name(f"{TEMPORARY}{target.name}-cut").write_bytes(content[: len(content) // 2])


def main() -> None:
    """Breaks the storage as the first three arguments say and runs the command that follows them."""
    from flows.command_line import main as run

    kind, after, times, *command = sys.argv[1:]
    break_storage(kind, int(after), int(times))
    run(command)


if __name__ == "__main__":
    main()
