"""What readers do, in a real browser: by keys, over a killed server, to the figures in the report."""

from __future__ import annotations

import shutil
from pathlib import Path
from urllib.request import urlopen

import pytest

from evaluate.reading.decisions import read_decisions, standing
from evaluate.reading.study import open_study
from flows.command_line import exit_code
from flows.run.folder import open_job
from tests.evaluate.browser import Browser, Page, running_browser
from tests.flows.viewing.served import made_run, served
from tests.waiting import until

EVIL = "<b onclick=alert(1)>ann</b>"


@pytest.fixture(scope="module")
def browser(tmp_path_factory: pytest.TempPathFactory):
    with running_browser(tmp_path_factory.mktemp("profile")) as found:
        yield found


@pytest.fixture(scope="module")
def run(phantom_folder: Path, tmp_path_factory: pytest.TempPathFactory) -> Path:
    return made_run(tmp_path_factory.mktemp("made") / "run", phantom_folder)


def text(page: Page, name: str) -> str:
    return str(page.evaluate(f"document.getElementById({name!r})?.innerText"))


def appears(page: Page, expression: str, what: str) -> None:
    """Waits until a JavaScript expression is true."""
    until(lambda: page.evaluate(expression), what)


def says(page: Page, name: str, words: str) -> None:
    """Waits until an element of the page says the words."""
    until(lambda: words in text(page, name), words)


def type_in(page: Page, words: str) -> None:
    page.browser.command("Input.insertText", page.session, text=words)


def quiet(page: Page, address: str) -> bool:
    """Whether the page fits, asked nobody else, and complained of nothing but the server that was killed."""
    elsewhere = [url for url in page.requests() if not url.startswith(("data:", "about:", address))]
    complaints = [line for line in page.complaints() if "ERR_CONNECTION_REFUSED" not in line]
    return elsewhere == complaints == [] and page.evaluate("document.documentElement.scrollWidth <= innerWidth")


def test_pairs_are_reviewed_by_keys_over_a_kill_and_counted_in_the_report(
    run: Path, browser: Browser, tmp_path: Path
) -> None:
    out = Path(shutil.copytree(run, tmp_path / "run"))
    decisions = open_job(out).folder.decisions
    with served("review", str(out)) as first:
        page = browser.open(first.address)
        appears(page, "document.activeElement?.id === 'reader'", "the question who reads")
        type_in(page, EVIL)
        page.press("Enter")
        appears(page, "document.querySelectorAll('.decide button').length === 9", "the first pair")
        assert page.evaluate("document.querySelector('#who b, .topbar b') === null")
        for key, read in (("a", 1), ("2", 2), ("a", 3), ("u", 2), ("1", 3)):
            page.press(key)
            says(page, "read-text", f"{read} of")
        link = page.evaluate("location.search")
        assert quiet(page, first.address)
        first.process.kill()
        first.process.wait()
        page.press("a")
        says(page, "message", "Nothing was written")
    own = [readers[EVIL] for readers in standing(read_decisions(decisions)).values()]
    assert [(one.choice, one.reason) for one in own] == [("accept", None), ("refuse", "mask"), ("refuse", "class")]
    assert all(one.seconds is not None for one in own)
    with served("review", str(out)) as second:
        page = browser.open(second.address + "/" + link, width=390, dark=True)
        says(page, "read-text", "3 of")
        appears(page, "document.querySelector('.decide') !== null", "the next pair")
        assert quiet(page, second.address)
    assert exit_code(["review", str(out), "--report"]) == 0
    report = browser.open(out / "report.html")
    assert "made 3 decisions on 3 generated pairs" in text(report, "readers")
    assert EVIL in text(report, "readers") and quiet(report, "file:")


def test_one_walks_through_pairs_by_keys_and_a_link_leads_back(run: Path, browser: Browser) -> None:
    with served("view", str(run)) as server:
        page = browser.open(server.address)
        appears(page, "document.querySelectorAll('.tile').length > 4", "the pairs")
        page.press("g")
        until(lambda: text(page, "filter-text") != "", "the filter")
        page.press("x")
        until(lambda: text(page, "filter-text") == "", "the filters to be cleared")
        for key in ("ArrowRight", "ArrowRight", "Enter"):
            page.press(key)
        appears(page, "document.querySelectorAll('.shown img').length === 4", "the pair and its nearest")
        page.press("o")
        until(lambda: "outlines=false" in page.evaluate("location.search"), "the outlines to go")
        shown = page.evaluate("document.querySelector('.detail h2').innerText")
        again = browser.open(server.address + "/" + page.evaluate("location.search"), width=390)
        until(lambda: again.evaluate("document.querySelector('.detail h2')?.innerText") == shown, "the same pair")
        assert again.evaluate("document.body.classList.contains('hide-outlines')")
        again.press("/")
        type_in(again, "on")
        until(lambda: "find=on" in again.evaluate("location.search"), "the words to be looked for as they are")
        page.press("?")
        appears(page, "document.getElementById('keys').open", "the keys")
        assert quiet(page, server.address) and quiet(again, server.address)


def test_a_scripted_reader_of_the_blind_study_is_resumed_and_measured(
    run: Path, browser: Browser, tmp_path: Path
) -> None:
    out = Path(shutil.copytree(run, tmp_path / "run"))
    with served("review", str(out), "--blind", "--masks", "--pictures", "4", "--reader", "ann") as server:
        assert any("4 pictures" in line and "points" in line for line in server.said)
        study = open_study(open_job(out).folder.study)
        truth = [item.generated for item in study.order("ann")]
        source = until(lambda: urlopen(server.address).read().decode(), "the page")
        assert 'id="first" hidden' in source  # Keys before the first picture would be lost.
        page = browser.open(server.address)
        for place, generated in enumerate(truth):
            if place == 2:
                page = browser.open(server.address)
            says(page, "read-text", f"{place} of 4")
            appears(page, "!document.getElementById('first').hidden", "the questions")
            for key in ("ArrowRight" if generated else "ArrowLeft", "5", "W", "Enter"):
                page.press(key)
            appears(page, "!document.getElementById('second').hidden", "the outline")
            page.press("Y")
            page.press("Enter")
        appears(page, "!document.getElementById('end').hidden", "the end")
        assert quiet(page, server.address)
    assert exit_code(["review", str(out), "--report"]) == 0
    report = browser.open(out / "report.html")
    assert "told real from generated in 100.0% (51.0 to 100.0) of 4 answers" in text(report, "readers")
    assert len(study.answered()) == 4 and all(answer.fits for answer in study.answered())
