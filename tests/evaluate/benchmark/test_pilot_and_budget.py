"""The pilot chooses the updates once and for every arm; a budget cuts the plan and says what it cut."""

from __future__ import annotations

from pathlib import Path

import pytest
import torch

from evaluate.benchmark import cells, pilot
from evaluate.benchmark.budget import Speed, measure_speed, read_speed, seconds_of, within_budget
from evaluate.benchmark.cells import Cell, is_finished, run_cell
from evaluate.benchmark.pilot import PilotCell, pilot_report, pilot_standings, run_pilot_cell, settled
from evaluate.settings.benchmark import BenchmarkSettings
from manifests.errors import EvendermError
from manifests.format.reading import Manifest
from manifests.progress import no_progress
from tests.evaluate.benchmark.benchmark_fixture import SETTINGS, real_and_generated

torch.set_num_threads(1)
PILOTED = SETTINGS.model_copy(
    update={"tasks": ("classification",), "classification_arms": ("real", "real+copy-paste", "hybrid"), "pilot": 1}
).with_updates({"classification": 8})


@pytest.fixture(scope="module")
def real(tmp_path_factory: pytest.TempPathFactory) -> Manifest:
    return real_and_generated(tmp_path_factory.mktemp("data"))[0]


@pytest.fixture
def scores(monkeypatch: pytest.MonkeyPatch) -> dict[tuple[str, int], float]:
    """What the pilot's trainings come to, instead of the trainings."""
    known: dict[tuple[str, int], float] = {}

    def score(cell: PilotCell, *rest: object) -> float | None:
        return known.get((cell.arm, cell.updates))

    monkeypatch.setattr(pilot, "_score", score)
    return known


def _left(real: Manifest) -> list[tuple[str, int]]:
    (standing,) = pilot_standings(PILOTED, real, Path("nowhere"))
    return [(cell.arm, cell.updates) for cell in standing.left]


def test_the_best_control_climbs_and_the_fewest_updates_that_come_near_its_best_are_chosen(
    real: Manifest, scores: dict[tuple[str, int], float]
) -> None:
    assert _left(real) == [("real", 2), ("real+copy-paste", 2)]
    scores |= {("real", 2): 0.6, ("real+copy-paste", 2): 0.7}
    assert _left(real) == [("real+copy-paste", 4)]
    with pytest.raises(EvendermError, match="not finished"):
        settled(PILOTED, pilot_standings(PILOTED, real, Path("nowhere")))
    scores["real+copy-paste", 4] = 0.6
    assert _left(real) == [("real+copy-paste", 8)]
    scores["real+copy-paste", 8] = 0.702
    standings = pilot_standings(PILOTED, real, Path("nowhere"))
    assert settled(PILOTED, standings).classifier.updates == 2
    (told,) = pilot_report(PILOTED, standings)
    assert told["chosen"] == 2 and [rung["updates"] for rung in told["rungs"]] == [2, 4, 8]


def test_a_score_that_goes_on_rising_takes_all_updates(real: Manifest, scores: dict[tuple[str, int], float]) -> None:
    scores |= {("real", 2): 0.6, ("real+copy-paste", 2): 0.5, ("real", 4): 0.7, ("real", 8): 0.8}
    assert settled(PILOTED, pilot_standings(PILOTED, real, Path("nowhere"))).classifier.updates == 8
    assert pilot_standings(PILOTED.model_copy(update={"pilot": 0}), real, Path("nowhere")) == []


def test_what_the_pilot_trained_is_taken_over_and_not_trained_again(real: Manifest, tmp_path: Path) -> None:
    run_pilot_cell(PilotCell("real", "classification", 0, 2), real, PILOTED, tmp_path, no_progress, tmp_path / "arrays")
    chosen, cell = PILOTED.with_updates({"classification": 2}), Cell("real", "classification", 0)
    assert not is_finished(cell, real, None, chosen, tmp_path)

    def forbidden(done: int, total: int, **figures: float | str) -> None:
        raise AssertionError("it was trained again")

    path = run_cell(cell, real, None, chosen, tmp_path, forbidden)
    assert is_finished(cell, real, None, chosen, tmp_path)
    assert (cells.model_folder(tmp_path, cell.name) / "classifier.safetensors").is_file()
    assert cells.read_predictions(path, cells.read_cell(path, _digest(cell, real, chosen)) or {}, "test").shape == (
        13,
        2,
    )


def _digest(cell: Cell, real: Manifest, settings: BenchmarkSettings) -> str:
    return cells.cell_digest(cell, real, None, settings)


def test_an_update_is_timed_once_for_the_same_settings(real: Manifest, tmp_path: Path) -> None:
    assert read_speed(real, PILOTED, tmp_path) is None
    measure_speed(real, PILOTED, tmp_path, tmp_path / "arrays", no_progress)
    speed = read_speed(real, PILOTED, tmp_path)
    assert speed is not None and speed.update["classification"] > 0 and speed.test["classification"] == 13
    assert read_speed(real, PILOTED.with_updates({"classification": 9}), tmp_path) is None


SPEED = Speed(
    {"classification": 0.5, "segmentation": 0.5},
    {"classification": 100, "segmentation": 100},
    {"classification": 100, "segmentation": 100},
)


@pytest.mark.parametrize("minutes", [1, 8, 10, 20, 30, 100, 1000])
def test_a_budget_is_kept_or_said_to_be_too_small(real: Manifest, minutes: float) -> None:
    asked = BenchmarkSettings(budget=minutes)
    taken, (said,) = within_budget(asked, real, True, SPEED)
    expected = seconds_of(taken, real, True, SPEED, pilot=True)
    assert (expected > 60 * minutes) == ("more than the budget even so" in said) == (minutes == 1)
    assert said.startswith(f"benchmark.budget={minutes} minutes: ")
    for task in asked.tasks:
        names = [str(arm) for arm in taken.arms(task)]
        assert "hybrid" in names and len(names) >= 3, "two controls at least, and what is judged"


def test_seeds_are_added_where_there_is_time_and_nothing_is_changed_without_a_budget(real: Manifest) -> None:
    taken, (said,) = within_budget(BenchmarkSettings(budget=10_000), real, True, SPEED)
    assert taken.seeds == 10 and "10 seeds instead of 3" in said
    assert within_budget(BenchmarkSettings(), real, True, SPEED) == (BenchmarkSettings(), [])
