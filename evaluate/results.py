"""results.json: its schema, and reading and writing it so that nothing malformed passes silently."""

from __future__ import annotations

import json
import math
from collections.abc import Iterator
from functools import cache
from pathlib import Path
from typing import Any

from manifests.errors import BadInput, EvendermError
from manifests.files import write_json

SCHEMA_VERSION = 3
READABLE = (1, 2, SCHEMA_VERSION)
SCHEMA_PATH = Path(__file__).with_name("results_schema.json")
ABLATION = "ablation_"
"""What the names of ablation tables begin with; a file may hold them alone, without a benchmark beside them."""
Results = dict[str, Any]


@cache
def results_schema() -> dict[str, Any]:
    """The JSON schema (draft 2020-12) of results.json."""
    return json.loads(SCHEMA_PATH.read_text())


def validate_results(results: Results, where: str | Path = "results.json") -> None:
    """Raise BadInput with the place and the fix if `results` has another version, a NaN or a wrong shape."""
    version = results.get("schema_version") if isinstance(results, dict) else None
    if version not in READABLE:
        raise BadInput(
            f"{where} has schema version {version!r} but this program reads {READABLE[0]} to {READABLE[-1]}; "
            "make it again with `evenderm benchmark`"
        )
    not_finite = next(non_finite(results), None)
    if not_finite:
        raise BadInput(f"{where} holds a value at {not_finite} that is not a finite number; make it again")
    if all(name.startswith(ABLATION) for name in results if name != "schema_version"):
        return
    from jsonschema import Draft202012Validator

    error = next(iter(Draft202012Validator(results_schema()).iter_errors(results)), None)
    if error is not None:
        raise BadInput(f"{where} is not a results file: at {error.json_path}, {error.message[:200]}")


def non_finite(value: Any, path: str = "$") -> Iterator[str]:
    """The JSON paths under `value` that hold NaN or an infinity."""
    if isinstance(value, dict):
        for key, inner in value.items():
            yield from non_finite(inner, f"{path}.{key}")
    elif isinstance(value, (list, tuple)):
        for index, inner in enumerate(value):
            yield from non_finite(inner, f"{path}[{index}]")
    elif isinstance(value, float) and not math.isfinite(value):
        yield path


def read_results(path: Path) -> Results:
    """The validated content of a results file; BadInput where it is missing, damaged or another version's."""
    try:
        results = json.loads(Path(path).read_text(encoding="utf-8"))
    except OSError as error:
        raise BadInput(f"{path} cannot be read ({error.strerror}); name a results.json of a finished run") from error
    except ValueError as error:
        raise BadInput(f"{path} is not JSON ({error}); name a results.json of a finished run") from error
    validate_results(results, path)
    return results


def write_results(path: Path, results: Results) -> None:
    """Validate, then replace `path` in one step; EvendermError if the program made a malformed result."""
    try:
        validate_results(results, path)
    except BadInput as error:
        raise EvendermError(str(error)) from error
    write_json(path, results)


def tables_of(results: Path) -> dict[str, Any]:
    """The ablation tables in a results.json, by name; none where no such file can be read."""
    try:
        return {name: rows for name, rows in known_results(results).items() if name.startswith(ABLATION)}
    except BadInput:
        return {}


def known_results(path: Path) -> dict[str, Any]:
    """The results that are there already: a run's, or those of earlier ablations; BadInput if they are neither."""
    return read_results(path) if path.exists() else {"schema_version": SCHEMA_VERSION}
