"""What the gates rejected: how many of which class, and examples of each reason."""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass
from typing import Any

from evaluate.gates.reasons import GATE_TEXTS, GateText, gate_text
from evaluate.pages import wording
from evaluate.pages.pictures import Picture, Row, thumbnails
from evaluate.pages.tables import Cell, Table, number_cell
from evaluate.report.pairs.gallery import Beside, RunPairs, beside_nearest, evenly, generated_alt

EXAMPLES = 12


@dataclass(frozen=True)
class RejectedByGate:
    """What one gate rejected, with examples: pictures with what each scored, or pairs beside what they copy."""

    title: str
    meaning: str
    amount: str
    examples: tuple[tuple[Picture, str], ...] = ()
    beside: tuple[Beside, ...] = ()


def rejected_by_gate(pairs: RunPairs) -> list[RejectedByGate]:
    """The rejected pairs by gate, most first."""
    by_gate: dict[str, list[Row]] = {}
    for row in pairs.rejected:
        by_gate.setdefault(gate_of(row), []).append(row)
    found = []
    for gate in sorted(by_gate, key=lambda gate: (-len(by_gate[gate]), gate)):
        known = gate_text(gate)
        chosen = evenly(sorted(by_gate[gate], key=_class_and_id), EXAMPLES)
        labels = (known.title, known.meaning, wording.times(len(by_gate[gate]), "pair"))
        if gate == "copy":
            found.append(RejectedByGate(*labels, beside=tuple(beside_nearest(chosen, pairs))))
        else:
            found.append(RejectedByGate(*labels, examples=_examples(known, chosen, pairs)))
    return found


def _examples(gate: GateText, rows: list[Row], pairs: RunPairs) -> tuple[tuple[Picture, str], ...]:
    if pairs.synthetic is None:
        return ()
    alts = {row["pair_id"]: f"{generated_alt(row)}, rejected: {gate.title}" for row in rows}
    shown = thumbnails(pairs.synthetic, alts)
    return tuple((shown[row["pair_id"]], _caption(gate, row)) for row in rows)


def gates_table(gates: Mapping[str, Any] | None, pairs: RunPairs) -> Table | None:
    """Candidates by class: accepted, and rejected by each gate; None where no pair was generated.

    gates: what the results say of it; the manifest's rows are counted where they say nothing.
    """
    fates = _counts_in_results(gates) if gates else _counts_in_manifest(pairs)
    if not fates:
        return None
    met = {fate for of_class in fates.values() for fate in of_class} - {"accepted"}
    columns = [gate for gate in GATE_TEXTS if gate in met] + sorted(met - set(GATE_TEXTS))
    rows = []
    for dx, of_class in sorted(fates.items()):
        total, accepted = sum(of_class.values()), of_class.get("accepted", 0)
        rate = number_cell(accepted / total, wording.percent)
        counts = (number_cell(of_class.get(gate, 0)) for gate in columns)
        rows.append((Cell(dx), number_cell(total), number_cell(accepted), rate, *counts))
    titles = ("class", "candidates", "accepted", "rate", *(gate_text(gate).title for gate in columns))
    return Table("Candidates by class, and which gate rejected them", titles, tuple(rows))


def _counts_in_results(gates: Mapping[str, Any]) -> dict[str, dict[str, int]]:
    tallies = gates.get("per_class", {})
    return {dx: {"accepted": t["accepted"], **t["rejected"]} for dx, t in tallies.items() if t["candidates"]}


def _counts_in_manifest(pairs: RunPairs) -> dict[str, dict[str, int]]:
    fates: dict[str, dict[str, int]] = {}
    for row in pairs.generated_rows:
        fate = "accepted" if row["accepted"] else gate_of(row)
        of_class = fates.setdefault(row["dx"], {})
        of_class[fate] = of_class.get(fate, 0) + 1
    return fates


def scores_table(gates: Mapping[str, Any] | None) -> Table | None:
    """What the candidates of each class scored; None where the results do not say it."""
    tallies = (gates or {}).get("per_class", {})
    names = list(dict.fromkeys(name for tally in tallies.values() for name in tally.get("scores", {})))
    if not names:
        return None
    rows = tuple(
        (Cell(dx), *(_quantiles(tally.get("scores", {}).get(name)) for name in names))
        for dx, tally in sorted(tallies.items())
    )
    caption = "Scores of all candidates: median, and 5th to 95th percentile"
    return Table(caption, ("class", *(gate_text(name).title for name in names)), rows)


def _quantiles(found: Mapping[str, float] | None) -> Cell:
    if not found:
        return Cell(wording.UNKNOWN, numeric=True)
    spread = f"{wording.score(found['q05'])} to {wording.score(found['q95'])}"
    return number_cell(found["q50"], wording.score, spread)


def thresholds_table(gates: Mapping[str, Any] | None) -> Table | None:
    """From which score on a candidate of each class passes; None where the results do not say it."""
    limits = ((gates or {}).get("judge") or {}).get("thresholds", {})
    classes = list(dict.fromkeys(dx for by_dx in limits.values() for dx in by_dx))
    if not classes:
        return None
    rows = []
    for dx in classes:
        rows.append((Cell(dx), *(number_cell(by_dx.get(dx), wording.score) for by_dx in limits.values())))
    caption = "Scores from which a candidate passes, set on held-out real pairs"
    return Table(caption, ("class", *(gate_text(name).title for name in limits)), tuple(rows))


def unseen_sentences(gates: Mapping[str, Any] | None) -> list[str]:
    """Which class passed which gate without being judged, and why."""
    skipped = ((gates or {}).get("judge") or {}).get("skipped", [])
    return [f"{gate_text(one['gate']).title} did not judge {one['dx']}: {one['reason']}." for one in skipped]


def gate_of(row: Mapping[str, Any]) -> str:
    """The gate that rejected a row; what follows a colon in the reason is detail."""
    return str(row["reject_reason"] or "unknown").partition(":")[0].strip()


def _class_and_id(row: Row) -> tuple[str, str]:
    return row["dx"], row["pair_id"]


def _caption(gate: GateText, row: Row) -> str:
    score = row[gate.score]
    return row["dx"] if score is None else f"{row['dx']}, {gate.score_word} {wording.score(score)}"
