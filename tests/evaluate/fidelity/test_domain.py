"""Pictures of another kind are told from those that a base knows by how far held-out ones of its own data lie."""

from __future__ import annotations

from pathlib import Path

import numpy as np
import pytest

from evaluate.fidelity import domain
from evaluate.fidelity.domain import KnownDomain, known_domain, load_domain, save_domain
from manifests.errors import BadInput

OFFSETS = {"mel": 0.0, "nv": 1.0}


def pictures(seed: int, count: int, shift: float = 0.0) -> dict[str, np.ndarray]:
    """Features of two classes, 40 wide."""
    random = np.random.default_rng(seed)
    return {dx: random.normal(offset + shift, 1, (count, 40)) for dx, offset in OFFSETS.items()}


@pytest.fixture(scope="module")
def known() -> KnownDomain:
    with pytest.MonkeyPatch.context() as patch:
        patch.setattr(domain, "features_by_class", lambda seed: pictures(seed, 100 if seed == 0 else 30))
        return known_domain(0, 1)  # type: ignore[arg-type]


def test_pictures_of_the_same_data_lie_within_the_limit_and_others_beyond(known: KnownDomain) -> None:
    assert (known.distance(pictures(2, 60)) or 0) <= known.limit
    assert (known.distance(pictures(3, 60, shift=1.0)) or 0) > 2 * known.limit


def test_classes_that_the_base_does_not_know_or_with_few_pictures_do_not_count(known: KnownDomain) -> None:
    far = np.full((20, 40), 9.0)
    assert known.distance({"df": far}) is None and known.distance({"mel": far[:7]}) is None
    assert known.distance({**pictures(2, 60), "df": far}) == known.distance(pictures(2, 60))


def test_a_base_of_which_nothing_was_held_out_does_not_say_what_it_knows(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(domain, "features_by_class", lambda seed: {} if seed else pictures(seed, 100))
    with pytest.raises(BadInput, match="no pair is held out"):
        known_domain(0, 1)  # type: ignore[arg-type]


def test_what_a_base_knows_is_kept_beside_it(known: KnownDomain, tmp_path: Path) -> None:
    assert load_domain(tmp_path) is None
    save_domain(known, tmp_path)
    read = load_domain(tmp_path)
    assert read is not None and read.classes == ("mel", "nv")
    assert read.distance(pictures(3, 60, 1.0)) == pytest.approx(known.distance(pictures(3, 60, 1.0)), rel=0.01)
    (tmp_path / "domain.safetensors").write_bytes(b"none")
    with pytest.raises(BadInput, match=r"domain\.json: cannot be read"):
        load_domain(tmp_path)


def test_the_shipped_base_says_what_it_knows() -> None:
    from augment.base.folder import SHIPPED

    shipped = load_domain(SHIPPED)
    assert shipped is not None and shipped.classes == ("bkl", "mel", "nv") and 0 < shipped.limit < 2
