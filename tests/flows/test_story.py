"""What a run says: each step's line in words, and how it looks on a terminal, in a pipe and with any text in it."""

from __future__ import annotations

import io
from typing import Any

import pytest
from rich.console import Console

from flows.engine.terminal import about, print_line, print_row
from flows.story import verdicts, words

NASTY = "ph2 \x1b[31mred\x1b[0m\r\n\x9b2J \u202e.jpg"
FOUND: dict[str, dict[str, Any]] = {
    "prepare": {
        "layout": "table",
        "classes": {"mel": 12, "nv": 40},
        "set_aside": {"duplicate": 2, "unreadable": 1},
        "understood": ["layout table: classes nv 40, mel 12 (from column dx)", "groups: 50 by lesion"],
    },
    "adapt": {"adapters": {"domain": {"pairs": 52, "steps": 180}, "mel": {"pairs": 12, "steps": 70}}},
    "gates": {
        "held_out": {"pairs": 52, "mean_dice": 0.871, "accuracy": 0.634, "recall": {"mel": 0.5, "nv": 0.7}},
        "left_out": [{"gate": "class_consistency", "dx": "mel", "reason": "12 training pairs, fewer than 20"}],
    },
    "synthesise": {
        "before": {"mel": 12, "nv": 40},
        "after": {"mel": 38, "nv": 40},
        "drawn": {"mel": 60},
        "accepted": {"mel": 26},
        "refused": {"mel": {"copy": 4, "mask_agreement": 30}},
    },
    "benchmark": {
        "verdicts": {"classification": "no difference", "segmentation": "gain"},
        "elsewhere": {"classification": {"harm": "harm on ph2", "gain": "gain on clinic"}},
        "sentences": ["classification: no difference: as it is.", "segmentation: gain: as it is."],
    },
}
SAID = {
    "prepare": "table: classes nv 40, mel 12 (from column dx); 52 pairs, 3 set aside (duplicate 2, unreadable 1)",
    "adapt": "domain 180 steps on 52 pairs, mel 70 steps on 12 pairs",
    "gates": "a judge of 52 real pairs; on held-out ones it finds masks with Dice 0.87 and tells 63% of classes; "
    "class consistency not judged for mel",
    "synthesise": "mel 12 to 38, nv 40; accepted 26 of 60 drawn, refused 34, most as mask beside lesion (30)",
    "benchmark": "classification: no difference, harm on ph2, gain on clinic; segmentation: gain",
}


@pytest.mark.parametrize("step", SAID)
def test_a_step_says_what_it_found(step: str) -> None:
    assert words(step, FOUND[step]) == SAID[step]


def test_the_last_lines_name_harm_and_gain_on_external_sets_beside_the_verdicts() -> None:
    assert verdicts(FOUND["benchmark"]) == [
        ("Classification: no difference: as it is.", "no difference"),
        ("Classification: harm on ph2.", "harm"),
        ("Classification: gain on clinic.", "gain"),
        ("Segmentation: gain: as it is.", "gain"),
    ]


def test_a_step_that_had_nothing_to_do_says_so_or_nothing() -> None:
    even = {"before": {"mel": 9, "nv": 9}, "after": {}, "drawn": {}, "accepted": {}, "refused": {}}
    assert words("synthesise", even) == "nothing to draw: mel 9, nv 9"
    assert words("report", {"page": "report.html"}) == words("gates", {}) == ""


def _screen(width: int, terminal: bool, **environment: str) -> tuple[io.StringIO, Console]:
    file = io.StringIO()
    told = {"TERM": "xterm-256color", **environment}
    return file, Console(file=file, width=width, force_terminal=terminal or None, _environ=told)


def test_a_line_stays_one_in_a_pipe_and_wraps_within_its_column_on_a_terminal() -> None:
    pipe, console = _screen(80, terminal=False)
    print_row(console, "synthesise", "12 min 5 s", SAID["synthesise"], "about 3 min left")
    assert pipe.getvalue() == f"synthesise  12 min 5 s  {SAID['synthesise']}; about 3 min left\n"
    screen, console = _screen(80, terminal=True, NO_COLOR="1")
    print_row(console, "synthesise", "12 min 5 s", SAID["synthesise"])
    first, second = screen.getvalue().replace("\x1b[1m", "").replace("\x1b[0m", "").splitlines()
    assert second.startswith(" " * 24 + "34, most") and len(first) == len(second) == 80


@pytest.mark.parametrize("terminal", [True, False])
def test_text_of_file_names_moves_no_cursor(terminal: bool) -> None:
    screen, console = _screen(200, terminal, NO_COLOR="1")
    print_line(console, NASTY)
    print_row(console, "prepare", "1.0 s", NASTY)
    told = screen.getvalue().replace("\x1b[1m", "").replace("\x1b[0m", "")  # the name of the step is bold
    assert told.count("\n") == 2 and not any(letter in told for letter in "\x1b\r\x9b\u202e")
    assert told.count(r"ph2 \x1b[31mred\x1b[0m\r\n\x9b2J \u202e.jpg") == 2


def test_a_guessed_time_is_no_finer_than_it_is() -> None:
    said = {-5: "10 s", 4: "10 s", 44: "40 s", 61: "1 min", 719: "12 min", 7500: "2 h 5 min"}
    assert [about(seconds) for seconds in said] == list(said.values())
