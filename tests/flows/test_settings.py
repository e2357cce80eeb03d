"""What a user may rely on when settings are given."""

from __future__ import annotations

from pathlib import Path

import pytest
from hypothesis import given, settings, strategies

from flows.settings import Settings, flat, load_settings, preset_names, settings_from
from manifests.errors import BadInput


@pytest.mark.parametrize("preset", ["embedded", "sd2", "tiny"])
def test_every_preset_is_complete_and_survives_being_stored(preset: str) -> None:
    chosen = load_settings(preset)
    assert settings_from(chosen.model_dump(mode="json"), "settings.json") == chosen


def test_presets_are_data_files() -> None:
    assert preset_names() == ["embedded", "sd2", "tiny"]


@pytest.mark.parametrize(
    ("override", "name", "value"),
    [
        ("adapt.steps=7", "adapt.steps", 7),
        ("adapt.bf16=false", "adapt.bf16", False),
        ("synthesis.balance=median", "synthesis.balance", "median"),
        ("synthesis.balance=300", "synthesis.balance", 300),
        ('synthesis.balance={"mel": 3}', "synthesis.balance", {"mel": 3}),
        ("base.revision=123", "base.revision", "123"),
        ("base.revision=none", "base.revision", None),
        ("benchmark.classification_arms=real, hybrid", "benchmark.classification_arms", ["real", "hybrid"]),
        ("gates.copies.shortlist=2", "gates.copies.shortlist", 2),
    ],
)
def test_an_override_is_typed_by_the_setting_that_it_names(override: str, name: str, value: object) -> None:
    assert flat(load_settings("embedded", None, [override]))[name] == value


@pytest.mark.parametrize(
    ("override", "said"),
    [
        ("adapt.stepz=7", "did you mean adapt.steps?"),
        ("steps=7", "did you mean adapt.steps?"),
        ("adapt.steps=many", "valid integer"),
        ("adapt.steps=0", "greater than or equal to 1"),
        ("adapt=3", "group of settings"),
        ("adapt.steps", "name=value"),
        ("engine.name=cluster", "'plain', 'local', 'dask' or 'ray'"),
        ("prepare.size=64", "smaller than base.resolution"),
        ("adapt.steps.more=1", "no setting 'adapt.steps.more'"),
    ],
)
def test_a_wrong_override_is_one_sentence_with_the_fix(override: str, said: str) -> None:
    with pytest.raises(BadInput) as raised:
        load_settings("embedded", None, [override])
    assert said in str(raised.value)
    assert "\n" not in str(raised.value)


def test_a_file_overrides_the_preset_and_an_override_the_file(tmp_path: Path) -> None:
    file = tmp_path / "mine.toml"
    file.write_text("seed = 5\n[adapt]\nsteps = 9\nrank = 2\n")
    chosen = load_settings("tiny", file, ["adapt.steps=11"])
    assert (chosen.seed, chosen.adapt.rank, chosen.adapt.steps) == (5, 2, 11)
    assert chosen.sampling == load_settings("tiny").sampling


@pytest.mark.parametrize(
    ("text", "said"),
    [("[adapt]\nstepz = 1\n", "did you mean adapt.steps?"), ("[adapt\n", "TOML"), ("adapt = 3\n", "adapt")],
)
def test_a_wrong_settings_file_is_one_sentence(tmp_path: Path, text: str, said: str) -> None:
    file = tmp_path / "mine.toml"
    file.write_text(text)
    with pytest.raises(BadInput, match=said.replace("?", r"\?")):
        load_settings("tiny", file)


@pytest.mark.parametrize("start", ["", "\ufeff"])
def test_a_settings_file_as_windows_writes_it_is_read_as_meant_or_told(tmp_path: Path, start: str) -> None:
    file = tmp_path / "mine.toml"
    file.write_bytes(f"{start}[base]\r\npath = 'C:\\bases\\union'\r\n".encode())
    assert load_settings("tiny", file).base.path == r"C:\bases\union"
    for path in (r"C:\bases\union", r"C:\my bases", r"C:\bases"):  # of which \b alone is an escape that TOML knows
        file.write_text(f'{start}[base]\npath = "{path}"\n', encoding="utf-8")
        with pytest.raises(BadInput, match=r"mine\.toml: .*; write a Windows path in single quotes"):
            load_settings("tiny", file)


def test_a_missing_settings_file_and_an_unknown_preset_are_bad_input(tmp_path: Path) -> None:
    with pytest.raises(BadInput, match="no such settings file"):
        load_settings("tiny", tmp_path / "none.toml")
    with pytest.raises(BadInput, match="did you mean embedded"):
        load_settings("embeded")


@settings(max_examples=60, deadline=None)
@given(strategies.sampled_from(sorted(flat(Settings()))), strategies.text(max_size=12))
def test_any_override_ends_in_settings_or_in_one_sentence(name: str, text: str) -> None:
    try:
        assert isinstance(load_settings("embedded", None, [f"{name}={text}"]), Settings)
    except BadInput as error:
        assert str(error)
