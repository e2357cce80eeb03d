"""What each gate did with every candidate, for results.json."""

from __future__ import annotations

from collections.abc import Mapping
from typing import TYPE_CHECKING, Any

import numpy as np

from evaluate.gates.judge import GATES

if TYPE_CHECKING:
    import pyarrow as pa


def gates_report(synthetic: pa.Table, judge: Mapping[str, Any] | None = None) -> dict[str, Any]:
    """What each gate did, by class and in all, from the table of every candidate. JSON-ready.

    judge: the header of the judge, from which the thresholds and what the judge itself is worth are told beside.
    """
    rows = synthetic.select(["dx", "accepted", "reject_reason", *(f"score_{gate}" for gate in GATES)]).to_pylist()
    by_class = {dx: [row for row in rows if row["dx"] == dx] for dx in sorted({row["dx"] for row in rows})}
    return {
        "all": _tally(rows),
        "per_class": {dx: _tally(own) for dx, own in by_class.items()},
        "judge": {name: judge[name] for name in ("thresholds", "skipped", "held_out")} if judge else None,
    }


def _tally(rows: list[dict[str, Any]]) -> dict[str, Any]:
    rejected = [row["reject_reason"] or "unstated" for row in rows if not row["accepted"]]
    accepted = len(rows) - len(rejected)
    scores = {gate: [row[f"score_{gate}"] for row in rows if row[f"score_{gate}"] is not None] for gate in GATES}
    return {
        "candidates": len(rows),
        "accepted": accepted,
        "acceptance": accepted / len(rows) if rows else None,
        "rejected": {reason: rejected.count(reason) for reason in sorted(set(rejected))},
        "scores": {
            gate: {f"q{q:02d}": float(np.quantile(values, q / 100)) for q in (5, 25, 50, 75, 95)} if values else None
            for gate, values in scores.items()
        },
    }
