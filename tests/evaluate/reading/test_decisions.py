"""Decisions of readers: what survives, what stands, and what a gate makes of it."""

from __future__ import annotations

import os
import signal
import subprocess
import sys
from concurrent.futures import ThreadPoolExecutor
from pathlib import Path

import numpy as np
import pytest

from evaluate.reading.decisions import (
    Choice,
    Decision,
    ReviewGate,
    append_decision,
    judged,
    read_decisions,
    readings_digest,
    standing,
)
from evaluate.reading.table import reader_name
from evaluate.settings.gates import ReviewPolicy
from manifests.errors import BadInput
from manifests.png import encode_png, pixel_digest, with_padding, with_png_text

EVIL = "<img src=x onerror=alert(1)>"


def decision(choice: Choice, reader: str = "ann", pair: str = "p1", picture: str = "d1") -> Decision:
    return Decision(pair, picture, reader, choice)


def test_a_line_that_a_kill_cut_short_is_left_out_and_swallows_none_after_it(tmp_path: Path) -> None:
    path = tmp_path / "review" / "decisions.jsonl"
    append_decision(path, decision("accept"))
    with path.open("ab") as file:
        file.write(b'{"pair_id": "p2", "pic')
    append_decision(path, decision("refuse", EVIL))
    with path.open("ab") as file:
        file.write(b'[1]\n{"pair_id": 3, "picture": "x", "reader": "y", "choice": "accept"}\n{"pair')
    assert [(own.reader, own.choice) for own in read_decisions(path)] == [("ann", "accept"), (EVIL, "refuse")]
    assert read_decisions(tmp_path / "none.jsonl") == []


def test_what_was_decided_before_a_sigkill_is_there(tmp_path: Path) -> None:
    path = tmp_path / "decisions.jsonl"
    code = (
        "import sys, pathlib; from evaluate.reading.table import append_record\n"
        "for n in range(10**6):\n"
        f"    append_record(pathlib.Path({str(path)!r}), {{'n': n}}); print(n, flush=True)"
    )
    process = subprocess.Popen([sys.executable, "-c", code], stdout=subprocess.PIPE, text=True)
    assert process.stdout is not None
    said = [int(process.stdout.readline()) for _ in range(20)][-1]
    os.kill(process.pid, signal.SIGKILL)
    process.communicate()
    assert len(path.read_bytes().splitlines()) > said


def test_readers_at_once_on_one_pair_keep_both_decisions(tmp_path: Path) -> None:
    path = tmp_path / "decisions.jsonl"
    with ThreadPoolExecutor(8) as pool:
        list(pool.map(lambda n: append_decision(path, decision("accept", f"reader {n}")), range(40)))
    assert len(standing(read_decisions(path))["p1", "d1"]) == 40


def test_the_last_decision_of_a_reader_stands_and_undo_takes_it_back() -> None:
    said = [decision("refuse"), decision("accept"), decision("refuse", "bob"), decision("accept", "bob", picture="d2")]
    found = standing(said)
    assert {reader: own.choice for reader, own in found["p1", "d1"].items()} == {"ann": "accept", "bob": "refuse"}
    undone = standing([*said, decision("undo", "bob"), decision("undo")])
    assert list(undone) == [("p1", "d2")]
    assert readings_digest(found) != readings_digest(undone)
    assert readings_digest(standing(reversed(said))) != readings_digest(found)


@pytest.mark.parametrize(
    ("policy", "choices", "review", "reason"),
    [
        ("off", "rr", None, None),
        ("any", "", None, None),
        ("any", "aaar", "refused", "review"),
        ("majority", "", None, None),
        ("majority", "aar", "accepted", None),
        ("majority", "ar", "refused", "review"),
        ("required", "", None, "unread"),
        ("required", "a", "accepted", None),
        ("required", "rra", "refused", "review"),
    ],
)
def test_what_readers_say_together(policy: ReviewPolicy, choices: str, review: str | None, reason: str | None) -> None:
    readers = {str(n): decision("accept" if own == "a" else "refuse", str(n)) for n, own in enumerate(choices)}
    verdict = judged(policy, readers)
    assert (verdict.review, verdict.reject_reason) == (review, reason)
    assert (verdict.reviewed_by is not None) == (review is not None)


def test_a_decision_belongs_to_its_picture_and_not_to_another_one_of_the_same_id() -> None:
    image = np.random.default_rng(0).integers(0, 255, (16, 16, 3), dtype=np.uint8)
    seen = with_padding(with_png_text(encode_png(image), {"Source": "manifest 1"}), 2000)
    assert len(seen) == 2000 and pixel_digest(seen) == pixel_digest(encode_png(image))
    gate = ReviewGate("any", standing([decision("refuse", picture=pixel_digest(seen))]))
    assert gate("p1", image).reject_reason == "review"
    assert gate("p1", 255 - image).reject_reason is None and gate("p2", image).reject_reason is None


def test_names_that_cannot_stand_in_a_table_are_refused_and_markup_is_only_text() -> None:
    assert reader_name(f" {EVIL} ") == EVIL
    for name in ("", "   ", "x" * 61, "a\nb", "a;b"):
        with pytest.raises(BadInput, match="reader's name"):
            reader_name(name)
