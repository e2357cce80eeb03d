"""The audits beside the benchmark: copies, fidelity, timings, and tables that other commands add."""

from __future__ import annotations

from collections.abc import Iterator, Mapping
from dataclasses import dataclass
from typing import Any

from evaluate.pages import wording
from evaluate.pages.tables import Cell, Table, leaves, number_cell, records_table, settings_table

_OWN_SECTIONS = {
    "schema_version", "environment", "settings", "data", "metrics", "verdicts", "arms", "comparisons",
    "fidelity", "copies", "gates", "timings", "pilot", "external", "review", "reader_study", "page_study",
}  # fmt: skip
_FIGURES = {"kid": "KID", "fid": "FID"} | {name: name for name in ("precision", "recall", "density", "coverage")}
_FIGURES |= {"vendi": "different pictures (Vendi)"}
_MASKS = {"area": "area", "compactness": "compactness", "row": "position down", "column": "position across"}


@dataclass(frozen=True)
class Audit:
    """What one audit found: sentences first, then tables."""

    sentences: tuple[str, ...]
    tables: tuple[Table, ...]


def copies_audit(copies: Mapping[str, Any] | None) -> Audit | None:
    """How many candidates are copies, beside held-out real pairs; None where nothing was audited."""
    if not copies:
        return None
    tables = [_similarities(copies)]
    recall = copies.get("calibration", {}).get("recall", {})
    if recall:
        rows = tuple((Cell(wording.title(kind)), number_cell(share, wording.percent)) for kind, share in recall.items())
        tables.append(Table("Planted copies that the audit finds, by what was done to them", ("kind", "found"), rows))
    return Audit(tuple(_copy_sentences(copies)), tuple(tables))


def _copy_sentences(copies: Mapping[str, Any]) -> Iterator[str]:
    everything, held_out = copies.get("all", {}), copies.get("held_out", {})
    if everything.get("pairs"):
        sentence = f"Copies of a real training pair: {_copies_among(everything, 'candidates')}"
        beside = f"; among real pairs that were held out, {_copies_among(held_out, 'pairs')}"
        yield sentence + (f"{beside}." if held_out.get("pairs") else ".")
    accepted = copies.get("accepted_copies")
    if accepted == 0:
        yield "No accepted pair is a copy."
    elif accepted:
        are = "is a copy" if accepted == 1 else "are copies"
        yield f"{wording.times(accepted, 'accepted pair')} {are}; train on them with care."
    calibration = copies.get("calibration", {})
    if "threshold" in copies:
        sentence = f"From a similarity of {wording.score(copies['threshold'])} on a pair counts as a copy"
        if "real_pairs" in calibration:
            sentence += (
                f": {calibration.get('real_above', 0)} of {wording.count(calibration['real_pairs'])} "
                "real pairs lie that near to a pair of another lesion"
            )
        yield f"{sentence}. Pairs are compared by {copies.get('descriptor', 'an unnamed descriptor')}."


def _copies_among(tally: Mapping[str, Any], things: str) -> str:
    rate = wording.percent(tally["rate"])
    return f"{wording.count(tally['copies'])} of {wording.count(tally['pairs'])} {things} ({rate})"


def _similarities(copies: Mapping[str, Any]) -> Table:
    named = {f"candidates, {dx}": tally for dx, tally in copies.get("per_class", {}).items()}
    named["candidates, all"] = copies.get("all", {})
    named["held-out real pairs"] = copies.get("held_out", {})
    rows = []
    for name, tally in named.items():
        quantiles = tally.get("quantiles") or {}
        found = (quantiles.get(key) for key in ("q50", "q95", "q100"))
        counts = (number_cell(tally.get("pairs")), number_cell(tally.get("copies")))
        rate = number_cell(tally.get("rate"), wording.percent)
        rows.append((Cell(name), *counts, rate, *(number_cell(value, wording.score) for value in found)))
    columns = ("pairs", "number", "copies", "rate", "median", "95th percentile", "largest")
    return Table("Similarity to the nearest real training pair", columns, tuple(rows))


def fidelity_audit(fidelity: Mapping[str, Any] | None) -> Audit | None:
    """How near generated pairs come to real ones, each figure with its floor; None where nothing was measured."""
    if not fidelity:
        return None
    sets = {"all": fidelity.get("all", {}), **fidelity.get("per_class", {})}
    return Audit(
        tuple(_fidelity_sentences(fidelity)),
        (
            _beside_floor("Images against real validation images, with the floor", sets, _FIGURES, None),
            _beside_floor("Masks: distance to real validation masks, with the floor", sets, _MASKS, "masks"),
        ),
    )


def _fidelity_sentences(fidelity: Mapping[str, Any]) -> Iterator[str]:
    yield (
        "A diagnostic, never a proof. The floor is the same figure of as many real training pairs: "
        "generated ones cannot be asked to come nearer. KID, FID and mask distances are better when "
        "small, the others when large."
    )
    known = {"extractor", "features", "kid_subset", "kid_subsets", "neighbours"}
    if known <= set(fidelity):
        yield (
            f"Features: {fidelity['extractor']}, {wording.count(fidelity['features'])} wide. KID over "
            f"{wording.count(fidelity['kid_subsets'])} subsets of at most "
            f"{wording.count(fidelity['kid_subset'])} images; precision, recall, density and coverage by "
            f"{fidelity['neighbours']} neighbours. FID is biased upwards when images are few: mind their number."
        )
    if fidelity.get("classes_in_all"):
        yield f"In all: {wording.listed(fidelity['classes_in_all'])}, mixed as in the validation split."


def _beside_floor(
    caption: str, sets: Mapping[str, Mapping[str, Any]], names: Mapping[str, str], part: str | None
) -> Table:
    """A row per class; each cell the generated figure and below it the floor."""
    rows = []
    for dx, found in sets.items():
        generated, floor = found.get("generated") or {}, found.get("floor") or {}
        reason = generated.get("reason") or floor.get("reason") or ""
        against = f"against {wording.count(generated.get('reference_images'))}"
        images = number_cell(generated.get("images"), note=against)
        made, least = ((side.get(part) or {}) if part else side for side in (generated, floor))
        cells = (_figure_and_floor(name, made, least) for name in names)
        rows.append((Cell(dx, note=reason), images, *cells))
    return Table(caption, ("class", "images", *names.values()), tuple(rows))


def _figure_and_floor(name: str, made: Mapping[str, Any], least: Mapping[str, Any]) -> Cell:
    value = made.get(name)
    deviation = made.get(f"{name}_deviation")
    text = _significant(value) + (f" ± {_significant(deviation)}" if deviation is not None else "")
    return Cell(text, value, f"floor {_significant(least.get(name))}", numeric=True)


def _significant(value: float | None) -> str:
    if value is None:
        return wording.UNKNOWN
    text = f"{value:.3f}" if abs(value) < 10 else f"{value:.1f}"
    return text.replace("-", wording.MINUS)


def timing_tables(timings: Mapping[str, Any]) -> list[Table]:
    """How long each step took; seconds as people say them."""
    rows = []
    for name, value in leaves(timings):
        seconds = isinstance(value, (int, float)) and not isinstance(value, bool)
        text = wording.duration(value) if seconds else wording.plain(value)
        rows.append((Cell(name), Cell(text, value if seconds else None, numeric=seconds)))
    if downstream := timings.get("downstream"):
        share = downstream.get("data", 0) / max(sum(downstream.values()), 1e-9)
        rows.append((Cell("downstream, share of data loading"), Cell(f"{share:.1%}", share, numeric=True)))
    return [Table("Time by step", ("step", "time"), tuple(rows))] if rows else []


def experiment_tables(results: Mapping[str, Any]) -> list[Table]:
    """Tables that other commands added to the results, such as an ablation."""
    tables = []
    for name, value in results.items():
        if name in _OWN_SECTIONS or not value:
            continue
        title = wording.title(name)
        if isinstance(value, list) and all(isinstance(row, Mapping) for row in value):
            tables.append(records_table(title, [dict(leaves(row)) for row in value]))
        elif isinstance(value, Mapping):
            tables.append(settings_table(title, value))
    return tables
