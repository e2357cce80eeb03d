"""The READMEs: short, with tables that are their files', and naming nothing that is not there."""

from __future__ import annotations

import ast
import itertools
import re
import runpy
import shlex
from collections.abc import Iterator
from pathlib import Path
from typing import Any

import pytest
import typer

from flows.command_line import app
from flows.settings import Settings, flat, load_settings

ROOT = Path(__file__).parent.parent
PACKAGES = ("manifests", "augment", "evaluate", "flows")
LIMITS = {"README.md": 10_000, **{f"{package}/README.md": 12_000 for package in PACKAGES}}
"""Bytes at most."""
TABLES: dict[str, Any] = runpy.run_path(str(ROOT / ".readme/tables.py"))
FILE_ENDINGS = ("html", "json", "md", "py", "toml", "yaml")


def _text(readme: str) -> str:
    return (ROOT / readme).read_text(encoding="utf-8")


def _blocks(readme: str, language: str) -> list[str]:
    """The fenced blocks of one language; "" for those of none."""
    return re.findall(rf"^```{language}\n(.*?)^```", _text(readme), re.DOTALL | re.MULTILINE)


def _spans(readme: str) -> Iterator[str]:
    """What stands between backticks in running text, on one line each."""
    prose = re.sub(r"^```.*?^```", "", _text(readme), flags=re.DOTALL | re.MULTILINE)
    return (" ".join(span.split()) for span in re.findall(r"`([^`]+)`", prose))


def _lines(readme: str) -> Iterator[list[str]]:
    """Each command line of the shell blocks, and of the running text, in words."""
    for block in _blocks(readme, "sh"):
        yield from (shlex.split(line, comments=True) for line in block.replace("\\\n", " ").splitlines())
    for span in _spans(readme):
        if span.startswith(("evenderm ", "make ", "--")):
            yield shlex.split(span)


def _values(words: list[str], option: str) -> list[str]:
    return [value for name, value in itertools.pairwise(words) if name == option]


@pytest.mark.parametrize("readme", LIMITS)
def test_a_readme_is_short(readme: str) -> None:
    assert len((ROOT / readme).read_bytes()) <= LIMITS[readme]


@pytest.mark.parametrize("readme", LIMITS)
def test_every_table_is_what_its_file_says(readme: str) -> None:
    assert TABLES["filled"](_text(readme)) == _text(readme), "run make readmes"


def test_every_table_and_every_file_of_figures_has_its_place() -> None:
    everything = "".join(_text(readme) for readme in LIMITS)
    assert not [name for name in TABLES["TABLES"] if f"<!-- table: {name} -->\n" not in everything]
    named = everything + _text(".readme/tables.py")
    files = [path for path in (ROOT / ".readme").rglob("*") if path.is_file() and path.suffix in (".json", ".png")]
    assert not [path.name for path in files if path.name not in named and path.parent.name not in named]


@pytest.mark.parametrize("readme", LIMITS)
def test_links_lead_somewhere(readme: str) -> None:
    for link in re.findall(r"\]\(([^)]+)\)", _text(readme)):
        place, _, anchor = link.partition("#")
        target = (ROOT / readme).parent / place if place else ROOT / readme
        assert target.exists(), link
        headings = re.findall(r"^#+ (.+)$", target.read_text(encoding="utf-8"), re.MULTILINE) if anchor else []
        assert not anchor or anchor in {re.sub(r"[^\w\- ]", "", h).lower().replace(" ", "-") for h in headings}, link


@pytest.mark.parametrize("readme", LIMITS)
def test_named_files_and_folders_are_there(readme: str) -> None:
    first = (*PACKAGES, "tests", ".readme")
    words = [word for span in _spans(readme) for word in span.split()]
    for word in words:
        if word.partition("/")[0] in first and "/" in word and re.fullmatch(r"[\w./-]+", word):
            assert (ROOT / word).exists(), word


@pytest.mark.parametrize("package", PACKAGES)
def test_the_drawing_shows_every_room(package: str) -> None:
    drawing = _blocks(f"{package}/README.md", "")[0]
    rooms = {path.parent.name for path in (ROOT / package).glob("*/__init__.py")}
    drawn = {
        name
        for name in re.findall(r"── (\w+)/", drawing)
        if name not in ("shipped_base", "shipped_segmenter", "presets")
    }
    assert drawn == rooms
    assert not [name for name in re.findall(r"\w+\.py", drawing) if not (ROOT / package / name).is_file()]


def _resolves(dotted: str) -> bool:
    """Whether a dotted name is a module, or a name that a module defines."""
    path = ROOT / dotted.replace(".", "/")
    if path.is_dir() or path.with_suffix(".py").is_file():
        return True
    module, _, name = dotted.rpartition(".")
    file = ROOT / f"{module.replace('.', '/')}.py"
    if not file.is_file():
        return False
    return name in {getattr(node, "name", None) for node in ast.parse(file.read_text(encoding="utf-8")).body}


@pytest.mark.parametrize("readme", LIMITS)
def test_python_names_resolve(readme: str) -> None:
    named = [span.partition("(")[0] for span in _spans(readme)]
    named = [name for name in named if re.fullmatch(rf"({'|'.join(PACKAGES)})(\.\w+)+", name)]
    for block in _blocks(readme, "python"):
        for node in ast.walk(ast.parse(block)):
            if isinstance(node, ast.ImportFrom) and str(node.module).partition(".")[0] in PACKAGES:
                named += [f"{node.module}.{alias.name}" for alias in node.names]
    assert not [name for name in named if not _resolves(name)]


@pytest.mark.parametrize("readme", LIMITS)
def test_commands_and_their_options_exist(readme: str) -> None:
    commands: dict[str, Any] = typer.main.get_command(app).commands  # type: ignore[attr-defined]
    for words in _lines(readme):
        if words[:1] == ["evenderm"] and len(words) > 1 and not words[1].startswith("-"):
            options = {option for parameter in commands[words[1]].params for option in parameter.opts}
            assert not [w for w in words if w.startswith("--") and w not in options and w != "--help"], words


@pytest.mark.parametrize("readme", LIMITS)
def test_settings_and_their_values_exist(readme: str) -> None:
    for words in _lines(readme):
        overrides = [value for value in _values(words, "--set") if value != "a.b=value"]
        overrides += [one for word in words if word.startswith("SET=") for one in word[4:].split()]
        preset = (_values(words, "--preset") or ["embedded"])[0]
        load_settings(preset, overrides=overrides)
    known = flat(Settings())
    for span in _spans(readme):
        if re.fullmatch(r"[a-z_]+(\.[a-z_]+)+", span) and span.partition(".")[0] in Settings.model_fields:
            is_file = span.rpartition(".")[2] in FILE_ENDINGS
            assert is_file or any(name == span or name.startswith(f"{span}.") for name in known), span


@pytest.mark.parametrize("readme", LIMITS)
def test_make_has_what_is_asked_of_it(readme: str) -> None:
    targets = set(re.findall(r"^([a-z]+):", _text("Makefile"), re.MULTILINE))
    asked = {words[1] for words in _lines(readme) if words[:1] == ["make"]}
    assert asked <= targets


def test_a_manifest_is_a_torch_dataset_in_the_readmes_lines(
    real_manifest: Path, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    import datasets

    monkeypatch.setattr(datasets.config, "HF_DATASETS_CACHE", str(tmp_path))
    (block,) = _blocks("README.md", "python")
    assert len([line for line in block.splitlines() if line and not line.startswith(("import", "from"))]) <= 10
    names: dict[str, Any] = {}
    exec(block.replace("runs/mine/real", str(real_manifest)), names)
    batch = next(iter(names["loader"]))
    assert batch["image"].shape == (32, 3, 128, 128) and batch["mask"].shape == (32, 1, 128, 128)
    assert batch["image"].max() <= 1 and set(batch["mask"].unique().tolist()) == {0, 1}
    assert len(names["train"]) < len(names["pairs"]) == 60 and set(names["train"]["label"]) <= {0, 1, 2}


def test_a_measurement_that_breaks_off_leaves_the_figures_that_were_there(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    from tests.benchmarks import peers

    def broken(*_: object) -> Iterator[tuple[str, str, list[float], str]]:
        yield "pairs", "ours", [0.7, 0.8], ""
        raise KeyboardInterrupt

    out = tmp_path / "speed.csv"
    out.write_text("figures of before")
    monkeypatch.setattr("sys.argv", ["peers.py", "--out", str(out)])
    monkeypatch.setattr(peers, "measured", broken)
    with pytest.raises(KeyboardInterrupt):
        peers.main()
    assert [path.name for path in tmp_path.iterdir()] == ["speed.csv"] and out.read_text() == "figures of before"
    monkeypatch.setattr(peers, "measured", lambda *_: [("pairs", "ours", [0.7, 0.9], "")])
    peers.main()
    assert out.read_text().splitlines()[1].startswith("pairs,ours,0.800000,0.700000,0.900000,2,")
