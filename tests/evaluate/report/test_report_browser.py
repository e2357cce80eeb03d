"""The report as a browser shows it: whole, loading nothing, readable at every width and in the dark."""

from __future__ import annotations

from pathlib import Path

import pytest

from evaluate.report.page import write_report
from evaluate.results import write_results
from tests.evaluate.browser import Browser
from tests.evaluate.report.report_fixture import append_runs, external_set, write_run

# Visible texts whose contrast with what lies behind them (WCAG 2.1, 1.4.3) is below 4.5, or 3 where large.
CONTRAST = """
(() => {
  const parse = (text) => {
    const [r, g, b, a = 1] = text.match(/[\\d.]+/g).map(Number);
    return { rgb: [r, g, b], a };
  };
  const linear = (c) => (c <= 0.03928 ? c / 12.92 : ((c + 0.055) / 1.055) ** 2.4);
  const over = (top, below) => top.rgb.map((c, i) => c * top.a + below[i] * (1 - top.a));
  const behind = (element) => {
    const layers = [];
    for (let e = element; e; e = e.parentElement) layers.push(parse(getComputedStyle(e).backgroundColor));
    return layers.reverse().reduce((below, layer) => over(layer, below), [255, 255, 255]);
  };
  const luminance = (rgb) => {
    const [r, g, b] = rgb.map((c) => linear(c / 255));
    return 0.2126 * r + 0.7152 * g + 0.0722 * b;
  };
  const found = [];
  for (const element of document.querySelectorAll("body *")) {
    const words = [...element.childNodes].filter((n) => n.nodeType === 3 && n.textContent.trim());
    if (!words.length || !element.checkVisibility() || element.closest("script, .skip")) continue;
    const style = getComputedStyle(element);
    const ground = behind(element);
    const ink = over(parse(element.closest("svg") ? style.fill : style.color), ground);
    const [high, low] = [luminance(ink), luminance(ground)].sort((a, b) => b - a);
    const ratio = (high + 0.05) / (low + 0.05);
    const least = parseFloat(style.fontSize) >= 24 ? 3 : 4.5;
    if (ratio < least) found.push(`${element.tagName}.${element.className}: ${ratio.toFixed(2)}`);
  }
  return found;
})()
"""
UNFOLD = "for (const part of document.querySelectorAll('details')) part.open = true"
TOO_WIDE = "document.documentElement.scrollWidth - document.documentElement.clientWidth"


@pytest.fixture(scope="module")
def report(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """A report in which every section has content."""
    folder = tmp_path_factory.mktemp("page") / "run"
    folder.mkdir()
    results = write_run(folder, audited=True, extra_arms=("hybrid@0.5", "hybrid@2", "real%25", "hybrid%25"))
    write_results(folder / "results.json", results | {"external": [external_set(results, "clinic")]})
    append_runs(folder / "results.json", folder / "history.jsonl")
    write_report(folder)
    return folder / "report.html"


def test_the_page_opens_whole_without_a_complaint_or_a_request(browser: Browser, report: Path) -> None:
    page = browser.open(report)
    assert page.evaluate("document.querySelector('h1').innerText").startswith("Classification: no difference.")
    assert "For research, not for diagnosis" in page.evaluate("document.body.innerText")
    pictures = page.evaluate("[...document.images].map((image) => image.naturalWidth)")
    assert len(pictures) > 60 and min(pictures) > 0
    assert page.complaints() == []
    outside = [url for url in page.requests() if not url.startswith("data:")]
    assert outside == [report.resolve().as_uri()]


@pytest.mark.parametrize("width", [320, 360, 390, 768, 1280, 1920])
def test_the_page_never_scrolls_sideways(browser: Browser, report: Path, width: int) -> None:
    page = browser.open(report, width=width, height=800)
    assert page.evaluate("innerWidth") == width
    assert page.evaluate(TOO_WIDE) <= 0
    page.evaluate(UNFOLD)
    assert page.evaluate(TOO_WIDE) <= 0


def test_the_four_answers_need_no_scrolling(browser: Browser, report: Path) -> None:
    page = browser.open(report, width=1400, height=900)
    assert page.evaluate("document.getElementById('overview').getBoundingClientRect().bottom") <= 900


@pytest.mark.parametrize("dark", [False, True])
def test_every_text_stands_out_from_its_ground(browser: Browser, report: Path, dark: bool) -> None:
    page = browser.open(report, dark=dark)
    page.evaluate(UNFOLD)
    ground = page.evaluate("getComputedStyle(document.body).backgroundColor")
    assert (ground == "rgb(16, 20, 26)") is dark
    assert page.evaluate(CONTRAST) == []


def test_text_in_drawings_keeps_its_size_on_a_phone(browser: Browser, report: Path) -> None:
    page = browser.open(report, width=360)
    sizes = page.evaluate(
        "[...document.querySelectorAll('svg text')].filter((t) => t.checkVisibility())"
        ".map((t) => t.getBoundingClientRect().height)"
    )
    assert sizes and min(sizes) > 11


def test_a_table_sorts_from_the_keyboard(browser: Browser, report: Path) -> None:
    page = browser.open(report)
    table = "document.querySelector('#classification table.figures')"
    column = f"[...{table}.tBodies[0].rows].map((row) => row.cells[1].dataset.sort * 1)"
    heading = f"{table}.tHead.rows[0].cells[1]"
    before = page.evaluate(column)
    page.evaluate(f"{heading}.firstChild.focus()")
    page.press("Enter")
    assert page.evaluate(column) == sorted(before) != before
    page.press("Enter")
    assert page.evaluate(column) == sorted(before, reverse=True)
    assert page.evaluate(f"{heading}.getAttribute('aria-sort')") == "descending"


def choose(identity: str, value: str) -> str:
    """An expression that picks an option as a user does."""
    return (
        f"(() => {{ const e = document.getElementById('{identity}'); e.value = '{value}'; "
        "e.dispatchEvent(new Event('change')); })()"
    )


def test_the_gallery_sorts_filters_and_hides_outlines(browser: Browser, report: Path) -> None:
    page = browser.open(report)
    shown = "[...document.querySelectorAll('#gallery-cards > li')].filter((c) => !c.hidden)"
    assert page.evaluate(f"{shown}.length") == 12
    page.evaluate("document.getElementById('gallery-more').click()")
    everything = page.evaluate(f"{shown}.length")
    assert everything == 26
    for name, descending in (("agreement-up", False), ("agreement-down", True), ("similarity-down", True)):
        page.evaluate(choose("gallery-sort", name))
        scores = page.evaluate(f"{shown}.map((c) => c.dataset.{name.partition('-')[0]} * 1)")
        assert len(scores) == everything and scores == sorted(scores, reverse=descending)
    page.evaluate(choose("gallery-sort", "class"))
    classes = page.evaluate(f"{shown}.map((c) => c.dataset.class)")
    assert classes == sorted(classes) and len(set(classes)) == 2
    page.evaluate(choose("gallery-class", "mel"))
    assert set(page.evaluate(f"{shown}.map((c) => c.dataset.class)")) == {"mel"}
    assert page.evaluate("document.getElementById('gallery-status').innerText") == "12 of 12 pairs shown"
    visible = f"{shown}[0].querySelector('.outline').checkVisibility()"
    assert page.evaluate(visible)
    page.evaluate("document.getElementById('outlines').click()")
    assert not page.evaluate(visible)


def test_paper_shows_what_is_folded_on_the_screen(browser: Browser, report: Path) -> None:
    page = browser.open(report, dark=True)
    folded = "document.querySelectorAll('details:not([open])').length"
    before = page.evaluate(folded)
    assert before > 0
    page.evaluate("dispatchEvent(new Event('beforeprint'))")
    assert page.evaluate(folded) == 0
    page.evaluate("dispatchEvent(new Event('afterprint'))")
    assert page.evaluate(folded) == before
    browser.command("Emulation.setEmulatedMedia", page.session, media="print")
    assert page.evaluate("getComputedStyle(document.body).backgroundColor") == "rgb(255, 255, 255)"
    assert page.evaluate("getComputedStyle(document.body).color") == "rgb(27, 35, 48)"


def test_a_script_that_slips_into_the_page_does_not_run(browser: Browser, report: Path, tmp_path: Path) -> None:
    hostile = report.read_text().replace("<footer>", "<script>window.slipped = 1</script><footer>", 1)
    (tmp_path / "hostile.html").write_text(hostile)
    page = browser.open(tmp_path / "hostile.html")
    assert page.evaluate("window.slipped === undefined")
    assert page.complaints()
