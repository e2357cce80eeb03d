"""What the form of a deployment asks for: each parameter with its words, and what is refused before a run is made."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass
from typing import Annotated, Any

from pydantic import WithJsonSchema

from flows.settings import Settings, preset_names


def _text(words: str, **rules: Any) -> WithJsonSchema:
    return WithJsonSchema({"type": "string", "description": words, **rules})


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
Places = Annotated[
    Sequence[str],
    WithJsonSchema(
        {
            "type": "array",
            "items": {"type": "string", "pattern": r"^([/~]|[a-z0-9]+://)", "minLength": 2},
            "minItems": 1,
            "description": "Images, folders of images, or manifests: full paths on the worker.",
        }
    ),
]
Overrides = Annotated[
    Sequence[str],
    WithJsonSchema(
        {
            "type": "array",
            "items": {"type": "string", "pattern": r"^[a-z_][a-z0-9_.]*\s*=", "minLength": 3},
            "description": "Settings that differ, each as name=value, for example adapt.steps=200.",
        }
    ),
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
