"""What the form of a deployment asks for: each parameter with its words, and what is refused before a run is made."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from typing import Annotated, Any

from pydantic import WithJsonSchema

from flows.settings import Settings, preset_names


def _text(words: str, **rules: Any) -> WithJsonSchema:
    return WithJsonSchema({"type": "string", "description": words, **rules})


def _texts(words: str, each: Mapping[str, Any], **rules: Any) -> WithJsonSchema:
    return WithJsonSchema({"type": "array", "items": {"type": "string", **each}, "description": words, **rules})


# The server knows no files; what it can tell before a run is made is that a path names a place on the worker's disk.
_PATH = {"pattern": r"^[/~](?!.*://)", "minLength": 2}

DataPath = Annotated[
    str, _text("Dataset as downloaded: the full path of a folder, or of a CSV or Parquet file, on the worker.", **_PATH)
]
OutPath = Annotated[str, _text("Full path of the run folder on the worker; an unfinished run in it goes on.", **_PATH)]
RunPath = Annotated[str, _text("Full path of the folder of a run that has got so far, on the worker.", **_PATH)]
PagesPath = Annotated[str, _text("Full path of the folder for the pages, on the worker.", **_PATH)]
Preset = Annotated[str, _text("What the settings start from.", enum=preset_names())]
Split = Annotated[str, _text("Of a manifest: which split is explained.", enum=["train", "validation", "test"])]
_PLACE = {"pattern": r"^([/~]|[a-z0-9]+://)", "minLength": 2}
Places = Annotated[
    Sequence[str], _texts("Images, folders of images, or manifests: full paths on the worker.", _PLACE, minItems=1)
]
_OVERRIDE = {"pattern": r"^[a-z_][a-z0-9_.]*\s*=", "minLength": 3}
Overrides = Annotated[
    Sequence[str], _texts("Settings that differ, each as name=value, for example adapt.steps=200.", _OVERRIDE)
]


@dataclass(frozen=True)
class _Explained:
    """Words on a parameter whose schema follows from its type."""

    words: str

    def __get_pydantic_json_schema__(self, core: Any, handler: Any) -> dict[str, Any]:
        return {**handler(core), "description": self.words}


OwnSettings = Annotated[
    Settings | None, _Explained("All settings one by one in place of the preset's; leave it out to keep those.")
]
