"""evenderm explain --serve: a real server on loopback and a real browser that drops, waits, slides and picks."""

from __future__ import annotations

import os
import re
import subprocess
import sys
import urllib.error
import urllib.request
from collections.abc import Iterator
from pathlib import Path

import pytest

from tests.evaluate.browser import Browser, Page, running_browser
from tests.waiting import until

pytest_plugins = ["tests.flows.explain.explain_fixture"]

CAUTION = "Research use, not a diagnosis"


@pytest.fixture(scope="module")
def address(explained_run: Path) -> Iterator[str]:
    """A running `evenderm explain --serve` on a free port of loopback."""
    arguments = ["explain", "--run", str(explained_run), "--serve", "--port", "0"]
    process = subprocess.Popen(
        [sys.executable, "-m", "flows.command_line", *arguments],
        stdout=subprocess.PIPE,
        text=True,
        env={**os.environ, "PYTHONUNBUFFERED": "1", "COLUMNS": "400"},
    )
    try:
        assert process.stdout is not None
        found = re.search(r"http://127\.0\.0\.1:\d+", process.stdout.readline())
        assert found, "the server did not say where it listens"
        until(lambda: status_of(found[0]) == 200, "an answer of the server")
        yield found[0]
    finally:
        process.terminate()
        process.wait(30)


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


def opened(browser: Browser, url: str, width: int = 1280) -> Page:
    target = browser.command("Target.createTarget", url="about:blank")["targetId"]
    session = str(browser.command("Target.attachToTarget", targetId=target, flatten=True)["sessionId"])
    page = Page(browser, session)
    for domain in ("Page", "Runtime", "Log", "Network", "DOM"):
        browser.command(f"{domain}.enable", session)
    page.resize(width, 900)
    browser.command("Page.navigate", session, url=url)
    browser.wait_for("Page.loadEventFired", session)
    return page


def drop(page: Page, file: Path) -> None:
    """Gives a file to the page by its file field, as choosing or dropping one does."""
    root = page.browser.command("DOM.getDocument", page.session)["root"]["nodeId"]
    found = page.browser.command("DOM.querySelector", page.session, nodeId=root, selector="#file")
    page.browser.command("DOM.setFileInputFiles", page.session, files=[str(file)], nodeId=found["nodeId"])


@pytest.mark.browser
def test_in_a_browser_one_drops_an_image_waits_moves_the_slider_and_picks_a_diagnosis(
    address: str, lesion_photograph: Path, tmp_path: Path
) -> None:
    with running_browser(tmp_path / "profile") as browser:
        page = opened(browser, address)
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


@pytest.mark.browser
def test_a_file_that_is_no_picture_is_said_on_the_page(address: str, tmp_path: Path) -> None:
    (tmp_path / "broken.png").write_bytes(b"not a picture")
    with running_browser(tmp_path / "profile") as browser:
        page = opened(browser, address, width=360)
        drop(page, tmp_path / "broken.png")
        until(lambda: page.evaluate("!document.getElementById('error').hidden"), "the error on the page")
        assert "not a readable picture" in page.evaluate("document.getElementById('error').innerText")
        assert page.evaluate("document.documentElement.scrollWidth") <= 360
