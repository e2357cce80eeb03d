"""Whether class adapters begin at a domain adapter, and why: what the base knows beside what the run has."""

from __future__ import annotations

import json
from collections.abc import Mapping, Sequence
from pathlib import Path
from typing import TYPE_CHECKING, Any

from flows.run.folder import Job
from flows.run.records import read_record
from flows.steps.prepare import real_digest
from manifests.files import write_json

if TYPE_CHECKING:
    from evaluate.fidelity.domain import KnownDomain

DOMAIN = "domain"


def domain_reason(job: Job, base: Mapping[str, Any], classes: Sequence[str]) -> str | None:
    """Why a domain adapter of all pairs is trained first; None where class adapters begin at the base itself.

    base: facts of the base, with its folder; classes: those that get an adapter.
    """
    if not base["joint"]:
        return "the base has no mask channels"
    if job.settings.adapt.domain != "auto":
        return "adapt.domain=always" if job.settings.adapt.domain == "always" else None
    note = job.folder.records / "domain.json"
    key = [real_digest(job), base["digest"], base.get("knows", ""), list(classes)]
    try:
        noted = json.loads(note.read_text(encoding="utf-8"))
        if noted["key"] == key:
            return None if noted["reason"] is None else str(noted["reason"])
    except (OSError, ValueError, KeyError, TypeError):
        pass
    reason = _looked_for(job, Path(base["path"]), classes)
    note.parent.mkdir(parents=True, exist_ok=True)
    write_json(note, {"key": key, "reason": reason})
    return reason


def _looked_for(job: Job, folder: Path, classes: Sequence[str]) -> str | None:
    from evaluate.fidelity.domain import load_domain

    known = load_domain(folder)
    if known is None:  # a base that does not say what it knows
        return None
    new = [dx for dx in classes if dx not in known.classes]
    if new:
        knows = ", ".join(known.classes)
        if len(new) == len(classes):
            return f"the base knows none of the classes {', '.join(new)} (it knows {knows})"
        return f"{', '.join(new)} {'is' if len(new) == 1 else 'are'} new to the base (it knows {knows})"
    return _far(job, known)


def _far(job: Job, known: KnownDomain) -> str | None:
    """A sentence if the pictures lie farther from the base's own than held-out pictures of its own data."""
    from evaluate.fidelity.domain import features_by_class

    distance = known.distance(features_by_class(job.pairs("train", masked=True)))
    if distance is None or distance <= known.limit:
        return None
    return (
        f"the pictures lie {distance:.2f} deviations from those that the base knows, held-out ones of its own data "
        f"at most {known.limit:.2f}"
    )


def changed_classes(job: Job, classes: Sequence[str]) -> list[str]:
    """A sentence if the run's classes are others than when its domain adapter was trained."""
    record = read_record(job.folder, f"adapt:{DOMAIN}")
    before = list(record.figures.get("classes", classes)) if record else list(classes)
    if set(before) == set(classes):
        return []
    return [
        f"{job.folder.adapter(DOMAIN)}: the classes were {', '.join(before)} when it was trained and are now "
        f"{', '.join(classes)}; it is trained anew, and every class adapter after it"
    ]
