"""The command line as a user meets it: help at once, and one sentence when something is wrong."""

from __future__ import annotations

import errno
import os
import re
import shutil
import subprocess
import sys
from pathlib import Path

import pyarrow.parquet as pq
import pytest

from flows import command_line
from flows.commands import COMMANDS
from manifests.errors import BadInput, EvendermError
from manifests.progress import StopRequested

HEAVY = {"torch", "diffusers", "prefect", "numpy", "pyarrow", "matplotlib", "sklearn", "timm", "pydantic"}


def _evenderm(*arguments: str | Path, **environment: str) -> subprocess.CompletedProcess[str]:
    return subprocess.run(
        [sys.executable, "-m", "flows.command_line", *map(str, arguments)],
        capture_output=True,
        text=True,
        timeout=120,
        env={**os.environ, "COLUMNS": "200", **environment},
    )


def test_help_names_every_command_and_loads_no_heavy_library() -> None:
    code = "import sys, flows.command_line as c; print(c.exit_code(['--help']), *sys.modules, file=sys.stderr)"
    shown = subprocess.run([sys.executable, "-c", code], capture_output=True, text=True, check=True)
    exit_code, *modules = shown.stderr.split()
    assert exit_code == "0" and all(re.search(rf"\b{name}\b", shown.stdout) for name in COMMANDS)
    assert "typer" in modules and not HEAVY & set(modules)


@pytest.mark.parametrize("name", COMMANDS)
def test_every_command_explains_itself(name: str, capsys: pytest.CaptureFixture[str]) -> None:
    assert command_line.exit_code([name, "--help"]) == 0
    assert "Usage" in capsys.readouterr().out


# DATA is a folder with something in it, TABLE a file, EMPTY an empty folder, NONE a path that is not there.
WRONG = {
    "no such command": ("rum", "Did you mean 'run'?"),
    "no such option": ("run --dat DATA", "--dat"),
    "no data given": ("run", "--data"),
    "missing folder": ("run --data NONE", "no such dataset"),
    "empty folder": ("run --data EMPTY", "is empty"),
    "output in data": ("run --data DATA --out DATA/run", "choose another --out"),
    "output is taken": ("run --data TABLE --out DATA", "holds no run"),
    "output is a file": ("run --data DATA --out TABLE", "is a file"),
    "unknown preset": ("run --data DATA --preset huge", "preset 'huge'"),
    "unknown setting": ("run --data DATA --set adapt.stepz=1", "did you mean adapt.steps?"),
    "wrong value": ("run --data DATA --set adapt.steps=x", "adapt.steps=x"),
    "missing settings file": ("run --data DATA --settings NONE", "no such settings file"),
    "no run folder": ("status NONE", "no such run folder"),
    "run on a URL": ("run --data DATA --out s3://bucket/run", "s3://bucket/run: only a path on disk will do here"),
    "phantom at a URL": ("phantom --out s3://bucket/x", "--to manifest --out URL"),
    "fetch to a URL": ("fetch isic2017 --to gs://bucket/x", "gs://bucket/x: only a path on disk will do here"),
    "folders at a URL": ("export NONE --to folders --out s3://bucket/x", "s3://bucket/x: only a path on disk"),
    "folder without a run": ("adapt --out DATA", "holds no run"),
}


@pytest.mark.parametrize(("line", "said"), WRONG.values(), ids=WRONG)
def test_wrong_usage_is_one_line_and_exit_code_2(
    line: str, said: str, tmp_path: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    places = {"DATA": "data", "TABLE": "pairs.csv", "EMPTY": "empty", "NONE": "none"}
    (tmp_path / "data").mkdir()
    (tmp_path / "data" / "note.txt").write_text("mine")
    (tmp_path / "pairs.csv").write_text("picture,mask\n")
    (tmp_path / "empty").mkdir()
    for word, place in places.items():
        line = line.replace(word, str(tmp_path / place))
    assert command_line.exit_code(line.split()) == 2
    shown = capsys.readouterr().err
    assert said in shown
    assert shown.startswith("evenderm: ") and shown.count("\n") == 1
    assert (tmp_path / "data" / "note.txt").read_text() == "mine"


@pytest.mark.parametrize(
    ("error", "code", "said"),
    [
        (BadInput("x.csv: no column dx; add it"), 2, "x.csv: no column dx; add it"),
        (EvendermError("training diverged\nat step 4"), 1, "training diverged at step 4"),
        (OSError(errno.ENOSPC, "No space left on device", "run/shard"), 1, "run/shard: the disk is full"),
        (
            OSError(errno.EROFS, "Read-only file system", "out/x"),
            2,
            "out/x: Read-only file system; choose another path",
        ),
        (PermissionError(errno.EACCES, "Permission denied", "out/x"), 2, "out/x: Permission denied; choose another"),
        (StopRequested("adapt mel: stopped by SIGTERM"), 1, "stopped by SIGTERM; the same command goes on"),
        (KeyboardInterrupt(), 1, "the same command goes on"),
    ],
)
def test_what_goes_wrong_becomes_one_line_and_an_exit_code(
    error: BaseException,
    code: int,
    said: str,
    monkeypatch: pytest.MonkeyPatch,
    capsys: pytest.CaptureFixture[str],
) -> None:
    def fail(*arguments: object, **keywords: object) -> int:
        raise error

    monkeypatch.setattr(command_line, "app", fail)
    assert command_line.exit_code(["run"]) == code
    shown = capsys.readouterr().err
    assert said in shown and shown.count("\n") == 1


def test_a_full_disk_under_another_error_is_still_a_full_disk(
    monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture[str]
) -> None:
    def fail(*arguments: object, **keywords: object) -> int:
        try:
            raise OSError(errno.ENOSPC, "No space left on device")
        except OSError as error:
            raise RuntimeError("could not write the shard") from error

    monkeypatch.setattr(command_line, "app", fail)
    assert command_line.exit_code(["run"]) == 1
    assert "the disk is full" in capsys.readouterr().err


def test_a_foreign_package_of_our_name_is_one_sentence(tmp_path: Path) -> None:
    (tmp_path / "evaluate").mkdir()
    (tmp_path / "evaluate" / "__init__.py").write_text("")
    code = (
        "import sys, flows.command_line as c;"
        f"sys.path.insert(0, {str(tmp_path)!r}); sys.modules.pop('evaluate', None);"
        "c.main(['status', 'x'])"
    )
    shown = subprocess.run([sys.executable, "-c", code], capture_output=True, text=True)
    assert shown.returncode == 2
    assert "another package called 'evaluate'" in shown.stderr and shown.stderr.count("\n") == 1


def test_dry_run_says_what_would_run_and_why_and_writes_nothing(
    tmp_path: Path, phantom_folder: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    out = tmp_path / "run"
    arguments = ["run", "--data", str(phantom_folder), "--out", str(out), "--preset", "tiny", "--dry-run"]
    assert command_line.exit_code(arguments) == 0
    shown = capsys.readouterr().out
    assert "prepare" in shown and "not finished yet" in shown and "after prepare" in shown
    assert not out.exists()


def test_strict_makes_a_row_that_would_be_set_aside_an_error(
    tmp_path: Path, phantom_folder: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    shutil.copytree(phantom_folder, tmp_path / "data")
    next((tmp_path / "data").rglob("*.jpg")).write_bytes(b"no picture")
    words = ["prepare", "--data", str(tmp_path / "data"), "--out", str(tmp_path / "run"), "--preset", "tiny"]
    words += ["--set", "engine.name=plain"]
    assert command_line.exit_code([*words, "--strict"]) == 2
    assert "Traceback" not in capsys.readouterr().err
    assert not (tmp_path / "run" / "real" / "manifest.json").exists()
    assert command_line.exit_code(words) == 0


def test_a_first_start_that_failed_does_not_claim_its_folder(tmp_path: Path, phantom_folder: Path) -> None:
    (tmp_path / "wrong").mkdir()
    (tmp_path / "wrong" / "note.txt").write_text("mine")
    words = ["--out", str(tmp_path / "run"), "--preset", "tiny", "--set", "engine.name=plain"]
    assert command_line.exit_code(["prepare", "--data", str(tmp_path / "wrong"), *words]) == 2
    assert command_line.exit_code(["prepare", "--data", str(phantom_folder), *words]) == 0
    assert command_line.exit_code(["prepare", "--data", str(tmp_path / "wrong"), *words]) == 2


def test_sources_lists_every_layout_with_an_example(capsys: pytest.CaptureFixture[str]) -> None:
    assert command_line.exit_code(["sources"]) == 0
    shown = capsys.readouterr().out
    for name in ("isic2016", "isic2017", "isic2018", "ham10000", "ph2", "folders", "table"):
        assert f"\n{name}: " in f"\n{shown}"
    assert "    PH2 Dataset images/IMD002/IMD002_lesion/IMD002_lesion.bmp" in shown


def test_verify_passes_a_good_manifest_and_names_every_bad_row_of_a_spoilt_one(
    tmp_path: Path, real_manifest: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    assert command_line.exit_code(["verify", str(real_manifest)]) == 0
    assert "60 pairs in 3 shards, all as they should be" in capsys.readouterr().out
    shutil.copytree(real_manifest, tmp_path / "m")
    shards = sorted((tmp_path / "m" / "data").rglob("*.parquet"))
    for shard in shards:
        pictures = pq.read_table(shard, columns=["image"], partitioning=None)["image"].to_pylist()
        content = bytearray(shard.read_bytes())
        for picture in pictures:
            content[content.index(picture["bytes"]) + len(picture["bytes"]) // 2] ^= 1
        shard.write_bytes(content)
    assert command_line.exit_code(["verify", str(tmp_path / "m")]) == 2
    shown = capsys.readouterr()
    assert len({line.partition(": ")[0] for line in shown.out.splitlines() if " row " in line}) == 60
    assert shown.err.startswith(f"evenderm: {tmp_path / 'm'}: ") and shown.err.count("\n") == 1


@pytest.mark.parametrize("to", ["nnunet", "folders", "manifest"])
def test_export_writes_what_was_asked_for_and_nothing_over_it(
    to: str, tmp_path: Path, real_manifest: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    words = ["export", str(real_manifest), "--to", to, "--out", str(tmp_path / "out")]
    assert command_line.exit_code(words) == 0
    assert f"wrote 60 pairs to {tmp_path / 'out'}" in capsys.readouterr().out
    expected = {"nnunet": "Dataset501_Lesions/dataset.json", "folders": "metadata.csv", "manifest": "manifest.json"}
    assert (tmp_path / "out" / expected[to]).is_file()
    if to == "manifest":
        made = {p.relative_to(tmp_path / "out"): p.read_bytes() for p in (tmp_path / "out").rglob("*") if p.is_file()}
        assert made == {p.relative_to(real_manifest): p.read_bytes() for p in real_manifest.rglob("*") if p.is_file()}
    assert command_line.exit_code(words) == (0 if to == "manifest" else 2)
    assert command_line.exit_code(["export", str(tmp_path), *words[2:]]) == 2
    assert "holds no committed manifest" in capsys.readouterr().err


def test_names_that_are_not_utf8_are_prepared_and_shown(tmp_path: Path, phantom_folder: Path) -> None:
    odd = os.fsdecode(b"\xff\xe9")
    data = tmp_path / "data" / odd
    shutil.copytree(phantom_folder, data)
    picture = next(data.rglob("*.jpg"))
    picture.rename(picture.with_name(f"{odd}{picture.name}"))
    words = ["prepare", "--data", data, "--out", tmp_path / odd, "--preset", "tiny"]
    strict = {"PYTHONIOENCODING": "utf-8:strict"}
    for _ in range(2):
        done = _evenderm(*words, "--set", "engine.name=plain", **strict)
        assert (done.returncode, done.stderr) == (0, "")
    assert "everything is finished" in done.stdout
    assert "missing image" in (tmp_path / odd / "real" / "rejected.csv").read_text(encoding="utf-8")
    refused = _evenderm(*words[:4], tmp_path / "new", *words[5:], **strict)
    assert refused.returncode == 2 and "engine.name=plain" in refused.stderr and refused.stderr.count("\n") == 1


def test_quality_needs_no_more_than_a_base_and_data(monkeypatch: pytest.MonkeyPatch, tmp_path: Path) -> None:
    asked: list[object] = []

    def measure(*told: object) -> int:
        asked.extend(told[:3])
        return 0

    monkeypatch.setattr("flows.studies.quality.measure", measure)
    assert command_line.exit_code(["quality", "--base", "DIR", "--data", str(tmp_path)]) == 0
    assert asked == [tmp_path, "DIR", Path("runs/quality")]
