"""A small run of drawn pairs, and a command of the product that serves a page of it."""

from __future__ import annotations

import os
import re
import subprocess
import sys
from collections.abc import Iterator
from contextlib import contextmanager
from dataclasses import dataclass
from pathlib import Path

from flows.run.folder import RunFolder, new_job, save_job
from flows.settings import load_settings
from tests.evaluate.report.report_fixture import write_run


def made_run(folder: Path, phantom: Path, overrides: tuple[str, ...] = ()) -> Path:
    """A finished run folder of drawn pairs, of which nothing was trained."""
    save_job(new_job(phantom, folder, "tiny", load_settings("tiny", None, list(overrides))))
    settings = RunFolder(folder).settings.read_bytes()
    write_run(folder, audited=True)
    RunFolder(folder).settings.write_bytes(settings)
    return folder


@dataclass
class Served:
    """A running server of one page."""

    process: subprocess.Popen[str]
    address: str
    said: list[str]


@contextmanager
def served(*arguments: str) -> Iterator[Served]:
    """`evenderm ARGUMENTS --port 0` on a free port, ended with the block."""
    process = subprocess.Popen(
        [sys.executable, "-m", "flows.command_line", *arguments, "--port", "0"],
        stdout=subprocess.PIPE,
        text=True,
        env={**os.environ, "PYTHONUNBUFFERED": "1"},
    )
    try:
        assert process.stdout is not None
        said: list[str] = []
        while not (found := re.search(r"http://127\.0\.0\.1:\d+", said[-1] if said else "")):
            said.append(process.stdout.readline())
            assert said[-1], f"the server did not say where it listens: {said}"
        yield Served(process, found[0], said)
    finally:
        process.terminate()
        process.wait(30)
