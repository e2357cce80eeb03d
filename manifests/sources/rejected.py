"""Rows that are set aside, each with its reason, and the file that lists them."""

from __future__ import annotations

import csv
import io
from collections.abc import Iterable
from dataclasses import dataclass

HEADER = ("pair_id", "check", "reason", "image")
# What a spreadsheet would take for a formula (OWASP, CSV injection).
_FORMULA_STARTS = ("=", "+", "-", "@", "\t", "\r", "\n", "|", "%")


@dataclass(frozen=True, slots=True)
class Rejection:
    """A row that does not enter the manifest.

    check: the short name under which the summary counts it; reason: a sentence for the user; image: the file
    as the source names it.
    """

    pair_id: str
    check: str
    reason: str
    image: str = ""


def harmless_cell(value: str) -> str:
    """`value` without control characters, and with an apostrophe before what a spreadsheet would run."""
    plain = "".join(c if c.isprintable() else " " for c in value)
    stripped = plain.lstrip()
    return "'" + plain if value[:1] in _FORMULA_STARTS or stripped[:1] in _FORMULA_STARTS else plain


def rejected_csv(rejected: Iterable[Rejection]) -> bytes:
    """CSV of what was set aside, sorted, in UTF-8, safe to open in a spreadsheet."""
    text = io.StringIO()
    writer = csv.writer(text, lineterminator="\n")
    writer.writerow(HEADER)
    for row in sorted(rejected, key=lambda r: (r.pair_id, r.check, r.reason)):
        writer.writerow([harmless_cell(v) for v in (row.pair_id, row.check, row.reason, row.image)])
    return text.getvalue().encode("utf-8", "backslashreplace")
