"""Running the whole job on a small drawn dataset, and telling whether two runs made the same."""

from __future__ import annotations

import json
import os
import subprocess
import sys
from pathlib import Path
from typing import Any

from tests.forked import ForkedCommand

# What says when and where a result was made rather than what was found.
ASIDE = ("timings", "environment")


def command(data: Path, out: Path, *overrides: str) -> list[str]:
    """The command line of a tiny run."""
    words = ["run", "--data", str(data), "--out", str(out), "--preset", "tiny"]
    for override in overrides:
        words += ["--set", override]
    return [sys.executable, "-m", "flows.command_line", *words]


def _environment() -> dict[str, str]:
    """That of the tests, away from any Prefect server of theirs."""
    kept = {name: value for name, value in os.environ.items() if not name.startswith("PREFECT_")}
    return kept | {"COLUMNS": "200"}


def start(words: list[str], **more: str) -> ForkedCommand:
    """Starts what `command` gives, with its output kept together; `more`: variables of its environment."""
    _, _, module, *rest = words
    return ForkedCommand(module, rest, _environment() | more)


def finish(words: list[str], **more: str) -> str:
    """Runs a command to its good end and gives its output."""
    process = start(words, **more)
    output, _ = process.communicate(timeout=1200)
    assert process.returncode == 0, output
    return output


def finish_from_nothing(words: list[str]) -> tuple[str, set[str]]:
    """The same in a new interpreter; also gives the modules that it imported."""
    python, *rest = words
    traced = [python, "-X", "importtime", *rest]
    done = subprocess.run(traced, stdout=subprocess.PIPE, stderr=subprocess.STDOUT, text=True, env=_environment())
    assert done.returncode == 0, done.stdout
    lines = [line for line in done.stdout.splitlines() if line.startswith("import time:")]
    return done.stdout, {line.rpartition("|")[2].strip() for line in lines}


def tasks(out: Path) -> int:
    """How many tasks were begun in a run folder so far."""
    from flows.run.log import read_events

    return sum(event["event"] == "started" for event in read_events(out / "log.jsonl"))


def made(out: Path) -> dict[str, Any]:
    """What a run made, by name: digests of manifests and adapters, and the results without times and machine."""
    from flows.run.records import file_digest

    files = [*out.glob("*/manifest.json"), *out.glob("adapters/*.safetensors"), *out.glob("*/data/*/*.parquet")]
    digests: dict[str, Any] = {path.relative_to(out).as_posix(): file_digest(path) for path in sorted(files)}
    results = json.loads((out / "results.json").read_text())
    return digests | {name: value for name, value in results.items() if name not in ASIDE}
