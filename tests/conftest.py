"""Fixtures that several test folders share: a drawn dataset, its manifest, a Prefect server."""

from __future__ import annotations

import os

# Before torch is loaded: the tests share two processors with each other and with whatever else is running.
os.environ |= {"OMP_NUM_THREADS": "1", "OMP_WAIT_POLICY": "PASSIVE"}

from collections.abc import Iterator
from pathlib import Path

import pytest

from flows.engine.process import set_up_process
from flows.orchestration.server import prefect_server, wait_until_ready
from tests.evaluate.browser import Browser, has_chromium, running_browser
from tests.shared import shared_folder

set_up_process()

PHANTOM_PAIRS = 60
TESTS = Path(__file__).parent
# What `make check` leaves out, by the fixtures that a test uses, whether itself or through others.
NEEDS = {
    "slow": {"tiny_run", "explained_run"},
    "server": {"prefect_api", "served", "address", "s3_server"},
    "browser": {"browser"},
}
# Makes what others share; the other process is elsewhere meanwhile, or it would wait for it.
FIRST = TESTS / "flows/test_whole_run.py"
# Files and folders whose tests train, draw or try very many cases without one of these fixtures.
SLOW = (
    "augment/test_adapters.py",
    "augment/test_sampling.py",
    "augment/training",
    "evaluate/benchmark/test_benchmark.py",
    "evaluate/copies",
    "evaluate/downstream/test_training.py",
    "evaluate/explain/test_demonstrations.py",
    "evaluate/gates",
    "evaluate/studies/test_quality.py",
    "flows/engine/test_process.py",
    "flows/explain",
    "flows/orchestration/test_engines.py",
    "flows/steps/test_gates.py",
    "flows/studies",
    "flows/test_other_bases.py",
    "manifests/prepare/test_hostile_input.py",
    "real",
)


@pytest.fixture(scope="session")
def phantom_folder(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """60 drawn pairs of three classes in the ISIC 2017 layout; not to be written to."""
    from manifests.phantom.draw import write_phantom

    return shared_folder(tmp_path_factory, "phantom", lambda folder: write_phantom(folder, PHANTOM_PAIRS, 0))


@pytest.fixture(scope="session")
def real_manifest(phantom_folder: Path, tmp_path_factory: pytest.TempPathFactory) -> Path:
    """The real manifest of the drawn dataset at 128 px; not to be written to."""
    from manifests.prepare.prepare import prepare
    from manifests.settings import PrepareSettings

    def make(out: Path) -> None:
        prepare(phantom_folder, out, PrepareSettings(size=128))

    return shared_folder(tmp_path_factory, "real", make)


@pytest.fixture(scope="session")
def joint_base(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """A narrow, untrained joint base at 128 px, for what does not depend on good pictures; not to be written to."""
    from tests.augment.base.tiny_bases import write_narrow_joint_base

    return shared_folder(tmp_path_factory, "joint", write_narrow_joint_base)


@pytest.fixture(scope="session")
def prefect_api(tmp_path_factory: pytest.TempPathFactory) -> Iterator[str]:
    """A Prefect server on loopback, used by every flow of the tests that ask for it."""
    with prefect_server(tmp_path_factory.mktemp("prefect")) as address:
        wait_until_ready(address)
        yield address


@pytest.fixture(scope="session")
def browser(tmp_path_factory: pytest.TempPathFactory) -> Iterator[Browser]:
    """A headless browser, in which every test opens tabs of its own."""
    with running_browser(tmp_path_factory.mktemp("browser") / "profile") as running:
        yield running


@pytest.fixture(scope="session")
def isic_folder() -> Path:
    """The ISIC 2017 data that EVENDERM_ISIC names."""
    return Path(os.environ["EVENDERM_ISIC"])


@pytest.hookimpl(tryfirst=True)
def pytest_collection_modifyitems(config: pytest.Config, items: list[pytest.Item]) -> None:
    """Marks tests by what they need, and leaves out, and says so, what has no browser or no photographs here."""
    slow = [TESTS / place for place in SLOW]
    assert all(place.exists() for place in slow), "a file or folder of SLOW is gone"
    for item in items:
        used = set(getattr(item, "fixturenames", ()))
        for marker in (name for name, fixtures in NEEDS.items() if used & fixtures):
            item.add_marker(marker)
        if any(item.path.is_relative_to(place) for place in slow):
            item.add_marker("slow")
    left_out: dict[str, list[pytest.Item]] = {}
    if not has_chromium():
        left_out["no Chromium on PATH"] = [item for item in items if item.get_closest_marker("browser")]
    if not Path(os.environ.get("EVENDERM_ISIC") or "nowhere").is_dir():
        photographs = [item for item in items if "isic_folder" in getattr(item, "fixturenames", ())]
        left_out["EVENDERM_ISIC names no folder of photographs"] = photographs
    config.stash[_LEFT_OUT] = {why: len(own) for why, own in left_out.items() if own}
    gone = [item for own in left_out.values() for item in own]
    items[:] = sorted((item for item in items if item not in gone), key=lambda item: item.path != FIRST)
    config.hook.pytest_deselected(items=gone)


def pytest_terminal_summary(terminalreporter: pytest.TerminalReporter, config: pytest.Config) -> None:
    """Says what was not tested."""
    for why, number in config.stash.get(_LEFT_OUT, {}).items():
        terminalreporter.write_line(f"{number} tests were left out: {why}")


_LEFT_OUT = pytest.StashKey[dict[str, int]]()
