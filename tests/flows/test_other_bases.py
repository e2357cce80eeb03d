"""Stable Diffusion layouts without mask channels go through the same steps, and resume: narrow, untrained, real."""

from __future__ import annotations

import shutil
import sys
from functools import partial
from pathlib import Path

import pytest

from augment.adapters import read_adapter
from flows.execution import execute
from flows.run.folder import Job, new_job, open_job
from flows.settings import load_settings
from flows.steps import adapt
from manifests.errors import BadInput
from manifests.format.reading import open_manifest
from tests.augment.base.single_files import write_single_file
from tests.augment.base.tiny_bases import write_narrow_base, write_narrow_xl_base
from tests.flows import whole_run
from tests.waiting import until

STEPS = ("prepare", "adapt", "synthesise")


def in_one_file(out: Path) -> Path:
    """A narrow Stable Diffusion 2 as a checkpoint in one file."""
    write_single_file(out.with_suffix(".safetensors"), "2")
    return out.with_suffix(".safetensors")


WRITTEN = {
    "2 in one file": in_one_file,
    "1.5": partial(write_narrow_base, linear_projection=False),
    "XL": write_narrow_xl_base,
}


def job_on(base: Path, data: Path, out: Path) -> Job:
    overrides = [
        f"base.path={base}",
        "base.resolution=64",
        "prepare.size=64",
        "synthesis.gates=false",
        "adapt.attributes=age_group,sex",
        "adapt.steps=2",
        "sampling.steps=2",
        "synthesis.balance=0.6",
        "engine.name=plain",
    ]
    return new_job(data, out, "tiny", load_settings("tiny", None, overrides))


def with_people(phantom: Path, out: Path) -> Path:
    """The drawn dataset with the metadata that the official archives hold."""
    shutil.copytree(phantom, out)
    for folder in out.glob("*_Data"):
        stems = sorted(path.stem for path in folder.glob("*.jpg"))
        people = [f"{stem},{30 + 10 * (n % 3)},{'fe' * (n % 2)}male" for n, stem in enumerate(stems)]
        lines = ["image_id,age_approximate,sex", *people]
        (folder / f"{folder.name}_metadata.csv").write_text("\n".join(lines) + "\n")
    return out


def kill_when(pattern: str, command: str, out: Path) -> None:
    """Starts one step and kills it as soon as a file of `pattern` lies in the run folder."""
    process = whole_run.start([sys.executable, "-m", "flows.command_line", command, "--out", str(out)])
    until(lambda: list(out.glob(pattern)), f"a file {pattern}", process)
    process.kill()
    process.communicate()


def test_a_base_for_other_pictures_than_the_runs_is_one_sentence(tmp_path: Path, phantom_folder: Path) -> None:
    base = write_narrow_base(tmp_path / "base")
    settings = load_settings("tiny", None, [f"base.path={base}"])
    job = new_job(phantom_folder, tmp_path / "run", "tiny", settings)
    with pytest.raises(BadInput, match=r"draws 64 px where base.resolution is 128; set base.resolution=64"):
        adapt.base_facts(job)


@pytest.mark.parametrize("layout", [*WRITTEN])
def test_a_base_without_mask_channels_goes_through_all_steps_and_resumes(
    tmp_path: Path, phantom_folder: Path, layout: str
) -> None:
    base = WRITTEN[layout](tmp_path / "base")
    data = with_people(phantom_folder, tmp_path / "data")
    whole = job_on(base, data, tmp_path / "whole")
    assert execute(whole, ("prepare",)) == 0
    cut = open_job(Path(shutil.copytree(whole.folder.path, tmp_path / "cut")))
    assert execute(whole, STEPS) == 0
    kill_when("work/adapt/domain/*.checkpoint.safetensors", "adapt", cut.folder.path)
    assert execute(cut, ("adapt",)) == 0
    kill_when("work/candidates/*/*", "synthesise", cut.folder.path)
    assert execute(cut, STEPS) == 0
    if base.is_file():
        assert [path.parent.name for path in cut.folder.bases.glob("*/model_index.json")] == [
            path.parent.name for path in whole.folder.bases.glob("*/model_index.json")
        ]
    names = {path.stem for path in (cut.folder.path / "adapters").glob("*.safetensors")}
    assert names == {"domain", "bkl", "mel", "nv"}
    domain = read_adapter(cut.folder.adapter("domain")).provenance
    assert domain["settings"]["steps"] == cut.settings.adapt.domain_steps == 6 != cut.settings.adapt.steps
    made = [folder / "synthetic" / "manifest.json" for folder in (whole.folder.path, cut.folder.path)]
    assert made[0].read_bytes() == made[1].read_bytes()
    table = open_manifest(cut.folder.path / "synthetic").table(["prompt", "age_group", "sex"])
    assert {"female", "male"} <= set(table["sex"].to_pylist())
    for row in table.to_pylist():
        assert row["prompt"].endswith(f"age group {row['age_group'].replace('-', ' to ')}, sex {row['sex']}")
    pairs = open_manifest(cut.folder.path / "synthetic").arrays()
    assert pairs.images.shape[1:] == (64, 64, 3) and len(pairs) > 10
