"""How many different pictures a set holds."""

from __future__ import annotations

import numpy as np
import pytest

from evaluate.fidelity.variety import vendi_score


def test_pictures_that_are_all_alike_count_as_one_and_unlike_ones_each() -> None:
    assert vendi_score(np.ones((7, 5))) == pytest.approx(1)
    assert vendi_score(np.eye(6)) == pytest.approx(6)
    assert vendi_score(np.repeat(np.eye(3), 4, axis=0)) == pytest.approx(3)
    assert vendi_score(np.zeros((0, 5))) == 0
