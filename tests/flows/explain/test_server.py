"""evenderm explain --serve: a real server on loopback and a real browser that drops, waits, slides and picks."""

from __future__ import annotations

import os
import re
import urllib.error
import urllib.request
from collections.abc import Iterator
from pathlib import Path

import pytest

from tests.evaluate.browser import Browser, Page
from tests.forked import ForkedCommand
from tests.waiting import PATIENCE_SECONDS, until

pytest_plugins = ["tests.flows.explain.explain_fixture"]

CAUTION = "Research use, not a diagnosis"


@pytest.fixture(scope="module")
def address(explained_run: Path, tmp_path_factory: pytest.TempPathFactory) -> Iterator[str]:
    """A running `evenderm explain --serve` on a free port of loopback."""
    printed = tmp_path_factory.mktemp("served") / "printed.txt"
    words = ["explain", "--run", str(explained_run), "--serve", "--port", "0"]
    process = ForkedCommand("flows.command_line", words, {**os.environ, "COLUMNS": "400"}, printed)
    try:
        said = until(lambda: re.search(r"http://127\.0\.0\.1:\d+", printed.read_text()), "an address", process)
        until(lambda: status_of(said[0]) == 200, "an answer of the server", process)
        yield said[0]
    finally:
        process.terminate()
        process.wait(PATIENCE_SECONDS)


def status_of(url: str, content: bytes | None = None, **headers: str) -> int:
    named = {name.replace("_", "-"): value for name, value in headers.items()}
    request = urllib.request.Request(url, content, named)
    try:
        with urllib.request.urlopen(request, timeout=60) as answer:
            return int(answer.status)
    except urllib.error.HTTPError as error:
        return error.code
    except urllib.error.URLError:
        return 0


def test_the_server_refuses_other_sites_wrong_kinds_and_too_much(address: str, lesion_photograph: Path) -> None:
    ours = {"X_Evenderm": "1", "Content_Type": "image/jpeg"}
    assert status_of(address, Host="evil.example") == 403
    assert status_of(address, Origin="http://evil.example") == 403
    assert status_of(f"{address}/images", lesion_photograph.read_bytes(), Content_Type="image/jpeg") == 403
    assert status_of(f"{address}/images", b"x", **{**ours, "Content_Type": "text/html"}) == 415
    assert status_of(f"{address}/images", b"no picture", **ours) == 422
    assert status_of(f"{address}/images", b"x" * 31_000_000, **ours) in (413, 0)
    assert status_of(f"{address}/images/nothing") == 404
    assert status_of(f"{address}/docs") == 404


def drop(page: Page, file: Path) -> None:
    """Gives a file to the page by its file field, as choosing or dropping one does."""
    page.browser.command("DOM.enable", page.session)
    root = page.browser.command("DOM.getDocument", page.session)["root"]["nodeId"]
    found = page.browser.command("DOM.querySelector", page.session, nodeId=root, selector="#file")
    page.browser.command("DOM.setFileInputFiles", page.session, files=[str(file)], nodeId=found["nodeId"])


def test_in_a_browser_one_drops_an_image_waits_moves_the_slider_and_picks_a_diagnosis(
    address: str, browser: Browser, lesion_photograph: Path, tmp_path: Path
) -> None:
    page = browser.open(address)
    assert CAUTION in page.evaluate("document.body.innerText")
    drop(page, lesion_photograph)
    until(lambda: page.evaluate("!document.getElementById('panel').hidden"), "the explanation")
    assert page.evaluate("document.querySelectorAll('.diagnosis').length") == 3
    assert CAUTION in page.evaluate("document.getElementById('result').innerText")
    source = "document.querySelector('[data-changed] img')?.src.length + ':' + " \
        "document.querySelector('[data-changed]')?.innerText"  # fmt: skip
    before = page.evaluate(source)
    page.evaluate(
        "(() => { const s = document.getElementById('strength'); s.value = 1; "
        "s.dispatchEvent(new Event('input')); s.dispatchEvent(new Event('change')); })()"
    )
    assert page.evaluate("document.getElementById('strength-value').textContent") == "1.00"
    if before != "undefined:undefined":
        until(lambda: "strength 1.00" in page.evaluate(source), "the picture of strength 1")
    page.evaluate(
        "(() => { const s = document.getElementById('diagnosis'); s.value = 'bkl'; "
        "s.dispatchEvent(new Event('change')); })()"
    )
    chosen = "document.querySelector('.diagnosis')?.dataset.dx"
    until(lambda: page.evaluate(chosen) == "bkl", "the chosen diagnosis")
    asked = [url for url in page.requests() if not url.startswith(("data:", "about:", address))]
    assert asked == [] and page.complaints() == []
    page.screenshot(tmp_path / "served.png")


def test_a_file_that_is_no_picture_is_said_on_the_page(address: str, browser: Browser, tmp_path: Path) -> None:
    (tmp_path / "broken.png").write_bytes(b"not a picture")
    page = browser.open(address, width=360)
    drop(page, tmp_path / "broken.png")
    until(lambda: page.evaluate("!document.getElementById('error').hidden"), "the error on the page")
    assert "not a readable picture" in page.evaluate("document.getElementById('error').innerText")
    assert page.evaluate("document.documentElement.scrollWidth") <= 360
