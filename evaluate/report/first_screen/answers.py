"""The answers in words, for the page and for report.md alike."""

from __future__ import annotations

import re
from collections import Counter
from collections.abc import Iterator, Mapping, Sequence
from dataclasses import dataclass
from typing import Any

from evaluate.gates.reasons import gate_text
from evaluate.pages import wording
from evaluate.report.pairs.gallery import RunPairs
from evaluate.report.pairs.rejected import gate_of
from evaluate.sections.markdown import own_pairs
from evaluate.settings.arms import parse_arm

Results = Mapping[str, Any]
SPLITS = {"train": "to train", "validation": "to validate", "test": "to test"}
UNDERSTOOD = ("layout", "groups", "masks")
NO_COMMERCE = re.compile(r"\bNC\b|non[- ]?commercial", re.IGNORECASE)


@dataclass(frozen=True)
class Fact:
    """A short answer. kind: `gain` where it lets one go on, `harm` where it does not, `unknown` where one has to look,
    `none` where it only tells."""

    name: str
    value: str
    kind: str = "none"


@dataclass(frozen=True)
class ClassCounts:
    """Training pairs of a class: real ones, and those that were generated and accepted."""

    dx: str
    real: int
    generated: int

    @property
    def change(self) -> str:
        """`17 to 36`, or the one number where nothing was added."""
        before = wording.count(self.real)
        return f"{before} → {wording.count(self.real + self.generated)}" if self.generated else before


def came_in(results: Results, pairs: RunPairs) -> list[Fact]:
    """Layout, pairs, classes, splits, groups and masks of the run's own data."""
    data, told = results["data"], _understood(results)
    counts = data["real"]["counts"]
    by_class = {dx: sum(split.get(dx, 0) for split in counts.values()) for dx in data["classes"]}
    facts = [Fact("Layout", told["layout"])] if "layout" in told else []
    every = sum(sum(split.values()) for split in counts.values())
    amount = (
        f"{wording.times(every, f'{own_pairs(results)} pair')} of {wording.times(len(by_class), 'class', 'classes')}"
    )
    if unlabelled := every - sum(by_class.values()):
        amount += f", {wording.count(unlabelled)} of them without a class, for segmentation alone"
    facts.append(Fact("Pairs", amount))
    most_first = sorted(by_class.items(), key=lambda entry: -entry[1])
    facts.append(Fact("Classes", ", ".join(f"{dx} {wording.count(number)}" for dx, number in most_first)))
    split = ", ".join(f"{wording.count(sum(counts.get(name, {}).values()))} {use}" for name, use in SPLITS.items())
    if sizes := [sum(fold["counts"]["test"].values()) for fold in data.get("folds", ())]:
        each = " to ".join(wording.count(size) for size in sorted({min(sizes), max(sizes)}))
        split = f"{len(sizes)} folds of {each} pairs, each tested once"
    facts.append(Fact("Split", split))
    tested = wording.times(data["test_groups"], "independent group")
    facts.append(Fact("Groups", f"{told['groups']}; {tested} to test" if "groups" in told else f"{tested} to test"))
    header = pairs.real.header if pairs.real else {}
    masks = f"{wording.count(header['masks'])} of {wording.count(header['rows'])} pairs" if "masks" in header else ""
    if masks := told.get("masks", masks):
        facts.append(Fact("Masks", masks))
    return facts


def _understood(results: Results) -> dict[str, str]:
    """What prepare said of the data, by its first word: `layout isic2017: ...`, `groups: 240 by ...`."""
    told: dict[str, str] = {}
    for note in results["data"]["notes"]:
        said, _, rest = note.partition(": ")
        word, _, name = said.partition(" ")
        if word in UNDERSTOOD and rest:
            told.setdefault(word, name or rest)
    return told


def class_counts(results: Results) -> list[ClassCounts]:
    """Training pairs by class, before and after, most real ones first."""
    data = results["data"]
    real, made = data["real"]["counts"].get("train", {}), (data["synthetic"] or {}).get("counts", {})
    found = [ClassCounts(dx, real.get(dx, 0), made.get(dx, 0)) for dx in data["classes"]]
    return sorted(found, key=lambda counts: -counts.real)


def made_sentence(results: Results, pairs: RunPairs) -> str:
    """How many pairs were made, of how many candidates, and by the generators of parts."""
    in_parts = _made_in_parts(results)
    if results["data"]["synthetic"] is None:
        return " ".join([f"No pairs were generated{' for the whole training split' if in_parts else ''}.", *in_parts])
    accepted = sum(counts.generated for counts in class_counts(results))
    candidates = _candidates(results, pairs)
    of = f" of {wording.count(candidates)} candidates" if candidates else ""
    return " ".join([f"{wording.count(accepted)}{of} were accepted as training pairs.", *in_parts])


def _made_in_parts(results: Results) -> list[str]:
    """How many pairs the generator of each part of the training pairs, or of each fold, made for its own arms."""
    seen: dict[float, tuple[int, int]] = {}
    for arm in results["arms"]:
        part = parse_arm(arm["name"]).part
        if part != 1 or results["data"]["synthetic"] is None:
            own, made = (sum(arm["train_counts"][origin].values()) for origin in ("real", "synthetic"))
            most = seen.get(part, (0, 0))
            seen[part] = max(own, most[0]), max(made, most[1])
    whose = "The generator of each fold" if "folds" in results["data"] else "A generator"
    return [
        f"{whose} saw {wording.times(own, 'own pair')} and made {wording.times(made, 'training pair')}."
        for own, made in sorted(seen.values())
        if made
    ]


def _candidates(results: Results, pairs: RunPairs) -> int:
    tally = (results["gates"] or {}).get("all", {})
    return int(tally.get("candidates") or len(pairs.generated_rows))


def may_use(results: Results, pairs: RunPairs) -> list[Fact]:
    """Copies, licence, gates and readers: what stands between the generated pairs and their use."""
    if results["data"]["synthetic"] is None:
        return [_licence(pairs)]
    return [_copies(results), _licence(pairs), _gates(results, pairs), _review(results)]


def _copies(results: Results) -> Fact:
    copies = results["copies"] or {}
    accepted, everything = copies.get("accepted_copies"), copies.get("all", {})
    if accepted is None:
        return Fact("Copies", "not audited", "unknown")
    among = ""
    if everything.get("pairs"):
        found, looked_at = (wording.count(everything[key]) for key in ("copies", "pairs"))
        among = f"; {found} of {looked_at} candidates did"
    if accepted:
        return Fact("Copies", f"{wording.count(accepted)} accepted pairs copy a training picture{among}", "harm")
    return Fact("Copies", f"no accepted pair copies a training picture{among}", "gain")


def _licence(pairs: RunPairs) -> Fact:
    licences = pairs.real.header.get("licences", {}) if pairs.real else {}
    if not licences:
        return Fact("Licence", "unknown: the run's own pairs are not beside these results", "unknown")
    named = ", ".join(f"{name} ({wording.times(amount, 'pair')})" for name, amount in sorted(licences.items()))
    bound = any(NO_COMMERCE.search(name) for name in licences)
    unknown = any(name.lower() in ("", "unknown") for name in licences)
    rule = "not for commerce; " if bound else "ask the source; " if unknown else ""
    return Fact("Licence", f"{rule}{named}; generated pairs inherit it", "unknown" if rule else "gain")


def _gates(results: Results, pairs: RunPairs) -> Fact:
    gates = results["gates"]
    refused = gates.get("all", {}).get("rejected", {}) if gates else Counter(map(gate_of, pairs.rejected))
    candidates = _candidates(results, pairs)
    accepted = sum(counts.generated for counts in class_counts(results))
    if not candidates:
        return Fact("Gates", "nothing is known of them", "unknown")
    value = f"{wording.percent(accepted / candidates)} of candidates passed"
    if refused:
        worst = max(sorted(refused), key=lambda gate: refused[gate])
        value += f"; most failed {_lower(gate_text(worst).title)} ({wording.count(refused[worst])})"
    elif not gates:
        return Fact("Gates", "no gate judged the pairs", "unknown")
    unseen = ((gates or {}).get("judge") or {}).get("skipped", [])
    if classes := list(dict.fromkeys(one["dx"] for one in unseen)):
        return Fact("Gates", f"{value}; not every gate judged {wording.listed(classes)}", "unknown")
    return Fact("Gates", value, "gain")


def _review(results: Results) -> Fact:
    review = results.get("review")
    if not review or not review["pairs"]:
        return Fact("Review", "nobody has looked at the pairs yet (evenderm review)", "unknown")
    readers = review["per_reader"].values()
    refused = sum(own["refused"] for own in readers) / max(1, review["decisions"])
    who = wording.times(len(readers), "reader")
    what = wording.times(review["pairs"], "pair")
    return Fact("Review", f"{who} looked at {what} and refused {wording.percent(refused)}", "gain")


def _lower(title: str) -> str:
    return title[:1].lower() + title[1:]


def answers_in_markdown(results: Results, pairs: RunPairs, helped: Sequence[str]) -> Iterator[str]:
    """The four answers as lines of report.md; helped: the lines on whether it did."""
    yield f"**What came in.** {_told(came_in(results, pairs))}"
    changes = ", ".join(f"{counts.dx} {counts.change}" for counts in class_counts(results))
    yield f"**What was made.** {made_sentence(results, pairs)} Training pairs: {wording.markdown(changes)}."
    yield "**Did it help?**"
    yield "\n".join(helped)
    yield f"**May I use it?** {_told(may_use(results, pairs))}"


def _told(facts: Sequence[Fact]) -> str:
    return " ".join(f"{fact.name}: {wording.markdown(fact.value)}." for fact in facts)
