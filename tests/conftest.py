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

set_up_process()

PHANTOM_PAIRS = 60


@pytest.fixture(scope="session")
def phantom_folder(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """60 drawn pairs of three classes in the ISIC 2017 layout; not to be written to."""
    from manifests.phantom.draw import write_phantom

    folder = tmp_path_factory.mktemp("data") / "phantom"
    write_phantom(folder, PHANTOM_PAIRS, 0)
    return folder


@pytest.fixture(scope="session")
def real_manifest(phantom_folder: Path, tmp_path_factory: pytest.TempPathFactory) -> Path:
    """The real manifest of the drawn dataset at 128 px; not to be written to."""
    from manifests.prepare.prepare import prepare
    from manifests.settings import PrepareSettings

    out = tmp_path_factory.mktemp("manifest") / "real"
    prepare(phantom_folder, out, PrepareSettings(size=128))
    return out


@pytest.fixture(scope="session")
def prefect_api(tmp_path_factory: pytest.TempPathFactory) -> Iterator[str]:
    """A Prefect server on loopback, used by every flow of the tests that ask for it."""
    with prefect_server(tmp_path_factory.mktemp("prefect")) as address:
        wait_until_ready(address)
        yield address


@pytest.fixture(scope="session")
def isic_folder() -> Path:
    """The ISIC 2017 data that EVENDERM_ISIC names; tests that need them are left out where it names none."""
    named = os.environ.get("EVENDERM_ISIC", "")
    if not named or not Path(named).is_dir():
        pytest.skip("EVENDERM_ISIC names no folder")
    return Path(named)


def pytest_collection_modifyitems(config: pytest.Config, items: list[pytest.Item]) -> None:
    """Leaves the page tests out where there is no browser to open a page in; the summary says so."""
    from tests.evaluate.browser import has_chromium

    if has_chromium():
        return
    pages = [
        item for item in items if "browser" in getattr(item, "fixturenames", ()) or item.get_closest_marker("browser")
    ]
    config.stash[_LEFT_OUT] = len(pages)
    items[:] = [item for item in items if item not in pages]
    config.hook.pytest_deselected(items=pages)


def pytest_terminal_summary(terminalreporter: pytest.TerminalReporter, config: pytest.Config) -> None:
    """Says what was not tested."""
    if number := config.stash.get(_LEFT_OUT, 0):
        terminalreporter.write_line(f"{number} page tests were left out: no Chromium on PATH")


_LEFT_OUT = pytest.StashKey[int]()
