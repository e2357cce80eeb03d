"""Where everything of a run lies, and which data and settings the run is for."""

from __future__ import annotations

import json
from collections.abc import Sequence
from dataclasses import dataclass
from functools import lru_cache
from pathlib import Path
from typing import TYPE_CHECKING

from flows.settings import Settings, settings_from
from manifests.errors import BadInput
from manifests.files import write_json
from manifests.format.schema import path_name
from manifests.storage.base import on_disk

if TYPE_CHECKING:
    from augment.base.folder import BaseFolder
    from manifests.pairs import PairArrays

SETTINGS_VERSION = 1


@dataclass(frozen=True)
class RunFolder:
    """The layout of a run folder; `work` may be deleted once the run is done. whole: the run that this is a fold of."""

    path: Path
    whole: Path | None = None

    @property
    def settings(self) -> Path:
        return self.path / "settings.json"

    @property
    def real(self) -> Path:
        return self.path / "real"

    @property
    def adapters(self) -> Path:
        return self.path / "adapters"

    @property
    def synthetic(self) -> Path:
        return self.path / "synthetic"

    @property
    def low_data(self) -> Path:
        return self.path / "low-data"

    @property
    def folds(self) -> Path:
        return self.path / "folds"

    @property
    def external(self) -> Path:
        """Where the test pairs of external sets lie, each under its name; those of the whole run in a part of it."""
        return (self.whole or self.path) / "external"

    @property
    def results(self) -> Path:
        return self.path / "results.json"

    @property
    def report(self) -> Path:
        return self.path / "report.html"

    @property
    def log(self) -> Path:
        return self.path / "log.jsonl"

    @property
    def work(self) -> Path:
        return self.path / "work"

    @property
    def records(self) -> Path:
        return self.path / ".steps"

    @property
    def lock(self) -> Path:
        return self.records / "run.lock"

    @property
    def failures(self) -> Path:
        return self.records / "failures.json"

    @property
    def review(self) -> Path:
        return self.path / "review"

    @property
    def decisions(self) -> Path:
        return self.review / "decisions.jsonl"

    @property
    def study(self) -> Path:
        return self.review / "study"

    @property
    def page_study(self) -> Path:
        return self.review / "pages"

    @property
    def judge(self) -> Path:
        return self.work / "judge"

    @property
    def copies(self) -> Path:
        """The judge's index of real pairs, which finds copies of them."""
        return self.judge / "copies"

    @property
    def arrays(self) -> Path:
        return self.work / "arrays"

    @property
    def bases(self) -> Path:
        """Where a base in one file is converted into a folder."""
        return self.work / "bases"

    def adapter(self, dx: str) -> Path:
        """The adapter file of class `dx`."""
        return self.adapters / f"{path_name(dx)}.safetensors"

    def pairs(self, split: str, size: int, dx: str | None = None) -> PairArrays:
        """The real pairs of a split, or of one class of it, at side `size` and sorted by pair_id.

        A split is decoded once in a run, and mapped into memory from then on. Raises BadInput if it is not prepared.
        """
        from manifests.format.reading import open_manifest

        pairs = open_manifest(self.real).arrays(split=split, size=size, cache=self.arrays)
        return pairs if dx is None else pairs.of_class(dx)


@dataclass(frozen=True)
class Job:
    """A run folder with the data and settings that it is for."""

    folder: RunFolder
    data: Path
    preset: str
    settings: Settings

    @property
    def name(self) -> str:
        """Dataset and preset, as shown in titles."""
        return f"{self.data.name} {self.preset}"

    @property
    def base_place(self) -> Path:
        """Where the base lies that the settings name, if it lies on this disk."""
        path, shipped = self.settings.base.path, Path(__file__).parents[2] / "augment" / "shipped_base"
        return shipped if path == "shipped" else Path(path).expanduser()

    def base(self) -> BaseFolder:
        """The base that the settings name."""
        from augment.base.folder import open_base

        return open_base(self.settings.base, self.folder.bases)

    def pairs(self, split: str, dx: str | None = None, size: int | None = None, masked: bool = False) -> PairArrays:
        """The real pairs of a split, or of one class of it, at the side that the base draws or at `size`.

        masked: those with a mask alone, for what learns or judges masks.
        """
        pairs = self.folder.pairs(split, size or self.settings.base.resolution, dx)
        return pairs.masked() if masked else pairs


def new_job(data: Path, out: Path, preset: str, settings: Settings) -> Job:
    """The job of running on `data` into `out`, checked but not yet written.

    Raises BadInput if `data` is missing or empty, or `out` holds something else than a run on it.
    """
    for path in (data, out):
        on_disk(path)
    data, out = data.expanduser().resolve(), out.expanduser().resolve()
    if not data.exists():
        raise BadInput(f"{data}: no such dataset; check the path given to --data")
    if data.is_dir() and not any(data.iterdir()):
        raise BadInput(f"{data}: the folder is empty; give --data a folder with images, masks and classes")
    if out == data or out in data.parents or data in out.parents:
        raise BadInput(f"{out}: lies in or around the data folder {data}; choose another --out")
    _refuse_unsendable(data, out, settings)
    folder = RunFolder(out)
    if out.exists() and not out.is_dir():
        raise BadInput(f"{out}: is a file; choose another --out")
    if folder.settings.exists():
        earlier = open_job(out)
        if earlier.data != data and (out / "real" / "manifest.json").exists():
            raise BadInput(f"{out}: holds a run on {earlier.data}; choose another --out for {data}")
    elif out.exists() and {entry.name for entry in out.iterdir()} - {folder.records.name}:
        raise BadInput(f"{out}: is not empty and holds no run; choose another --out")
    return Job(folder, data, preset, settings)


def _refuse_unsendable(data: Path, out: Path, settings: Settings) -> None:
    """BadInput for a path that is not UTF-8 where Prefect, which sends it as JSON, shall run the steps."""
    for path in (data, out) if settings.engine.name != "plain" else ():
        if not str(path).isascii() and any("\ud800" <= letter <= "\udfff" for letter in str(path)):
            raise BadInput(f"{path}: this path is not UTF-8; rename it, or run with --set engine.name=plain")


def save_job(job: Job) -> None:
    """Writes the job's settings into its run folder, which it creates."""
    job.folder.records.mkdir(parents=True, exist_ok=True)
    document = {
        "schema_version": SETTINGS_VERSION,
        "data": str(job.data),
        "preset": job.preset,
        "settings": job.settings.model_dump(mode="json"),
    }
    write_json(job.folder.settings, document)


def open_job(out: Path, overrides: Sequence[str] = ()) -> Job:
    """The job of an existing run folder, its settings changed by `a.b=value` overrides.

    Raises BadInput if the folder holds no run or an override is none.
    """
    folder = RunFolder(Path(out).expanduser().resolve())
    if not folder.path.is_dir():
        raise BadInput(f"{out}: no such run folder; check the path")
    try:
        return _job_from(folder, folder.settings.read_bytes(), tuple(overrides))
    except FileNotFoundError:
        raise BadInput(f"{out}: holds no run (settings.json is missing); check the path") from None
    except (ValueError, KeyError, TypeError, OSError) as error:
        raise BadInput(f"{folder.settings}: cannot be read ({error}); remove it or choose another --out") from None


@lru_cache(maxsize=8)
def _job_from(folder: RunFolder, content: bytes, overrides: tuple[str, ...]) -> Job:
    """The job that a settings.json of this content is for: checked once, though every call of a run asks for it."""
    document = json.loads(content.decode("utf-8"))
    data, preset, stored = Path(document["data"]), str(document["preset"]), document["settings"]
    return Job(folder, data, preset, settings_from(stored, str(folder.settings), overrides))
