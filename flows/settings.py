"""The settings of a run: one model over those of all packages, filled from a preset, a file and overrides."""

from __future__ import annotations

import difflib
import json
import tomllib
from collections.abc import Iterator, Mapping, Sequence
from pathlib import Path
from types import NoneType
from typing import Annotated, Any, Literal, Self, get_args, get_origin

from pydantic import BaseModel, Field, TypeAdapter, ValidationError, model_validator
from pydantic.fields import FieldInfo

from augment.settings import (
    AdaptSettings,
    CheckpointSettings,
    PretrainSettings,
    SamplingSettings,
    SynthesisSettings,
)
from evaluate.settings.benchmark import BenchmarkSettings
from evaluate.settings.explain import ExplainSettings
from evaluate.settings.found_masks import FinderSettings
from evaluate.settings.gates import FidelitySettings, GateSettings, QualitySettings
from manifests.errors import BadInput
from manifests.settings import Frozen, PrepareSettings

PRESETS = Path(__file__).parent / "presets"


class LimitSettings(Frozen):
    """Longest time that one task of a kind may take, in seconds; 0 means no limit."""

    prepare: float = Field(0, ge=0)
    adapt: float = Field(0, ge=0, description="one class adapter")
    synthesise: float = Field(0, ge=0, description="one shard range")
    benchmark: float = Field(0, ge=0, description="one arm, task and seed")


class EngineSettings(Frozen):
    """Where the tasks run; the bytes they write do not depend on it."""

    name: Literal["plain", "local", "dask", "ray"] = Field(
        "local", description="plain does without Prefect; local, dask and ray are task runners of its"
    )
    workers: int = Field(
        0, ge=0, description="worker processes side by side; 0: one per core, as far as memory goes, and one with a GPU"
    )
    address: str | None = Field(None, description="address of a running Dask scheduler or Ray cluster")
    gpus_per_task: float = Field(0, ge=0, description="GPUs that one adapter, shard range or model reserves")
    threads: int = Field(1, ge=1, description="processor threads of one task; part of what fixes the last bit")
    retries: int = Field(3, ge=0, description="further tries after a storage or hub fault")
    retry_delay: float = Field(5, ge=0, description="seconds before the first of them; doubles each time")


class ReportSettings(Frozen):
    """What the report shows beside its own run."""

    history: str | None = Field(
        None, description="a file of JSON lines that each finished run appends to, and whose trend the report shows"
    )


class Settings(Frozen):
    """Everything that decides what a run does."""

    seed: int = Field(0, ge=0, description="seed of adapters, generated pairs and downstream models")
    prepare: PrepareSettings = PrepareSettings()
    finder: FinderSettings = FinderSettings()
    base: CheckpointSettings = CheckpointSettings()
    adapt: AdaptSettings = AdaptSettings()
    sampling: SamplingSettings = SamplingSettings()
    synthesis: SynthesisSettings = SynthesisSettings()
    gates: GateSettings = GateSettings()
    benchmark: BenchmarkSettings = BenchmarkSettings()
    fidelity: FidelitySettings = FidelitySettings()
    explain: ExplainSettings = ExplainSettings()
    quality: QualitySettings = QualitySettings()
    pretrain: PretrainSettings = PretrainSettings()
    report: ReportSettings = ReportSettings()
    engine: EngineSettings = EngineSettings()
    limits: LimitSettings = LimitSettings()

    @model_validator(mode="after")
    def _sizes_fit(self) -> Self:
        if self.prepare.size < self.base.resolution:
            raise ValueError(
                f"prepare.size {self.prepare.size} is smaller than base.resolution {self.base.resolution}; "
                "raise it, so that the generator sees real detail"
            )
        return self


def preset_names() -> list[str]:
    """Names of the presets that come with the package."""
    return sorted(path.stem for path in PRESETS.glob("*.toml"))


def load_settings(preset: str, file: Path | None = None, overrides: Sequence[str] = ()) -> Settings:
    """Settings of `preset`, changed by the TOML `file`, then by each `a.b=value` of `overrides`.

    Raises BadInput for a preset, file, name or value that is none, naming the closest known name.
    """
    values: dict[str, Any] = {}
    for path, origin in ((_preset_file(preset), f"preset {preset}"), (file, f"--settings {file}")):
        if path is not None:
            for name, value in _leaves(_read_toml(path), Settings, origin):
                if isinstance(value, str) and any(letter < " " for letter in value):
                    raise BadInput(f"{origin}: {'.'.join(name)} holds {value!r}; write a Windows path in single quotes")
                _put(values, name, value)
    return _overridden(values, overrides)


def settings_from(document: Mapping[str, Any], origin: str, overrides: Sequence[str] = ()) -> Settings:
    """Settings as stored in a run folder, changed by overrides. Raises BadInput as `load_settings` does."""
    try:
        stored = Settings.model_validate(document)
    except ValidationError as error:
        raise BadInput(f"{origin}: not the settings of this version ({_first(error)})") from None
    return _overridden(stored.model_dump(mode="json"), overrides) if overrides else stored


def flat_groups(settings: Settings, *groups: str) -> dict[str, Any]:
    """Every setting of some groups by its full dotted name, as JSON values."""
    return {f"{group}.{name}": value for group in groups for name, value in flat(getattr(settings, group)).items()}


def flat(settings: BaseModel) -> dict[str, Any]:
    """Every setting by its dotted name, as JSON values."""

    def walk(values: Mapping[str, Any], model: type[BaseModel], prefix: str) -> Iterator[tuple[str, Any]]:
        for name, value in values.items():
            nested = _nested_model(model.model_fields[name])
            if nested is not None and isinstance(value, Mapping):
                yield from walk(value, nested, f"{prefix}{name}.")
            else:
                yield f"{prefix}{name}", value

    return dict(walk(settings.model_dump(mode="json"), type(settings), ""))


def _preset_file(preset: str) -> Path:
    path = PRESETS / f"{preset}.toml"
    if preset not in preset_names():
        raise BadInput(f"preset {preset!r}: not known{_closest(preset, preset_names())}")
    return path


def _read_toml(path: Path) -> dict[str, Any]:
    try:
        return tomllib.loads(path.read_text(encoding="utf-8-sig"))
    except FileNotFoundError:
        raise BadInput(f"{path}: no such settings file; check the path") from None
    except (tomllib.TOMLDecodeError, UnicodeDecodeError, OSError) as error:
        escaped = "escape" in str(error) or "hex value" in str(error)
        advice = "write a Windows path in single quotes" if escaped else "mend it"
        raise BadInput(f"{path}: cannot be read as TOML ({error}); {advice}") from None


def _leaves(
    table: Mapping[str, Any], model: type[BaseModel], origin: str, prefix: tuple[str, ...] = ()
) -> Iterator[tuple[tuple[str, ...], Any]]:
    """Dotted name and value of each setting in a TOML table, refusing names that the model lacks."""
    for key, value in table.items():
        field = _field((*prefix, key), origin)
        nested = _nested_model(field)
        if nested is not None and isinstance(value, Mapping):
            yield from _leaves(value, nested, origin, (*prefix, key))
        else:
            yield (*prefix, key), value


def _field(name: Sequence[str], origin: str) -> FieldInfo:
    """The model's field at a dotted name. Raises BadInput with the closest known name."""
    model: type[BaseModel] | None = Settings
    for part in name:
        if model is None or part not in model.model_fields:
            dotted = ".".join(name)
            raise BadInput(f"{origin}: no setting {dotted!r}{_closest(dotted, list(flat(Settings())))}")
        field = model.model_fields[part]
        model = _nested_model(field)
    return field


def _nested_model(field: FieldInfo) -> type[BaseModel] | None:
    annotation = field.annotation
    return annotation if isinstance(annotation, type) and issubclass(annotation, BaseModel) else None


def _typed(name: str, text: str, origin: str) -> Any:
    """The value of setting `name` that `text` spells: JSON, a plain word, or a comma-separated list."""
    field = _field(name.split("."), origin)
    if _nested_model(field) is not None:
        raise BadInput(f"{origin}: {name} is a group of settings; name one of them, as in {name}.NAME=value")
    spellings: list[Any] = [text]
    try:
        spellings.insert(0, json.loads(text))
    except ValueError:
        pass
    if any(get_origin(kind) in (tuple, list) for kind in (field.annotation, *get_args(field.annotation))):
        spellings.append([part.strip() for part in text.split(",") if part.strip()])
    if NoneType in get_args(field.annotation) and text.lower() == "none":
        spellings.insert(0, None)
    adapter: TypeAdapter[Any] = TypeAdapter(Annotated[field.annotation, field])  # type: ignore[arg-type]
    complaint = ""
    for spelling in spellings:
        try:
            adapter.validate_python(spelling)
            return spelling
        except ValidationError as error:
            complaint = complaint or _first(error)
    raise BadInput(f"{origin}: {complaint}")


def _overridden(values: dict[str, Any], overrides: Sequence[str]) -> Settings:
    for override in overrides:
        name, separator, text = (part.strip() for part in override.partition("="))
        if not separator:
            raise BadInput(f"--set {override}: write it as name=value, for example --set adapt.steps=200")
        _put(values, tuple(name.split(".")), _typed(name, text, f"--set {override}"))
    return _validated(values)


def _put(values: dict[str, Any], name: tuple[str, ...], value: Any) -> None:
    for part in name[:-1]:
        values = values.setdefault(part, {})
    values[name[-1]] = value


def _validated(values: Mapping[str, Any]) -> Settings:
    try:
        return Settings.model_validate(values)
    except ValidationError as error:
        raise BadInput(f"settings: {_first(error)}") from None


def _first(error: ValidationError) -> str:
    """The first complaint of a validation error as one clause."""
    first = error.errors(include_url=False)[0]
    where = ".".join(str(part) for part in first["loc"])
    message = first["msg"].removeprefix("Value error, ")
    given = f", not {first['input']!r}" if not isinstance(first["input"], Mapping) else ""
    return f"{where}: {message}{given}" if where else f"{message}{given}"


def _closest(name: str, known: Sequence[str]) -> str:
    near = difflib.get_close_matches(name, known, n=1, cutoff=0.5)
    if not near:
        last = name.rpartition(".")[2]
        near = [full for full in known if full.rpartition(".")[2] == last][:1]
    return f"; did you mean {near[0]}?" if near else f"; known are {', '.join(known[:12])}"
