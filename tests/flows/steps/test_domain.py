"""A domain adapter comes first where classes or pictures are not those that the base knows, and the run says why."""

from __future__ import annotations

import json
from pathlib import Path
from types import SimpleNamespace

import numpy as np
import pytest

from augment.settings import AdaptSettings
from augment.training.adapter import DOMAIN
from evaluate.fidelity import domain as features
from evaluate.fidelity.domain import KnownDomain, save_domain
from flows.run.folder import RunFolder
from flows.run.records import Step, write_record
from flows.steps import adapt, domain
from flows.steps.domain import changed_classes, domain_reason


@pytest.fixture
def job(tmp_path: Path, monkeypatch) -> SimpleNamespace:
    known = KnownDomain(("mel", "nv"), np.zeros((2, 40)), np.eye(40)[:, :32], np.array([90, 90]), 1.0)
    save_domain(known, tmp_path)
    monkeypatch.setattr(domain, "real_digest", lambda job: "real")
    settings = SimpleNamespace(adapt=AdaptSettings())
    base = SimpleNamespace(path=tmp_path)
    folder = RunFolder(tmp_path / "run")
    return SimpleNamespace(folder=folder, settings=settings, pairs=lambda *a, **k: None, base=lambda: base)


def facts(job: SimpleNamespace, joint: bool = True) -> dict:
    knows = (job.folder.path.parent / features.FILE).exists()
    return {"joint": joint, "digest": "base", "knows": "digest" if knows else ""}


def set_domain(job: SimpleNamespace, value: str) -> None:
    job.settings = SimpleNamespace(adapt=AdaptSettings(domain=value))


def test_new_classes_ask_for_a_domain_adapter_and_are_named(job: SimpleNamespace) -> None:
    assert domain_reason(job, facts(job), ["mel", "df", "vasc"]) == "df, vasc are new to the base (it knows mel, nv)"
    assert domain_reason(job, facts(job), ["df"]) == "the base knows none of the classes df (it knows mel, nv)"


@pytest.mark.parametrize(("shift", "said"), [(0.0, None), (1.0, "the pictures lie 5.")])
def test_pictures_of_another_kind_ask_for_one(job: SimpleNamespace, monkeypatch, shift: float, said) -> None:
    random = np.random.default_rng(0)
    seen = {dx: random.normal(shift, 0.1, (50, 40)) for dx in ("mel", "nv")}
    monkeypatch.setattr(features, "features_by_class", lambda pairs: seen)
    reason = domain_reason(job, facts(job), ["mel", "nv"])
    assert reason is None if said is None else str(reason).startswith(said)
    monkeypatch.setattr(features, "features_by_class", lambda pairs: pytest.fail("looked at again"))
    assert domain_reason(job, facts(job), ["mel", "nv"]) == reason


def test_a_setting_forces_it_on_or_off_but_never_off_a_base_without_masks(job: SimpleNamespace) -> None:
    set_domain(job, "always")
    assert domain_reason(job, facts(job), ["mel"]) == "adapt.domain=always"
    set_domain(job, "never")
    assert domain_reason(job, facts(job), ["df"]) is None
    assert domain_reason(job, facts(job, joint=False), ["df"]) == "the base has no mask channels"


def test_a_base_that_does_not_say_what_it_knows_is_taken_as_it_is(job: SimpleNamespace) -> None:
    (job.folder.path.parent / features.FILE).unlink()
    assert domain_reason(job, facts(job), ["df"]) is None


def test_classes_that_changed_since_the_domain_stage_are_one_sentence(job: SimpleNamespace) -> None:
    assert changed_classes(job, ["mel"]) == []
    step = Step("adapt:domain", 1, {}, {})
    write_record(job.folder, step, [], {"classes": ["mel", "nv"]}, 1.0)
    assert changed_classes(job, ["nv", "mel"]) == []
    (said,) = changed_classes(job, ["mel", "nv", "df"])
    assert "the classes were mel, nv when it was trained and are now mel, nv, df; it is trained anew" in said
    assert json.loads((job.folder.records / "adapt-domain.json").read_text())["figures"]["classes"] == ["mel", "nv"]


def test_a_class_that_begins_at_the_domain_adapter_is_told_the_rank_that_it_keeps(monkeypatch) -> None:
    planned = [SimpleNamespace(name="adapt:domain", inputs={}), SimpleNamespace(name="adapt:df", inputs={DOMAIN: "d"})]
    facts_of = {"base_facts": {"joint": True}, "masked_counts": {"df": 20, "nv": 180}, "trained_classes": ["df"]}
    for name, value in {**facts_of, "steps": planned, "changed_classes": [], "domain_reason": "new"}.items():
        monkeypatch.setattr(adapt, name, lambda *a, value=value: value)
    monkeypatch.setattr(adapt, "unfinished_steps", lambda folder, steps: steps)
    settings = SimpleNamespace(adapt=AdaptSettings(), base=SimpleNamespace(path="folder"))
    told = adapt.announced(SimpleNamespace(folder=None, settings=settings))  # type: ignore[arg-type]
    assert "domain: 350 steps at most on 200 pairs, rank 16" in told[1]
    assert "df: 90 steps at most on 20 pairs, rank 16" in told[2]
