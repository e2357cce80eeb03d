"""The page on which readers accept and refuse generated pairs; each decision is on the disk before the page goes on."""

from __future__ import annotations

import threading
from collections.abc import Mapping, Sequence
from datetime import UTC, datetime
from pathlib import Path
from typing import Any

import numpy as np
from fastapi import FastAPI
from fastapi.responses import HTMLResponse
from pydantic import BaseModel, ConfigDict, Field

from augment.balance import UNREAD
from evaluate.reading.decisions import (
    REASONS,
    REFUSED,
    Choice,
    Decision,
    append_decision,
    read_decisions,
    standing,
)
from evaluate.reading.table import reader_name
from flows.viewing.pairs import ACCEPTED, LivePairs, PairTable
from flows.viewing.server import guarded_app
from flows.viewing.walk import add_routes, page_of
from manifests.errors import BadInput

PASSED = (ACCEPTED, REFUSED, UNREAD)
"""What became of pairs that every other gate let pass."""
MINE = ("unread", "accept", "refuse")


class Wish(BaseModel):
    """A reader's decision on a pair of the page. version: of the pairs as the page shows them."""

    model_config = ConfigDict(extra="forbid")

    version: str = Field(max_length=200)
    number: int
    reader: str = Field(max_length=200)
    choice: Choice
    reason: str | None = Field(None, max_length=40)
    seconds: float | None = Field(None, ge=0, le=1e6, allow_inf_nan=False)


class ReviewDesk:
    """What readers have decided on the pairs of a run, kept in its table; other processes may add to it too."""

    def __init__(self, live: LivePairs, decisions: Path) -> None:
        self._live, self._decisions = live, decisions
        self._lock = threading.Lock()
        self._known: tuple[Any, dict[int, Mapping[str, Decision]]] = (None, {})

    def read(self, table: PairTable) -> Mapping[int, Mapping[str, Decision]]:
        """What stands, by number of the pair and reader; decisions on other pictures are left out."""
        size = self._decisions.stat().st_size if self._decisions.exists() else 0
        with self._lock:
            if self._known[0] != (table.version, size):
                readings = standing(read_decisions(self._decisions))
                numbers = table.numbers([pair_id for pair_id, _ in readings])
                there: dict[int, Mapping[str, Decision]] = {
                    numbers[pair_id]: readers
                    for (pair_id, picture), readers in readings.items()
                    if pair_id in numbers and picture == table.digest(numbers[pair_id])
                }
                self._known = ((table.version, size), there)
            return self._known[1]

    def among(self, table: PairTable, reader: str, mine: str) -> np.ndarray:
        """The pairs that are read, and of these what the reader has (not) said."""
        values, codes = table.kinds["gate"]
        good = np.isin(codes, [place for place, value in enumerate(values) if value in PASSED])
        if mine not in MINE:
            return good
        said = np.zeros(len(table), np.int8)
        for number, readers in self.read(table).items():
            if reader in readers:
                said[number] = MINE.index(readers[reader].choice)
        return good & (said == MINE.index(mine))

    def marks(self, table: PairTable, reader: str) -> dict[int, dict[str, Any]]:
        """What the reader said of each pair; what others said is not told, so that nobody is led by it."""
        own = {number: readers[reader] for number, readers in self.read(table).items() if reader in readers}
        return {number: {"mine": decision.choice, "reason": decision.reason} for number, decision in own.items()}

    def progress(self, reader: str) -> dict[str, Any]:
        """How far a reader is. Raises BadInput for a name that cannot be one."""
        name, table = reader_name(reader), self._live.table()
        there = np.flatnonzero(self.among(table, name, ""))
        marks = self.marks(table, name)
        own = [marks[int(number)]["mine"] for number in there if int(number) in marks]
        return {"reader": name, "pairs": len(there), "read": len(own), "refused": own.count("refuse")}

    def decide(self, wish: Wish) -> dict[str, Any]:
        """Writes a decision. Raises EvendermError where the pair is no longer the one that the page shows."""
        table, reader = self._live.table(wish.version), reader_name(wish.reader)
        if wish.choice == "refuse" and wish.reason not in REASONS:
            raise BadInput(f"a refusal needs one of the reasons {', '.join(REASONS)}")
        row = table.row(wish.number)
        if row["gate"] not in PASSED:
            raise BadInput(f"{row['id']}: only generated pairs that passed every other gate are reviewed")
        at = datetime.now(UTC).isoformat(timespec="seconds")
        reason = wish.reason if wish.choice == "refuse" else None
        picture = table.digest(wish.number)
        append_decision(self._decisions, Decision(row["id"], picture, reader, wish.choice, reason, wish.seconds, at))
        return self.progress(reader)


def review_app(
    live: LivePairs, desk: ReviewDesk, title: str, copies: Path, reader: str, ports: Sequence[int]
) -> FastAPI:
    """The routes of `evenderm review`. reader: whose name the page begins with."""
    app = guarded_app("Evenderm review", ports)

    @app.get("/")
    def page() -> HTMLResponse:
        return HTMLResponse(
            page_of(
                "walk.html.j2", "walk.js", title=title, reviewing=True, reasons=list(REASONS.items()), reader=reader
            )
        )

    @app.get("/progress")
    def progress(reader: str) -> dict[str, Any]:
        return desk.progress(reader)

    @app.post("/decisions")
    def decide(wish: Wish) -> dict[str, Any]:
        return desk.decide(wish)

    add_routes(app, live, copies, desk)
    return app
