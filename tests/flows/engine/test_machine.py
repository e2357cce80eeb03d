"""The doctor says what a machine has and what each preset lacks on it."""

from __future__ import annotations

import json
from dataclasses import replace
from pathlib import Path

import pytest

from flows.command_line import exit_code
from flows.engine.machine import GIB, Machine, look_at_machine
from flows.settings import preset_names

SMALL = Machine(
    2, 4 * GIB, 1 * GIB, "/runs", (), "3.11.9", {"torch": "2.9", "peft": None}, False, None, "not installed"
)


def test_each_preset_is_ready_or_says_what_it_lacks() -> None:
    said = SMALL.presets()
    assert said.keys() == set(preset_names())
    assert said["tiny"] == "ready"
    assert said["embedded"] == "wants 2 GiB of free disk, 1.0 are there"
    assert "24 GiB of GPU memory, 0.0 are there" in said["sd2"]
    assert replace(SMALL, memory=64 * GIB, disk=99 * GIB, gpus=(("A10", 23 * GIB),)).presets()["sd2"] == "ready"


def test_what_is_missing_comes_with_what_helps() -> None:
    said = "\n".join(SMALL.lines())
    assert "base.path" in said and "run make setup" in said and "peft missing" in said


def test_this_machine_is_described_for_people_and_programs(tmp_path: Path, capsys: pytest.CaptureFixture[str]) -> None:
    found = look_at_machine(tmp_path / "not" / "there")
    assert found.cores >= 1 and found.memory > GIB and found.folder == str(tmp_path) and found.weights
    assert exit_code(["doctor", "--out", str(tmp_path), "--json"]) == 0
    assert json.loads(capsys.readouterr().out)["presets"].keys() == found.presets().keys()
