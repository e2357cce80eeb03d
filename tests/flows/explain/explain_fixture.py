"""Fixtures that the tests of explain share: a run that is ready to explain, and a photograph."""

from __future__ import annotations

import shutil
from pathlib import Path

import numpy as np
import pytest
from PIL import Image

from flows.explain.explain import explainer_of
from flows.run.folder import RunFolder, new_job, open_job, save_job
from flows.settings import load_settings
from manifests.phantom.draw import draw_pair
from tests.shared import shared_folder

SMALL = [
    "explain.classifier.members=2", "explain.classifier.training.updates=6", "explain.classifier.training.size=64",
    "explain.classifier.training.batch_size=8", "explain.localiser.unet.updates=6", "sampling.steps=2",
    "explain.references=2", "explain.display=128", "explain.localiser.smallest=0.0001",
]  # fmt: skip


@pytest.fixture(scope="session")
def explained_run(
    real_manifest: Path, phantom_folder: Path, joint_base: Path, tmp_path_factory: pytest.TempPathFactory
) -> Path:
    """A run that explains; it has no adapters, so its base draws alone. A copy of each test process."""

    def make(out: Path) -> None:
        settings = load_settings("tiny", None, [*SMALL, f"base.path={joint_base}"])
        save_job(new_job(phantom_folder, out, "tiny", settings))
        shutil.copytree(real_manifest, RunFolder(out).real)
        explainer_of(open_job(out))

    made = shared_folder(tmp_path_factory, "explained", make)
    return Path(shutil.copytree(made, tmp_path_factory.mktemp("explain") / "run"))


@pytest.fixture(scope="session")
def lesion_photograph(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """A photograph of a drawn melanoma, wider than high, with a camera's name in its EXIF data."""
    pair = draw_pair("mel", 5, 1, 256)
    file = tmp_path_factory.mktemp("pictures") / "lesion.jpg"
    wide = np.concatenate([pair.image[:, :40], pair.image, pair.image[:, -40:]], axis=1)
    exif = Image.Exif()
    exif[0x010F] = "SECRET CAMERA"
    Image.fromarray(wide).save(file, exif=exif, quality=92)
    return file
