"""Fixtures of the generator's tests: drawn pairs and bases of a toy size."""

from __future__ import annotations

from pathlib import Path

import numpy as np
import pytest

from augment.base.folder import BaseFolder, check_base
from manifests.format.reading import open_manifest
from manifests.pairs import PairArrays
from tests.augment.base.tiny_bases import write_narrow_base, write_narrow_xl_base


@pytest.fixture(scope="session")
def drawn_pairs(real_manifest: Path) -> PairArrays:
    """The drawn training pairs at 64 px."""
    return open_manifest(real_manifest).arrays(split="train", size=64)


@pytest.fixture(scope="session")
def melanomas(drawn_pairs: PairArrays) -> PairArrays:
    """The drawn training pairs of one class, that class alone named."""
    chosen = drawn_pairs.of_class("mel")
    labels = np.zeros(len(chosen), dtype=np.int64)
    return PairArrays(chosen.pair_ids, chosen.images, chosen.masks, labels, ("mel",), chosen.group_ids)


@pytest.fixture(scope="session")
def sd2_base(tmp_path_factory: pytest.TempPathFactory) -> BaseFolder:
    """A narrow SD 2 with v-prediction and without mask channels."""
    return check_base(write_narrow_base(tmp_path_factory.mktemp("bases") / "sd2", "v_prediction"))


@pytest.fixture(scope="session")
def sd15_base(tmp_path_factory: pytest.TempPathFactory) -> BaseFolder:
    """A narrow SD 1.5 with epsilon prediction and without mask channels."""
    return check_base(write_narrow_base(tmp_path_factory.mktemp("bases") / "sd15", "epsilon", False))


@pytest.fixture(scope="session")
def xl_base(tmp_path_factory: pytest.TempPathFactory) -> BaseFolder:
    """A narrow Stable Diffusion XL."""
    return check_base(write_narrow_xl_base(tmp_path_factory.mktemp("bases") / "xl"))
