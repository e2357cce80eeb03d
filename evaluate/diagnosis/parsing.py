"""From what a language model wrote to a differential: read, mended or refused, and never taken at its word."""

from __future__ import annotations

import json
import math
import re
from collections.abc import Iterator, Mapping, Sequence
from dataclasses import dataclass, replace
from itertools import accumulate
from typing import Any

from evaluate.diagnosis.interface import Candidate, Diagnosis
from evaluate.diagnosis.synonyms import class_of, normalised
from evaluate.pages import wording
from manifests.errors import EvendermError

MOST_ENTRIES = 20
LONGEST = 40_000  # characters of an answer that are looked at
_LONGEST_MENDED = 8_000  # of them that are mended, in a time that may grow with their square
_DEEPEST_JSON = 12
_SLACK = 0.02  # rounding of what a model states
_LISTS = ("differential", "differential_diagnosis", "diagnoses", "candidates", "ranking", "predictions", "results")
_NAMES = ("dx", "diagnosis", "name", "condition", "disease", "label", "class", "code")
_CHANCES = ("probability", "prob", "p", "confidence", "likelihood", "score", "chance")
_FINDINGS = ("findings", "features", "evidence", "reasons", "signs")
_NOTHING = {"none", "no lesion", "no skin lesion", "not a skin lesion", "not skin", "normal skin", "healthy"}
_OTHER = {"other", "others", "unknown", "uncertain", "none of these", "none of the above"}
_LINE = re.compile(r"^\s*(?:\d{1,2}[.):]|[-*•])\s*(?P<name>[^:\n–—(]{2,80}?)\s*(?:[:–—(-]\s*(?P<rest>.*))?$")
_PERCENT = re.compile(r"(?P<figure>\d{1,3}(?:[.,]\d+)?)\s*%")


class Unreadable(EvendermError):
    """An answer in which no differential could be found."""


@dataclass(frozen=True)
class Entry:
    """One line of an answer, before it is mapped to the classes."""

    name: str
    probability: float | None
    findings: tuple[str, ...]


def parse_answer(text: str, classes: Sequence[str], diagnoser: str) -> Diagnosis:
    """The differential in `text`. Raises Unreadable where there is none.

    Names off the list are mapped by the synonym table or reported as they are. Whatever the text asks for, it only
    ever becomes names, figures and short plain sentences.
    """
    problems: list[str] = []
    description, entries = _from_json(text)
    if not entries:
        entries = _from_lines(text)
        if entries:
            problems.append("The model answered in prose; its list was read from the lines.")
    if not entries:
        raise Unreadable(f"the model's answer holds no differential ({plain_text(text, 80) or 'it is empty'})")
    if len(entries) > MOST_ENTRIES:
        problems.append(f"The model named {len(entries)} diagnoses; the first {MOST_ENTRIES} were read.")
        entries = entries[:MOST_ENTRIES]
    candidates, unlisted, nothing = _mapped(entries, classes)
    candidates, unlisted, note = _stated(candidates, unlisted)
    order = sorted(candidates, key=lambda c: -(c.probability if c.probability is not None else -1.0))
    if any(candidate.probability is None for candidate in candidates):
        order = candidates  # the model's own order is all there is
    return Diagnosis(
        diagnoser,
        tuple(order),
        calibrated=False,
        none_of_these=nothing,
        unlisted=tuple(unlisted),
        description=description,
        problems=(*problems, *note),
    )


def plain_text(value: Any, longest: int) -> str:
    """One line of text without control characters, addresses or markup, cut at `longest` characters."""
    text = value if isinstance(value, str) else ""
    text = re.sub(r"(?i)\b(?:https?|ftp|data|javascript)\s*:\S*|\bwww\.\S+", "[address removed]", text[:LONGEST])
    text = re.sub(r"<[^>\n]{0,400}>", " ", text)
    # Direction marks and other invisible characters can make a line read as something else.
    text = "".join(c if c.isprintable() else " " for c in text)
    text = " ".join(text.split())
    return text if len(text) <= longest else text[: longest - 1].rstrip() + "…"


def _from_json(text: str) -> tuple[str, list[Entry]]:
    for value in _json_values(text):
        listed = _list_in(value)
        entries = [entry for item in listed if (entry := _entry(item)) is not None]
        if entries:
            described = value.get("description") if isinstance(value, Mapping) else ""
            return plain_text(described, 300), entries
    return "", []


def _json_values(text: str) -> Iterator[Any]:
    """Objects and lists in `text`, fenced blocks first, mended where they are cut or written by hand."""
    text = re.sub(r"<think>.*?(</think>|$)", " ", text[:LONGEST], flags=re.DOTALL)
    for block in (*re.findall(r"```(?:json|JSON)?(.*?)(?:```|$)", text, flags=re.DOTALL), text):
        # What follows the last whole entry is prose, or was cut.
        found = re.search(r"[{\[](?:.*[}\]]|.*)", block, flags=re.DOTALL)
        if found and _depth(found[0]) <= _DEEPEST_JSON:
            value = _mended(found[0])
            yield value
            yield from value if isinstance(value, list) else ()


def _mended(text: str) -> Any:
    import json_repair

    try:
        return json.loads(text)
    except ValueError:
        return json_repair.loads(text[:_LONGEST_MENDED], skip_json_loads=True)


def _depth(text: str) -> int:
    steps = ((letter in "{[") - (letter in "}]") for letter in text)
    return max(accumulate(steps, lambda depth, step: max(0, depth + step)))


def _list_in(value: Any) -> list[Any]:
    """The list of diagnoses in a JSON value, whatever it is called."""
    if isinstance(value, list):
        return value
    if not isinstance(value, Mapping):
        return []
    folded = {normalised(str(key)).replace(" ", "_"): inner for key, inner in value.items()}
    for name in _LISTS:
        inner = folded.get(name)
        if isinstance(inner, list):
            return inner
        if isinstance(inner, Mapping):
            return _pairs(inner)
    if any(name in folded for name in _NAMES):
        return [value]
    chances = {key: inner for key, inner in value.items() if _chance(inner) is not None}
    return _pairs(chances)


def _pairs(mapping: Mapping[Any, Any]) -> list[Any]:
    return [
        {"dx": key, **inner} if isinstance(inner, Mapping) else {"dx": key, "probability": inner}
        for key, inner in mapping.items()
    ]


def _entry(item: Any) -> Entry | None:
    if isinstance(item, str):
        item = {"dx": item}
    if not isinstance(item, Mapping):
        return None
    folded = {normalised(str(key)): value for key, value in item.items()}
    names = [folded[key] for key in _NAMES if isinstance(folded.get(key), str) and str(folded[key]).strip()]
    if not names:
        return None
    # `other` says less than the name beside it.
    name = next((n for n in names if normalised(n) not in _OTHER), names[0])
    chance = next((c for key in _CHANCES if (c := _chance(folded.get(key))) is not None), None)
    findings = next((folded[key] for key in _FINDINGS if folded.get(key)), ())
    listed = [findings] if isinstance(findings, str) else findings if isinstance(findings, list) else []
    seen = [line for finding in listed[:6] if (line := plain_text(finding, 90))]
    return Entry(plain_text(name, 80), chance, tuple(seen))


def _chance(value: Any) -> float | None:
    """A probability as it was written: .7, 70, "70 %" or "0,7"; None for what is no figure."""
    if isinstance(value, bool) or value is None:
        return None
    if isinstance(value, str):
        found = re.fullmatch(r"\s*[~<>≈]?\s*(\d{1,3}(?:[.,]\d{1,8})?)\s*(%?)\s*", value)
        if not found:
            return None
        figure = float(found[1].replace(",", "."))
        return figure / 100 if found[2] else figure
    if not isinstance(value, int | float) or (isinstance(value, int) and abs(value) > 10**6):
        return None
    return float(value) if math.isfinite(value) and value >= 0 else None


def _from_lines(text: str) -> list[Entry]:
    """Entries of a numbered or dashed list, each with a percentage; prose without one is not guessed at."""
    entries = []
    for line in text[:LONGEST].splitlines()[:400]:
        found = _LINE.match(line.replace("**", ""))
        percent = _PERCENT.search(line)
        if found and percent:
            name = _PERCENT.sub("", found["name"]).strip(" ,;-")
            chance = float(percent["figure"].replace(",", ".")) / 100
            entries.append(Entry(plain_text(name, 80), chance, ()))
    return entries


def _mapped(
    entries: Sequence[Entry], classes: Sequence[str]
) -> tuple[list[Candidate], list[tuple[str, float | None]], bool]:
    """Candidates of the run's classes, what is off the list, and whether the first entry says `no lesion`."""
    candidates: dict[str, Candidate] = {}
    unlisted: list[tuple[str, float | None]] = []
    for entry in entries:
        dx = class_of(entry.name, classes)
        if dx is None:
            unlisted.append((entry.name, entry.probability))
        elif dx not in candidates:
            candidates[dx] = Candidate(dx, entry.probability, entry.findings)
        else:
            candidates[dx] = _merged(candidates[dx], entry)
    first = normalised(entries[0].name)
    return list(candidates.values()), unlisted, first in _NOTHING or first in _OTHER


def _merged(first: Candidate, second: Entry) -> Candidate:
    """Two entries of one class, such as two kinds of nevus: their probabilities add up."""
    stated = [p for p in (first.probability, second.probability) if p is not None]
    findings = tuple(dict.fromkeys((*first.findings, *second.findings)))[:6]
    return Candidate(first.dx, sum(stated) if stated else None, findings)


def _stated(
    candidates: list[Candidate], unlisted: list[tuple[str, float | None]]
) -> tuple[list[Candidate], list[tuple[str, float | None]], tuple[str, ...]]:
    """Probabilities that add up to 1 at most, and a sentence where they had to be scaled."""
    figures = [p for p in (*(c.probability for c in candidates), *(p for _, p in unlisted)) if p is not None]
    # Percentages without their sign.
    unit = 100.0 if any(1.0 + _SLACK < figure <= 100 for figure in figures) and max(figures) <= 100 else 1.0
    total = sum(figures) / unit
    divisor = unit * max(1.0, total)
    scaled = [replace(c, probability=_divided(c.probability, divisor)) for c in candidates]
    rest = [(name, _divided(stated, divisor)) for name, stated in unlisted]
    if total <= 1.0 + _SLACK:
        return scaled, rest, ()
    return scaled, rest, (f"The stated probabilities add up to {wording.percent(total)}; they were scaled to 100%.",)


def _divided(figure: float | None, divisor: float) -> float | None:
    return None if figure is None else round(figure / divisor, 4)
