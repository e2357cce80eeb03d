"""When a finished step is recognised, and when not."""

from __future__ import annotations

import io
import os
import shutil
from dataclasses import replace
from pathlib import Path

import pytest
from rich.console import Console

from flows.execution import execute
from flows.run.folder import RunFolder, new_job
from flows.run.records import (
    CELLS,
    Step,
    file_digest,
    listing_digest,
    reason_to_run,
    record_path,
    remove_touched,
    write_record,
)
from flows.settings import load_settings
from flows.steps import prepare
from manifests.errors import BadInput
from manifests.format.reading import open_manifest
from manifests.settings import PrepareSettings
from manifests.sources.table import named_files
from tests.manifests.sources.phantom_layouts import write_layout

STEP = Step("adapt:mel", 1, {"adapt.steps": 3, "arms": ("real", "hybrid")}, {"real": "aa", "base": "bb"})


@pytest.fixture
def folder(tmp_path: Path) -> RunFolder:
    """A run folder in which STEP has finished."""
    made = RunFolder(tmp_path)
    made.adapters.mkdir()
    made.adapter("mel").write_bytes(b"weights")
    write_record(made, STEP, [made.adapter("mel")], {"loss": 0.5}, 1.5)
    return made


def test_a_step_that_finished_is_recognised(folder: RunFolder) -> None:
    assert reason_to_run(folder, STEP) is None


@pytest.mark.parametrize(
    ("step", "said"),
    [
        (replace(STEP, name="adapt:nv"), "not finished yet"),
        (replace(STEP, version=2), "its code changed"),
        (replace(STEP, settings={**STEP.settings, "adapt.steps": 4}), "adapt.steps 3 to 4"),
        (replace(STEP, inputs={"real": "cc", "base": "bb"}), "inputs changed: real"),
        (replace(STEP, inputs={"real": "aa"}), "inputs changed: base"),
    ],
)
def test_what_changed_is_named(folder: RunFolder, step: Step, said: str) -> None:
    assert said in str(reason_to_run(folder, step))


def test_an_output_that_is_gone_or_changed_is_named(folder: RunFolder) -> None:
    folder.adapter("mel").write_bytes(b"other")
    assert reason_to_run(folder, STEP) == "adapters/mel.safetensors was changed"
    folder.adapter("mel").unlink()
    assert reason_to_run(folder, STEP) == "adapters/mel.safetensors is missing"


def touch(path: Path, later: bool = True) -> None:
    """Flips a bit in the middle of a file; its time is of now and a bit, or stays what it was."""
    status, content = path.stat(), bytearray(path.read_bytes())
    content[len(content) // 2] ^= 1
    path.write_bytes(content)
    time = status.st_mtime_ns + (10**10 if later else 0)
    os.utime(path, ns=(time, time))


def test_a_shard_that_was_touched_is_named_and_made_again_and_nothing_else(tmp_path: Path) -> None:
    write_layout(tmp_path / "data", "folders", 21, 0, 48)
    words = ["engine.name=plain", "prepare.duplicates=false"]
    job = new_job(tmp_path / "data", tmp_path / "run", "tiny", load_settings("tiny", None, words))
    screen = io.StringIO()

    def run(every: bool = False) -> list[str]:
        screen.truncate(0)
        assert execute(job, ("prepare",), Console(file=screen, width=300), every) == 0
        return [line for line in screen.getvalue().splitlines() if "was changed" in line]

    assert run() == []
    before = {path: path.read_bytes() for path in job.folder.real.rglob("*") if path.is_file()}
    shard = min(path for path in before if path.suffix == ".parquet")
    others = {path: path.stat().st_mtime_ns for path in before if path.suffix == ".parquet" and path != shard}
    touch(shard)
    assert reason_to_run(job.folder, prepare.steps(job)[0]) == f"{shard.relative_to(job.folder.path)} was changed"
    (line,) = run()
    assert f"{shard.relative_to(job.folder.path)} was changed since prepare made it; it is made again" in line
    assert {path: path.read_bytes() for path in before} == before
    assert {path: path.stat().st_mtime_ns for path in others} == others
    touch(shard, later=False)
    assert run() == [] and len(run(every=True)) == 1, "a change that hides its time is found where every byte is read"
    assert shard.read_bytes() == before[shard]
    time = shard.stat().st_mtime_ns
    shard.write_bytes(before[shard][:-9])
    os.utime(shard, ns=(time, time))
    assert len(run()) == 1 and shard.read_bytes() == before[shard], "a size that is not the committed one tells it too"


@pytest.mark.parametrize("name", ["hybrid-0.json", "models/hybrid-0/weights"])
def test_a_cell_that_was_touched_is_trained_again_and_a_deleted_one_is_not(folder: RunFolder, name: str) -> None:
    cells = folder.work / "benchmark"
    for file in ("hybrid-0.json", "real-0.json", "models/hybrid-0/weights"):
        (cells / file).parent.mkdir(parents=True, exist_ok=True)
        (cells / file).write_bytes(b"what was measured")
    folder.results.write_text("{}")
    step = replace(STEP, name="benchmark")
    files = [path for path in cells.rglob("*") if path.is_file()]
    digests = {path.relative_to(folder.path).as_posix(): file_digest(path) for path in files}
    write_record(folder, step, [folder.results], {CELLS: digests}, 1)
    touch(cells / name)
    assert remove_touched(folder, ("adapt",)) == [] and "was changed" in str(reason_to_run(folder, step))
    (said,) = remove_touched(folder, ("benchmark",))
    assert said == f"work/benchmark/{name} was changed since benchmark made it"
    assert reason_to_run(folder, step) == "not finished yet"
    assert not (cells / "hybrid-0.json").exists() and (cells / "real-0.json").exists()
    write_record(folder, step, [folder.results], {CELLS: digests}, 1)
    shutil.rmtree(folder.work)
    assert reason_to_run(folder, step) is None


@pytest.mark.parametrize(
    "names", [("benchmark/models/real-0/weights", "benchmark/real-0.json"), ("judge/a", "judge/b")]
)
def test_several_files_that_were_touched_are_all_named_and_removed(folder: RunFolder, names: tuple[str, ...]) -> None:
    files = [folder.work / name for name in names]
    for file in files:
        file.parent.mkdir(parents=True, exist_ok=True)
        file.write_bytes(b"what was made")
    digests = {path.relative_to(folder.path).as_posix(): file_digest(path) for path in files}
    write_record(folder, replace(STEP, name="benchmark"), [], {CELLS: digests}, 1)
    for file in files:
        touch(file)
    assert len(remove_touched(folder, ("benchmark",))) == 2
    assert not any(file.exists() for file in files)


def test_an_adapter_that_was_touched_is_removed(folder: RunFolder) -> None:
    touch(folder.adapter("mel"))
    assert remove_touched(folder, ("adapt",)) == ["adapters/mel.safetensors was changed since adapt:mel made it"]
    assert not folder.adapter("mel").exists()


@pytest.mark.parametrize("content", ["", "{", "[]", '{"step": "adapt:mel"}'])
def test_a_damaged_record_counts_as_none(folder: RunFolder, content: str) -> None:
    record_path(folder, STEP.name).write_text(content)
    assert reason_to_run(folder, STEP) == "not finished yet"


def test_a_listing_changes_with_names_sizes_and_times(tmp_path: Path) -> None:
    file = tmp_path / "a.jpg"
    file.write_bytes(b"1")
    before = listing_digest(tmp_path)
    assert listing_digest(tmp_path) == before
    file.write_bytes(b"22")
    longer = listing_digest(tmp_path)
    (tmp_path / "b.jpg").write_bytes(b"")
    assert len({before, longer, listing_digest(tmp_path)}) == 3


def test_a_listing_takes_names_that_are_not_utf8(tmp_path: Path) -> None:
    digests = set()
    for name in (b"\xff.jpg", b"\xfe.jpg"):
        path = tmp_path / os.fsdecode(name)
        path.write_bytes(b"1")
        os.utime(path, (1, 1))
        digests.add(listing_digest(tmp_path))
        path.unlink()
    assert len(digests) == 2


def test_a_run_that_follows_links_sees_the_pictures_behind_them(tmp_path: Path) -> None:
    write_layout(tmp_path / "away", "folders", 21, 0, 48)
    (tmp_path / "data").mkdir()
    for name in ("nv", "mel", "masks"):
        (tmp_path / "data" / name).symlink_to(tmp_path / "away" / name)
    (tmp_path / "data" / "nv" / "round").symlink_to(tmp_path / "data")

    def inputs(*words: str) -> object:
        job = new_job(tmp_path / "data", tmp_path / "run", "tiny", load_settings("tiny", None, words))
        return prepare.steps(job)[0].inputs

    before = inputs("prepare.follow_links=true")
    assert inputs("prepare.follow_links=true") == before != inputs()
    picture = next((tmp_path / "away" / "nv").glob("*.jpg"))
    picture.write_bytes(picture.read_bytes() + b"\n")
    assert inputs("prepare.follow_links=true") != before


@pytest.mark.parametrize("place", ["data", "out"])
def test_a_url_is_no_place_for_a_run(place: str, tmp_path: Path) -> None:
    places = {"data": tmp_path, "out": tmp_path / "run", place: Path("s3://bucket/run")}
    with pytest.raises(BadInput, match="s3://bucket/run: only a path on disk will do here"):
        new_job(places["data"], places["out"], "tiny", load_settings("tiny"))


def test_a_run_that_keeps_splits_sees_the_manifest_change_and_is_not_given_its_own(
    tmp_path: Path, phantom_folder: Path, real_manifest: Path
) -> None:
    def step(kept: Path) -> Step:
        words = [f"prepare.keep_splits_of={kept}"]
        job = new_job(phantom_folder, tmp_path / "run", "tiny", load_settings("tiny", None, words))
        return prepare.steps(job)[0]

    assert step(real_manifest).inputs["kept splits"] == open_manifest(real_manifest).digest
    with pytest.raises(BadInput, match="prepare writes this manifest itself"):
        step(tmp_path / "run" / "real")


def test_a_run_on_a_table_sees_the_pictures_that_it_names(tmp_path: Path) -> None:
    data = tmp_path / "data"
    write_layout(data, "table", 12, 0, 48)

    def inputs() -> object:
        job = new_job(data / "pairs.csv", tmp_path / "run", "tiny", load_settings("tiny"))
        return prepare.steps(job)[0].inputs

    before = inputs()
    assert inputs() == before
    picture = next((data / "masks").iterdir())
    picture.write_bytes(picture.read_bytes() + b"\n")
    longer = inputs()
    picture.unlink()
    (data / "notes.txt").write_text("not named")
    assert longer != before and inputs() not in (before, longer)
    assert named_files(data / "images" / "0000.png", PrepareSettings()) == [], "no table names nothing"
