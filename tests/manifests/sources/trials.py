"""Datasets as people have them, each with what must come of it: the product's command is run and every word checked.

A folder holds `data/` and `expected.json`; the words of `expect` are explained beside the folders.
"""

from __future__ import annotations

import json
import os
import re
import shlex
import shutil
import subprocess
import sys
from collections import Counter, defaultdict
from collections.abc import Iterator, Mapping, Sequence
from dataclasses import dataclass
from fnmatch import fnmatch
from pathlib import Path
from typing import Any

from manifests.format.decoding import decode_pair
from manifests.format.reading import open_manifest

ROOT = Path(__file__).parents[3]
FOLDER = ROOT.parent / "shared" / "trials"
SUGGESTED = re.compile(r"prepare\.[a-z_.]+=(?:'[^']*'|\"[^\"]*\"|[^\s,;)]+)")


@dataclass(frozen=True)
class Ended:
    """What a command said, and the run folder that it left."""

    code: int
    said: str
    errors: str
    out: Path


def problems(trial: Path, work: Path) -> list[str]:
    """What is otherwise than `trial` expects, one sentence each."""
    expected = json.loads((trial / "expected.json").read_text(encoding="utf-8"))
    data, out = work / "data", work / "out"
    shutil.copytree(trial / "data", data)
    data.chmod(0o755)
    for command in expected.get("before", ()):
        ended = run(command, data, out)
        if ended.code:
            return [f"{command} ended with {ended.code}: {ended.errors}"]
    return list(_judged(expected["expect"], expected["command"], data, out))


def run(command: str, data: Path, out: Path, more: Sequence[str] = ()) -> Ended:
    """Runs `evenderm` with a command in which {data} and {out} are filled in."""
    words = [word.replace("{data}", str(data)).replace("{out}", str(out)) for word in shlex.split(command)]
    environment = os.environ | {"PYTHONPATH": str(ROOT), "OMP_NUM_THREADS": "1"}
    line = [sys.executable, "-m", "flows.command_line", *words, *more]
    done = subprocess.run(line, capture_output=True, text=True, env=environment, cwd=ROOT)
    return Ended(done.returncode, done.stdout + done.stderr, done.stderr, out)


def _judged(expect: Mapping[str, Any], command: str, data: Path, out: Path) -> Iterator[str]:
    ended = run(command, data, out)
    if "Traceback" in ended.said:
        yield f"there is a traceback: {ended.said[-2000:]}"
        return
    common = {word: value for word, value in expect.items() if word != "any"}
    readings = [{**common, **reading} for reading in expect.get("any", [{}])]
    found = [list(_reading(reading, command, ended, data)) for reading in readings]
    if all(found):
        yield from min(found, key=len)
        yield f"said: {ended.said}"


def _reading(expect: Mapping[str, Any], command: str, ended: Ended, data: Path) -> Iterator[str]:
    if ended.code != expect["exit"]:
        yield f"ended with {ended.code} and not {expect['exit']}"
        return
    yield from _words(expect, ended)
    if ended.code:
        yield from _refusal(expect, command, ended, data)
    else:
        yield from _manifest(expect, ended.out)


def _words(expect: Mapping[str, Any], ended: Ended) -> Iterator[str]:
    page = ended.out / "real/summary.md"
    noted = ended.said + (page.read_text(encoding="utf-8") if page.exists() else "")
    yield from (f"does not say {word!r}" for word in expect.get("says", ()) if not re.search(word, ended.said))
    yield from (f"says {word!r}" for word in expect.get("says_not", ()) if re.search(word, ended.said))
    yield from (f"does not note {word!r}" for word in expect.get("noted", ()) if not re.search(word, noted))


def _refusal(expect: Mapping[str, Any], command: str, ended: Ended, data: Path) -> Iterator[str]:
    lines = ended.errors.strip().splitlines()
    if len(lines) != 1 or not lines[0].startswith("evenderm: "):
        yield f"the error is not one line: {ended.errors!r}"
    if (ended.out / "real/manifest.json").exists():
        yield "a manifest is left"
    if "then" in expect:
        advice = [word for name in SUGGESTED.findall(ended.errors) for word in ("--set", name.strip())]
        shutil.rmtree(ended.out, ignore_errors=True)
        again = run(command, data, ended.out, [word.replace("'", "") for word in advice])
        yield from (f"with {advice}: {fault}" for fault in _reading(_after(expect), command, again, data))


def _after(expect: Mapping[str, Any]) -> dict[str, Any]:
    """What must come of following the advice: `then`, and what holds of every reading."""
    return {word: value for word, value in expect.items() if word not in ("says", "then")} | dict(expect["then"])


def _manifest(expect: Mapping[str, Any], out: Path) -> Iterator[str]:
    manifest = open_manifest(out / "real")
    rows = manifest.table().to_pylist()
    splits: dict[str, set[str]] = defaultdict(set)
    for row in rows:
        splits[row["group_id"]].add(row["split"])
    yield from (f"group {group} is in {sorted(told)}" for group, told in splits.items() if len(told) > 1)
    if len({row["pair_id"] for row in rows}) != len(rows):
        yield "an id stands twice"
    yield from _classes(expect.get("classes"), rows)
    yield from _groups(expect, rows)
    yield from _splits(expect, rows)
    yield from _rows(expect.get("rows"), rows)
    yield from _masks(expect, rows)
    yield from _values(expect, rows, manifest.header["provenance"].get("task"))
    for pattern, count in expect.get("files", {}).items():
        if not _within(len(list(out.glob(pattern))), count):
            yield f"{pattern}: {sorted(path.name for path in out.glob(pattern))} and not {count}"


def _within(count: int, wanted: Any) -> bool:
    least, most = wanted if isinstance(wanted, list) else (wanted, wanted)
    return bool(least <= count <= most)


def _plain(name: str) -> str:
    return re.sub(r"[^\w*]", "", name.casefold())


def _classes(expected: Mapping[str, Any] | None, rows: Sequence[Mapping[str, Any]]) -> Iterator[str]:
    if expected is None:
        return
    left = Counter(str(row["dx"]) for row in rows)
    shown = dict(left)
    for names, wanted in expected.items():
        mine = [dx for dx in left if any(fnmatch(_plain(dx), _plain(name)) for name in names.split("|"))]
        if not _within(sum(left.pop(dx) for dx in mine), wanted):
            yield f"class {names}: not {wanted} in {shown}"
    if left:
        yield f"classes {dict(left)} are not expected"


def _groups(expect: Mapping[str, Any], rows: Sequence[Mapping[str, Any]]) -> Iterator[str]:
    groups = {row["group_id"] for row in rows}
    if expect.get("groups") is not None and not _within(len(groups), expect["groups"]):
        yield f"{len(groups)} groups and not {expect['groups']}"
    named = [{row["group_id"] for row in rows if _is_any(row, ids)} for ids in expect.get("together", ())]
    if any(len(groups) > 1 for groups in named) or len(set.union(set(), *named)) < sum(map(bool, named)):
        yield f"not together: {named}"


def _is_any(row: Mapping[str, Any], ids: Sequence[str]) -> bool:
    return any(name in row["pair_id"] for name in ids)


def _splits(expect: Mapping[str, Any], rows: Sequence[Mapping[str, Any]]) -> Iterator[str]:
    counts = Counter(row["split"] for row in rows)
    for names, wanted in (expect.get("splits") or {}).items():
        if not _within(sum(counts[name] for name in names.split("+")), wanted):
            yield f"splits {dict(counts)} and not {names} {wanted}"
    for names, ids in (expect.get("official") or {}).items():
        wrong = [row["pair_id"] for row in rows if _is_any(row, ids) and row["split"] not in names.split("+")]
        if wrong:
            yield f"not in {names}: {wrong}"


def _rows(expected: Mapping[str, Any] | None, rows: Sequence[Mapping[str, Any]]) -> Iterator[str]:
    if expected is None:
        return
    for name in expected["must"]:
        if (count := sum(_is_any(row, [name]) for row in rows)) != 1:
            yield f"{name} is there {count} times"
    known = [*expected["must"], *expected.get("may", ())]
    yield from (f"{row['pair_id']} is not expected" for row in rows if not _is_any(row, known))


def _masks(expect: Mapping[str, Any], rows: Sequence[Mapping[str, Any]]) -> Iterator[str]:
    given = [row for row in rows if row["mask"] is not None and row.get("mask_origin", "given") == "given"]
    for word, count in (("given", len(given)), ("missing", len(rows) - len(given))):
        if word in expect.get("masks", {}) and not _within(count, expect["masks"][word]):
            yield f"{count} masks {word} and not {expect['masks'][word]}"
    for name, (least, most) in expect.get("mask_area", {}).items():
        for row in (row for row in given if _is_any(row, [name])):
            _, mask = decode_pair(row["image"]["bytes"], row["mask"]["bytes"], None, name)
            if not least <= mask.mean() <= most:
                yield f"the mask of {name} marks {mask.mean():.3f} and not {least} to {most}"


def _values(expect: Mapping[str, Any], rows: Sequence[Mapping[str, Any]], task: str | None) -> Iterator[str]:
    for column, wanted in expect.get("attributes", {}).items():
        for value, count in wanted.items():
            if not _within(found := sum(row[column] == value for row in rows), count):
                yield f"{found} rows have {column} {value} and not {count}"
    for column, forbidden in expect.get("attributes_not", {}).items():
        yield from (f"a row has {column} {row[column]}" for row in rows if row[column] in forbidden)
    if "task" in expect and task not in expect["task"]:
        yield f"the task is {task} and not {expect['task']}"
    if "licence" in expect:
        yield from (f"licence {row['licence']}" for row in rows if not re.search(expect["licence"], row["licence"]))
