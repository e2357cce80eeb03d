"""What readers decided on a run's generated pairs, by reader and class, and how far they agree."""

from __future__ import annotations

import itertools
import statistics
from collections import Counter
from collections.abc import Collection, Mapping
from pathlib import Path
from typing import Any

from evaluate.pages.pictures import chosen_pictures
from evaluate.reading.agreement import cohen_kappa, fleiss_kappa
from evaluate.reading.decisions import Decision, Readings, read_decisions, standing
from evaluate.settings.gates import ReviewPolicy
from manifests.format.reading import Manifest, open_manifest
from manifests.png import pixel_digest


def review_summary(decisions: Path, synthetic: Path, policy: ReviewPolicy) -> dict[str, Any] | None:
    """The figures of a review, JSON-ready; None where nobody has decided anything.

    synthetic: folder of the generated pairs; without_a_pair: decisions on pictures that are not in it (any more).
    """
    readings = standing(read_decisions(decisions))
    if not readings:
        return None
    manifest = open_manifest(synthetic) if (synthetic / "manifest.json").exists() else None
    there = pairs_there(manifest, readings) if manifest else {}
    classes = _classes(manifest) if manifest else {}
    by_class: dict[str, list[Mapping[str, Decision]]] = {}
    for (pair_id, _), readers in there.items():
        by_class.setdefault(classes[pair_id], []).append(readers)
    return {
        "policy": policy,
        "pairs": len(there),
        "decisions": sum(map(len, there.values())),
        "without_a_pair": sum(len(readers) for key, readers in readings.items() if key not in there),
        "per_reader": {reader: _tally(own) for reader, own in sorted(_by_reader(there).items())},
        "per_class": {dx: _tally([one for readers in own for one in readers.values()], own)
                      for dx, own in sorted(by_class.items())},
        **agreement(there),
    }  # fmt: skip


def pairs_there(manifest: Manifest, readings: Readings) -> dict[tuple[str, str], Mapping[str, Decision]]:
    """The readings whose very picture is in the manifest."""
    wanted = {pair_id for pair_id, _ in readings}
    pictures = {row["pair_id"]: pixel_digest(row["image"]["bytes"]) for row in chosen_pictures(manifest, wanted)}
    return {key: readers for key, readers in readings.items() if pictures.get(key[0]) == key[1]}


def agreement(readings: Readings) -> dict[str, Any]:
    """Cohen's kappa of each two readers on the pairs that both have read, and Fleiss' kappa of all."""
    choices = {key: {reader: own.choice for reader, own in readers.items()} for key, readers in readings.items()}
    names = sorted({reader for readers in choices.values() for reader in readers})
    two = []
    for first, second in itertools.combinations(names, 2):
        both = [own for own in choices.values() if first in own and second in own]
        kappa = cohen_kappa([own[first] for own in both], [own[second] for own in both])
        two.append({"readers": [first, second], "pairs": len(both), "kappa": kappa})
    several = [list(own.values()) for own in choices.values() if len(own) > 1]
    return {"cohen": two, "fleiss": {"pairs": len(several), "kappa": fleiss_kappa(several)}}


def _by_reader(readings: Readings) -> dict[str, list[Decision]]:
    found: dict[str, list[Decision]] = {}
    for readers in readings.values():
        for reader, own in readers.items():
            found.setdefault(reader, []).append(own)
    return found


def _tally(decisions: Collection[Decision], pairs: Collection[Mapping[str, Decision]] = ()) -> dict[str, Any]:
    """Decisions counted, with reasons and the median time; of a class also how many pairs were read, and read alike."""
    refused = Counter(own.reason or "other" for own in decisions if own.choice == "refuse")
    seconds = [own.seconds for own in decisions if own.seconds is not None]
    found: dict[str, Any] = {
        "accepted": sum(own.choice == "accept" for own in decisions),
        "refused": refused.total(),
        "reasons": dict(sorted(refused.items())),
        "median_seconds": statistics.median(seconds) if seconds else None,
    }
    if pairs:
        split = sum(len({own.choice for own in readers.values()}) > 1 for readers in pairs)
        found |= {"pairs": len(pairs), "disagreed": split}
    return found


def _classes(manifest: Manifest) -> dict[str, str]:
    table = manifest.table(["pair_id", "dx"], accepted_only=False)
    return dict(zip(table["pair_id"].to_pylist(), table["dx"].to_pylist(), strict=True))
