"""The page of an explained image: what it says, what it must never say, and what a browser makes of it."""

from __future__ import annotations

import base64
import json
import re
from dataclasses import replace
from itertools import pairwise
from pathlib import Path

import pytest

from evaluate.diagnosis.interface import CAUTION, Candidate, Diagnosis
from evaluate.explain.explanation import to_json
from evaluate.explain.page import render_page
from evaluate.explain.views import headline
from manifests.png import DRAWN, png_text
from tests.evaluate.browser import Browser
from tests.evaluate.explain.explanation_fixture import RECORD, explanation_of


@pytest.fixture(scope="module")
def page() -> str:
    return render_page([explanation_of()], {}, RECORD)


def test_the_caution_stands_on_every_page_and_in_every_json(page: str) -> None:
    assert page.count(CAUTION) >= 2
    assert to_json(explanation_of())["caution"] == CAUTION


def test_generated_pictures_say_so_on_the_page_and_in_their_files(page: str) -> None:
    pictures = re.findall(r'<figure class="picture synthetic">.*?</figure>', page, re.DOTALL)
    assert len(pictures) == 3 * 4 + 3 * 2  # references; each personalised one twice
    for picture in pictures:
        assert '<p class="origin">synthetic</p>' in picture
        found = re.search(r'src="data:image/png;base64,([^"]+)"', picture)
        assert found and "ynthetic" in png_text(base64.b64decode(found[1]))["Disclaimer"]
    real = re.findall(r'<figure class="picture real">.*?</figure>', page, re.DOTALL)
    assert real and all("synthetic" not in picture for picture in real)


def test_a_drawn_picture_and_drawn_cases_are_called_drawn() -> None:
    given = explanation_of(origin="drawn")
    demos = [[replace(d, kind="drawn") if d.kind == "real" else d for d in one.demonstrations] for one in given.shown]
    shown = tuple(replace(one, demonstrations=tuple(own)) for one, own in zip(given.shown, demos, strict=True))
    page = render_page([replace(given, shown=shown)], {}, RECORD)
    assert "Nearest drawn cases" in page and "Nearest real cases" not in page
    assert 'class="picture drawn"' in page and 'class="picture real"' not in page and ">real</p>" not in page
    for picture in re.findall(r'<figure class="picture drawn">.*?base64,([^"]+)"', page, re.DOTALL):
        assert DRAWN.encode() in base64.b64decode(picture)


def test_every_picture_has_a_description(page: str) -> None:
    assert all(alt.strip() for alt in re.findall(r'<img[^>]* alt="([^"]*)"', page))
    assert len(re.findall(r"<img[^>]* alt=", page)) == page.count("<img")


def test_what_looks_like_no_lesion_is_not_headed_by_a_diagnosis() -> None:
    shown = render_page([explanation_of(none_of_these=True)], {}, RECORD)
    assert re.search(r"<h1>This looks like none of the lesions", shown)
    assert "must not be believed" in shown


def test_a_probable_malignant_diagnosis_is_named_beside_a_more_probable_benign_one() -> None:
    ranked = (Candidate("nv", 0.6), Candidate("mel", 0.3), Candidate("bkl", 0.1))
    assert headline(Diagnosis("classifier", ranked, True)).endswith("melanoma not ruled out: 30%")
    ranked = (Candidate("nv", 0.96), Candidate("bkl", 0.03), Candidate("mel", 0.01))
    assert headline(Diagnosis("classifier", ranked, True)) == "Most like melanocytic nevus (mole): 96%"


def test_without_a_lesion_the_page_says_so_and_shows_no_changed_picture() -> None:
    shown = render_page([explanation_of(with_lesion=False)], {}, RECORD)
    assert "No lesion was found" in shown and "Changed inside the outline" not in shown


def test_names_and_answers_cannot_become_markup() -> None:
    evil = "<img src=x onerror=alert(1)>\"'</script>"
    diagnosis = Diagnosis(
        "vlm", (Candidate("mel", None, (evil,)),), False, unlisted=((evil, None),), description=evil, problems=(evil,)
    )
    shown = render_page([explanation_of(name=evil, diagnosis=diagnosis)], {evil: evil}, RECORD)
    assert "<img src=x" not in shown and shown.count("</script>") == 1
    assert "nobody has checked that they come true" in shown


def test_the_same_explanation_gives_the_same_page(page: str) -> None:
    assert render_page([explanation_of()], {}, RECORD) == page


def test_the_json_stands_for_every_picture_and_holds_none() -> None:
    document = to_json(explanation_of())
    text = json.dumps(document, allow_nan=False)
    assert len(text) < 20_000 and len(document["demonstrations"]) == 24
    assert {demo["synthetic"] for demo in document["demonstrations"] if demo["kind"] != "real"} == {True}


@pytest.mark.parametrize(("width", "dark"), [(1280, False), (1280, True), (360, False)])
def test_the_page_fits_loads_nothing_and_complains_of_nothing(
    page: str, browser: Browser, tmp_path: Path, width: int, dark: bool
) -> None:
    file = tmp_path / "explain.html"
    file.write_text(page, encoding="utf-8")
    tab = browser.open(file, width=width, dark=dark)
    assert [address for address in tab.requests() if not address.startswith(("file:", "data:"))] == []
    assert tab.complaints() == []
    assert tab.evaluate("document.documentElement.scrollWidth") <= width
    assert tab.evaluate("[...document.images].every((image) => image.complete && image.naturalWidth > 0)")
    headings = tab.evaluate("[...document.querySelectorAll('h1,h2,h3')].map((h) => +h.tagName[1])")
    assert headings[0] == 1 and all(b - a <= 1 for a, b in pairwise(headings))


def test_the_reliability_plot_is_one_click_away(page: str, browser: Browser, tmp_path: Path) -> None:
    file = tmp_path / "explain.html"
    file.write_text(page, encoding="utf-8")
    tab = browser.open(file)
    tab.evaluate("document.querySelector('.reliability summary').click()")
    assert tab.evaluate("document.querySelector('.reliability svg').getBoundingClientRect().height") > 100
