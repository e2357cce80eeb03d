"""The study of explain's pages over HTTP and in a real browser, with scripted readers."""

from __future__ import annotations

import json
import shutil
from pathlib import Path

import pytest
from fastapi.testclient import TestClient

from evaluate.reading.page_study import PageStudy, open_page_study
from evaluate.reading.table import records
from flows.command_line import exit_code
from flows.run.folder import open_job
from flows.viewing.pages import pages_app
from flows.viewing.server import HEADER
from tests.evaluate.browser import Page, running_browser
from tests.evaluate.reading.scripted_pages import begun, case_of, script
from tests.flows.viewing.served import made_run, served
from tests.waiting import until

EVIL = "<b onclick=alert(1)>ann</b>"


@pytest.fixture(scope="module")
def run(phantom_folder: Path, tmp_path_factory: pytest.TempPathFactory) -> Path:
    """A finished run with a study of nine pictures that has begun."""
    folder = made_run(tmp_path_factory.mktemp("made") / "run", phantom_folder)
    begun(folder, open_job(folder).folder.page_study, seed=0)
    return folder


@pytest.fixture
def copied(run: Path, tmp_path: Path) -> Path:
    return Path(shutil.copytree(run, tmp_path / "run"))


def study_of(run: Path) -> PageStudy:
    return open_page_study(open_job(run).folder.page_study)


def client_of(study: PageStudy, reader: str = "") -> TestClient:
    app = pages_app(study, reader, {"accuracy": "30", "change": "35"}, [8000])
    return TestClient(app, base_url="http://127.0.0.1:8000", headers={HEADER: "1"})


def test_a_page_is_shown_after_the_first_answer_which_it_cannot_change(copied: Path) -> None:
    study = study_of(copied)
    client = client_of(study, EVIL)
    text = client.get("/").text
    assert EVIL not in text and not any(part in text for item in study.items for part in (item.pair_id, item.name))
    told = client.get("/progress", params={"reader": "gains"}).json()
    name = told["left"][0]
    assert (told["done"], told["begun"], len(told["left"])) == (0, False, 9)
    page = {"reader": "gains"}
    before, after = script(study, "gains", name)
    assert client.get(f"/pictures/{name}/page", params=page).status_code == 409
    assert client.post("/answers", json=after).status_code == 409
    for bad in ({"dx": "cat"}, {"picture": "other"}, {"reader": "a\nb"}, {"ratings": {"trust": 1}}):
        assert client.post("/answers", json={**before, **bad}).status_code == 409
    for bad in ({"confidence": 6}, {"confidence": None}, {"says": "mel"}, {"seconds": -1}):
        assert client.post("/answers", json={**before, **bad}).status_code == 422
    told = client.post("/answers", json=before).json()
    assert (told["done"], told["begun"], told["left"][0]) == (0, True, name)
    assert "Research use" in client.get(f"/pictures/{name}/page", params=page).text
    again = client.post("/answers", json={**before, "confidence": 5})
    assert again.status_code == 409 and "before its page stands" in again.json()["detail"]
    assert client.get(f"/pictures/{name}/page", params={"reader": "stays"}).status_code == 409
    # Another server goes on where this one was.
    other = client_of(study_of(copied))
    assert other.get("/progress", params=page).json()["begun"]
    told = other.post("/answers", json=after).json()
    assert (told["done"], told["begun"], name in told["left"]) == (1, False, False)
    assert other.get("/progress", params={"reader": "stays"}).json()["done"] == 0
    assert len(list(records(study.answers))) == 2


def test_other_sites_reach_neither_pictures_nor_answers(run: Path) -> None:
    study = study_of(run)
    client, path = client_of(study), f"/pictures/{study.items[0].name}"
    for headers in ({"host": "evil.example"}, {"origin": "http://evil.example"}):
        answer = client.get(path, headers=headers)
        assert answer.status_code == 403 and answer.headers["x-frame-options"] == "DENY"
    plain = TestClient(client.app, base_url="http://127.0.0.1:8000")
    assert plain.post("/answers", json={}).status_code == 403 and plain.get(path).status_code == 200


def test_two_scripted_readers_come_out_in_results_and_report_as_they_are(copied: Path) -> None:
    study = study_of(copied)
    client = client_of(study)
    assert exit_code(["review", str(copied), "--report"]) == 0
    for reader in ("gains", "follows"):
        for name in client.get("/progress", params={"reader": reader}).json()["left"]:
            for said in script(study, reader, name):
                assert client.post("/answers", json=said).status_code == 200
    assert exit_code(["review", str(copied), "--report"]) == 0
    found = json.loads((copied / "results.json").read_text())["page_study"]
    right = sum(case_of(study, item.name).says == item.dx for item in study.items)
    assert found["per_reader"]["gains"]["accuracy"]["change"]["to_right"] == 9
    assert found["per_reader"]["follows"]["accuracy"]["change"]["to_wrong"] == 9 - right
    report = (copied / "report.html").read_text()
    assert "2 readers of a study of explain&#39;s pages" in report and "Explain&#39;s pages by reader" in report


def test_wrong_usage_is_one_sentence_and_a_plan_needs_no_study(
    copied: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    def said(*arguments: str) -> tuple[int, str]:
        code = exit_code(["review", str(copied), "--pages", *arguments])
        shown = capsys.readouterr()
        return code, " ".join((shown.out + shown.err).split())

    assert said("--width", "0.2")[0] == 0
    assert "93 cases for accuracy" in said("--width", "0.2")[1] and "115 for its change" in said("--width", "0.2")[1]
    for wrong, sentence in (
        (("--blind",), "two studies"),
        (("--seed", "9"), "--seed 0"),
        (("--reader", "a;b"), "no semicolon"),
    ):
        code, words = said(*wrong)
        assert code == 2 and sentence in words and "Traceback" not in words
    assert exit_code(["review", str(copied / "nowhere"), "--pages"]) == 2
    study = open_job(copied).folder.page_study / "study.json"
    study.write_text("{}")
    assert said()[0] == 2


def text(page: Page, name: str) -> str:
    return str(page.evaluate(f"document.getElementById({name!r})?.innerText"))


def answered(page: Page, keys: str, done: str) -> None:
    """Presses the keys of one time of a case, and waits until the server has taken it."""
    for key in keys:
        page.press(key)
    page.press("Enter")
    until(lambda: page.evaluate(done), done)


def test_a_reader_answers_by_keys_over_a_kill_and_is_resumed_at_the_page(copied: Path, tmp_path: Path) -> None:
    study = study_of(copied)
    names = [item.name for item in study.order(EVIL)]
    keys = {dx: "QWE"[place] for place, dx in enumerate(study.classes)}
    paged, asked = "document.body?.classList.contains('paged')", "!document.getElementById('first').hidden"
    with running_browser(tmp_path / "profile") as browser:
        with served("review", str(copied), "--pages") as first:
            assert any("9 test pictures" in line and "points" in line for line in first.said)
            page = browser.open(first.address)
            until(lambda: page.evaluate("document.activeElement?.id === 'reader'"), "the question who reads")
            browser.command("Input.insertText", page.session, text=EVIL)
            page.press("Enter")
            until(lambda: page.evaluate(f"!document.getElementById('work').hidden && {asked}"), "the first picture")
            assert page.evaluate("document.querySelector('main b')") is None
            answered(page, "Q2", paged)
            assert page.evaluate("document.querySelectorAll('#page article .picture').length") > 6
            assert page.evaluate("document.querySelector('#page h1').innerText")
            answered(page, keys[study.items[0].dx] + "5432", f"{asked} && !{paged}")
            assert text(page, "read-text") == "1 of 9"
            answered(page, "W3", paged)
            first.process.kill()
            first.process.wait()
            answered(page, "W3555", "document.getElementById('message').innerText.includes('Nothing was written')")
            link = page.evaluate("location.search")
        with served("review", str(copied), "--pages") as second:
            page = browser.open(f"{second.address}/{link}", width=390, dark=True)
            until(lambda: page.evaluate(paged), "the page that was not answered")
            assert text(page, "read-text") == "1 of 9"
            # The last key is taken back and said anew.
            for key in ("W", "3", "5", "5", "1"):
                page.press(key)
            back = "new KeyboardEvent('keydown', {key: 'Backspace', bubbles: true})"
            page.evaluate(f"document.body.dispatchEvent({back})")
            answered(page, "4", f"{asked} && !{paged}")
            assert text(page, "read-text") == "2 of 9"
            assert page.evaluate("document.documentElement.scrollWidth <= innerWidth")
            elsewhere = [url for url in page.requests() if not url.startswith(("data:", "about:", second.address))]
            assert elsewhere == [] == page.complaints()
    readings = {own.case: own for own in study.readings()}
    assert set(readings) == set(names[:2]) and len(list(records(study.answers))) == 4
    assert readings[names[0]].before.confidence == 2 and readings[names[0]].ratings == {
        "trust": 4, "understanding": 3, "helpfulness": 2,
    }  # fmt: skip
    last = readings[names[1]]
    assert (last.before.dx, last.after.dx, last.ratings["helpfulness"]) == (study.classes[1], study.classes[1], 4)
    assert last.before.seconds is not None and last.after.seconds is not None and last.reader == EVIL
