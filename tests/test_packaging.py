"""What the package promises to those who install it; `.ci/wheel` tries it as they do."""

from __future__ import annotations

import re
import tomllib
from importlib.metadata import PackageNotFoundError
from pathlib import Path
from types import SimpleNamespace

import pytest

from flows import command_line
from flows.engine import process

ROOT = Path(__file__).parent.parent
PROJECT = tomllib.loads((ROOT / "pyproject.toml").read_text())["project"]


def test_every_upper_bound_says_why_it_is_there() -> None:
    lines = re.findall(
        r'(?m)^    "[a-z0-9-]+(?:\[\w+\])?[^"]*(?:<|==)[^"]*",.*$', (ROOT / "pyproject.toml").read_text()
    )
    assert len(lines) > 20
    assert [line for line in lines if not re.search(r"#\s+\w.{5,}", line)] == []


@pytest.mark.parametrize("module", ["prefect_dask", "prefect_ray", "s3fs"])
def test_extras_can_be_imported(module: str) -> None:
    wanted = " ".join(PROJECT["optional-dependencies"]["scale"] + PROJECT["optional-dependencies"]["s3"])
    assert module.replace("_", "-") in wanted
    __import__(module)


def test_the_version_is_told_and_has_its_changes(capsys: pytest.CaptureFixture[str]) -> None:
    assert f"## {PROJECT['version']}\n" in (ROOT / "CHANGELOG.md").read_text()
    assert command_line.exit_code(["--version"]) == 0
    assert capsys.readouterr().out.startswith("evenderm ")


def test_types_are_part_of_every_package() -> None:
    data = tomllib.loads((ROOT / "pyproject.toml").read_text())["tool"]["setuptools"]["package-data"]
    for package in process.PACKAGES:
        assert (ROOT / package / "py.typed").is_file() and "py.typed" in data[package]


def test_another_evaluate_in_the_same_folder_is_one_sentence(
    monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture[str]
) -> None:
    def distribution(name: str) -> SimpleNamespace:
        if name != "evaluate":
            raise PackageNotFoundError(name)
        return SimpleNamespace(locate_file=lambda path: ROOT)

    monkeypatch.setattr(process, "distribution", distribution)
    assert command_line.exit_code(["sources"]) == 2
    said = capsys.readouterr().err
    assert "another package called 'evaluate' was installed over evenderm's own" in said and said.count("\n") == 1
