"""Training resumes to the bit."""

from __future__ import annotations

from pathlib import Path

import pytest
import torch

from augment.training.schedules import power_decay, warmed_up_cosine, warmed_up_inverse_root
from augment.training.state import TrainingDiverged, TrainingState, step_generators
from manifests.errors import BadInput


def fresh_state() -> tuple[torch.nn.Module, TrainingState]:
    torch.manual_seed(0)
    model = torch.nn.Sequential(torch.nn.Conv2d(3, 8, 3), torch.nn.SiLU(), torch.nn.Conv2d(8, 3, 3))
    model.to(memory_format=torch.channels_last)
    return model, TrainingState(dict(model.named_parameters()), 1e-2, 0.9)


def train(model: torch.nn.Module, state: TrainingState, until: int) -> None:
    while state.step < until:
        _, generator = step_generators(3, state.step)
        loss = model(torch.randn(4, 3, 12, 12, generator=generator)).square().mean()
        state.update(loss, warmed_up_cosine(state.step, 20, 4))


def test_a_resumed_run_equals_an_uninterrupted_one_to_the_bit(tmp_path: Path) -> None:
    whole, whole_state = fresh_state()
    train(whole, whole_state, 20)
    first, first_state = fresh_state()
    train(first, first_state, 7)
    first_state.notes["best"] = 3
    first_state.save(tmp_path / "c.safetensors", {"key": "a"})
    second, second_state = fresh_state()
    assert second_state.load(tmp_path / "c.safetensors", {"key": "a"}) and second_state.notes == {"best": 3}
    train(second, second_state, 20)
    for name, value in whole_state.parameters.items():
        assert torch.equal(value, second_state.parameters[name])
        assert torch.equal(whole_state.ema[name], second_state.ema[name])


def test_a_checkpoint_of_other_settings_is_not_taken(tmp_path: Path) -> None:
    _, state = fresh_state()
    state.save(tmp_path / "c.safetensors", {"key": "a"})
    assert not fresh_state()[1].load(tmp_path / "c.safetensors", {"key": "b"})
    assert not fresh_state()[1].load(tmp_path / "none.safetensors", {"key": "a"})


def test_a_broken_checkpoint_is_one_sentence(tmp_path: Path) -> None:
    (tmp_path / "c.safetensors").write_bytes(b"nonsense")
    with pytest.raises(BadInput, match="delete it to start again"):
        fresh_state()[1].load(tmp_path / "c.safetensors", {})


@pytest.mark.parametrize("scale", [1e-3, 1e6])
def test_gradients_are_clipped_to_their_norm_and_small_ones_left_alone(scale: float) -> None:
    model, state = fresh_state()
    norm = state.update(scale * model(torch.randn(2, 3, 8, 8)).square().mean(), 1.0)
    assert (norm > 1e3) == (scale > 1)
    # After one step the first moment is a tenth of the gradient that the optimiser was given.
    moments = [state.optimizer.state[value]["exp_avg"] for value in state.parameters.values()]
    given = float(torch.stack([moment.norm() for moment in moments]).norm()) / 0.1
    assert given == pytest.approx(min(norm, state.gradient_clip), rel=1e-3)


def test_a_gradient_that_is_not_finite_stops_before_it_touches_the_weights() -> None:
    model, state = fresh_state()
    before = [value.detach().clone() for value in model.parameters()]
    loss = model(torch.zeros(1, 3, 8, 8)).mul(0).abs().sum().sqrt()  # 0, whose root has an infinite slope
    assert torch.isfinite(loss)
    with pytest.raises(TrainingDiverged, match="step 0"):
        state.update(loss, 1.0)
    assert all(torch.equal(a, b) for a, b in zip(before, model.parameters(), strict=True))
    assert state.step == 0 and not state.optimizer.state


def test_a_loss_that_is_not_finite_stops_before_it_touches_the_weights() -> None:
    model, state = fresh_state()
    with pytest.raises(TrainingDiverged, match="step 0"):
        state.update(model(torch.full((1, 3, 8, 8), float("nan"))).mean(), 1.0)
    assert all(torch.isfinite(value).all() for value in model.parameters())


def test_an_average_remembers_its_share_of_the_training_whatever_its_length() -> None:
    for length in (0.05, 0.13):
        for steps in (200, 2000):
            weights = torch.zeros(steps)
            for step in range(steps):
                decay = power_decay(length, 4 * step, 4)
                weights *= decay
                weights[step] = 1 - decay
            places = (torch.arange(steps) + 1) / steps
            mean = (weights * places).sum()
            spread = float((weights * (places - mean) ** 2).sum().sqrt())
            assert weights.sum() == pytest.approx(1, abs=1e-5) and spread == pytest.approx(length, rel=0.05)


def test_several_averages_are_kept_and_resumed(tmp_path: Path) -> None:
    def fresh() -> TrainingState:
        return TrainingState({"x": torch.nn.Parameter(torch.ones(3))}, 0.1, 0.0, lengths=(0.05, 0.13))

    def go(state: TrainingState, until: int) -> None:
        while state.step < until:
            state.update(state.parameters["x"].square().sum() * (state.step + 1), 1.0, samples=8)

    whole, cut, again = fresh(), fresh(), fresh()
    go(whole, 6)
    go(cut, 3)
    cut.save(tmp_path / "c.safetensors", {})
    assert again.load(tmp_path / "c.safetensors", {}) and again.seen == 24
    go(again, 6)
    for first, second in zip(whole.averages, again.averages, strict=True):
        assert torch.equal(first["x"], second["x"])
    assert not torch.equal(*[average["x"] for average in whole.averages])


def test_the_rate_without_an_end_rises_holds_and_falls_by_the_root() -> None:
    factors = [warmed_up_inverse_root(step, step * 8, 800, 10) for step in (0, 4, 9, 100, 400)]
    assert factors == pytest.approx([0.1, 0.5, 1.0, 1.0, 0.5])
