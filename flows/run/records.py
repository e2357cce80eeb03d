"""Which steps of a run are finished: a record of each, with the digest of what it was made from."""

from __future__ import annotations

import hashlib
import json
import os
import shutil
import time
from collections.abc import Callable, Iterator, Mapping, Sequence
from dataclasses import asdict, dataclass
from functools import lru_cache
from pathlib import Path
from typing import Any

from flows.run.folder import RunFolder
from manifests.files import write_json
from manifests.format.schema import HEADER_NAME

Values = Mapping[str, Any]
CHANGED = "was changed"
CELLS = "cells"
"""Among a record's figures: sha256 by name of what may be deleted later, and must not be changed."""


@dataclass(frozen=True)
class Step:
    """One step as it would run now.

    `version` is raised when the step's code changes what it writes; `settings` are those that it reads, flat;
    `inputs` are digests by name.
    """

    name: str
    version: int
    settings: Values
    inputs: Mapping[str, str]

    @property
    def digest(self) -> str:
        """sha256 over everything that decides the step's outputs."""
        return values_digest(self.name, self.version, dict(self.settings), dict(self.inputs))


@dataclass(frozen=True)
class Record:
    """What was noted when a step finished."""

    step: str
    version: int
    settings: Values
    inputs: Mapping[str, str]
    outputs: Mapping[str, str]
    seconds: float
    finished_at: float
    figures: Values


def record_path(folder: RunFolder, name: str) -> Path:
    """Where the record of step `name` lies."""
    return folder.records / f"{name.replace(':', '-')}.json"


def read_record(folder: RunFolder, name: str) -> Record | None:
    """The record of step `name`; None if there is none that can be read."""
    try:
        return Record(**json.loads(record_path(folder, name).read_text(encoding="utf-8")))
    except (OSError, ValueError, TypeError):
        return None


def write_record(folder: RunFolder, step: Step, outputs: Sequence[Path], figures: Values, seconds: float) -> None:
    """Notes that `step` is finished, once its `outputs` are in place; they must stay as they are."""
    digests = {path.relative_to(folder.path).as_posix(): file_digest(path) for path in outputs}
    folder.records.mkdir(parents=True, exist_ok=True)
    document = {
        "step": step.name,
        "version": step.version,
        "settings": dict(step.settings),
        "inputs": dict(step.inputs),
        "outputs": digests,
        "seconds": round(seconds, 3),
        "finished_at": round(time.time(), 3),
        "figures": dict(figures),
    }
    write_json(record_path(folder, step.name), document)


def amend_outputs(folder: RunFolder, name: str, amend: Callable[[], None]) -> None:
    """Lets `amend` change outputs of the finished step `name` on purpose and notes their new digests.

    Outputs that somebody else changed before stay known as changed.
    """
    record = read_record(folder, name)
    intact = record is not None and not any(touched(folder, record))
    amend()
    if record is not None and intact:
        outputs = {name: file_digest(folder.path / name) for name in record.outputs}
        write_json(record_path(folder, name), {**asdict(record), "outputs": outputs})


def reason_to_run(folder: RunFolder, step: Step) -> str | None:
    """Why `step` must run, in a few words; None if its outputs are those it would make."""
    record = read_record(folder, step.name)
    if record is None:
        return "not finished yet"
    if record.version != step.version:
        return f"its code changed (version {record.version} to {step.version})"
    # Through JSON, because the record's tuples became lists there.
    now = json.loads(json.dumps(dict(step.settings)))
    changes = _changes(record.settings, now)
    if changes:
        return "settings changed: " + ", ".join(changes)
    changed = [name for name in step.inputs if record.inputs.get(name) != step.inputs[name]]
    changed += [name for name in record.inputs if name not in step.inputs]
    if changed:
        return "inputs changed: " + ", ".join(changed)
    return next((f"{name} {what}" for name, what in touched(folder, record)), None)


def unfinished_steps(folder: RunFolder, steps: Sequence[Step]) -> list[Step]:
    """Those of `steps` whose outputs are not what they would make now."""
    return [step for step in steps if reason_to_run(folder, step)]


def touched(folder: RunFolder, record: Record, every: bool = False) -> Iterator[tuple[str, str]]:
    """(name, what happened to it) of each file that is no longer as the step left it.

    Shards and the cells of a benchmark, which may be many gigabytes, are read where a later time says that they were
    touched, or a shard's size that it was; `every` reads them all. Cells may be deleted once a run is done.
    """
    for name, digest in record.outputs.items():
        path = folder.path / name
        if not path.is_file():
            yield name, "is missing"
        elif file_digest(path) != digest:
            yield name, CHANGED
        elif path.name == HEADER_NAME:
            for entry in json.loads(path.read_bytes())["shards"]:
                shard = path.parent / entry["name"]
                shown = shard.relative_to(folder.path).as_posix()
                if not shard.is_file():
                    yield shown, "is missing"
                elif shard.stat().st_size != entry["bytes"] or _is_changed(shard, entry["sha256"], record, every):
                    yield shown, CHANGED
    for name, digest in record.figures.get(CELLS, {}).items():
        if (folder.path / name).is_file() and _is_changed(folder.path / name, digest, record, every):
            yield name, CHANGED


def remove_touched(folder: RunFolder, steps: Sequence[str], every: bool = False) -> list[str]:
    """Removes what somebody changed of the finished `steps`, so that it and nothing else is made again; what it was.

    Small outputs are left to their step, which replaces them.
    """
    found = []
    for path in sorted(folder.records.glob("*.json")):
        record = read_record(folder, path.stem)
        if record is None or record.step.partition(":")[0] not in steps:
            continue
        changed = [name for name, what in touched(folder, record, every) if what == CHANGED]
        found += [f"{name} {CHANGED} since {record.step} made it" for name in changed]
        for name in changed:
            _remove(folder, name, record)
        if changed:
            path.unlink()
    return found


def _remove(folder: RunFolder, name: str, record: Record) -> None:
    """Removes a changed file with what is of no use without it, unless its step replaces it anyway."""
    cell, _, model = name.partition("/models/")
    if (folder.path / name).is_relative_to(folder.judge):
        shutil.rmtree(folder.judge, ignore_errors=True)  # it may have gone with another file
    elif name not in record.outputs or name.endswith(".safetensors"):
        (folder.path / name).unlink(missing_ok=True)
    if model:
        Path(folder.path, cell, f"{model.partition('/')[0]}.json").unlink(missing_ok=True)


def _is_changed(path: Path, digest: str, record: Record, every: bool) -> bool:
    status = path.stat()
    later = status.st_mtime > record.finished_at
    return (every or later) and _read_digest(path, status.st_size, status.st_mtime_ns) != digest


@lru_cache(maxsize=1 << 14)
def _read_digest(path: Path, size: int, time: int) -> str:
    """sha256 of a file's bytes, read once for each size and time."""
    return file_digest(path)


def noted(note: Path, key: Sequence[Any], look: Callable[[], Values]) -> Values:
    """What `look` finds, which takes long: it is kept in the file `note`, and looked for again for another `key`."""
    try:
        found: Values = json.loads(note.read_text(encoding="utf-8"))
        if found["key"] == key:
            return found
    except (OSError, ValueError, KeyError, TypeError):
        pass
    found = {"key": key, **look()}
    note.parent.mkdir(parents=True, exist_ok=True)
    write_json(note, found)
    return found


def values_digest(*values: Any) -> str:
    """sha256 of JSON values."""
    return hashlib.sha256(json.dumps(values, sort_keys=True).encode()).hexdigest()


def file_digest(path: Path) -> str:
    """sha256 of a file's bytes."""
    with path.open("rb") as stream:
        return hashlib.file_digest(stream, "sha256").hexdigest()


def listing_digest(path: Path, named: Sequence[str] = ()) -> str:
    """sha256 over the names, sizes and times of a file or of all files in a folder, and of those `named` elsewhere.

    Reading a dataset only to see whether it changed would cost as much as preparing it.
    """
    files = [path] if path.is_file() else sorted(file for file in path.rglob("*") if file.is_file())
    sums = hashlib.sha256()
    for file in files:
        name = file.relative_to(path).as_posix() if file != path else file.name
        # A name need not be text: what is not UTF-8 counts by its bytes.
        sums.update(os.fsencode(name) + _size_and_time(file))
    for place in named:
        sums.update(os.fsencode(place) + _size_and_time(Path(place)))
    return sums.hexdigest()


def _size_and_time(path: Path) -> bytes:
    try:
        status = path.stat()
    except (OSError, ValueError):  # a table may name what can be no path
        return b"\0missing\n"
    return f"\0{status.st_size}\0{status.st_mtime_ns}\n".encode()


def _changes(before: Values, after: Values, limit: int = 3) -> Sequence[str]:
    """'name old to new' for up to `limit` settings that differ."""
    names = sorted({*before, *after})
    changes = [
        f"{name} {json.dumps(before.get(name))} to {json.dumps(after.get(name))}"
        for name in names
        if before.get(name) != after.get(name)
    ]
    return changes[:limit] + ([f"and {len(changes) - limit} more"] if len(changes) > limit else [])
