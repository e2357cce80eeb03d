"""Whether class adapters begin at a domain adapter, and why: what the base knows beside what the run has."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from typing import TYPE_CHECKING, Any

from flows.run.folder import Job
from flows.run.records import noted, read_record
from flows.steps.prepare import real_digest

if TYPE_CHECKING:
    from evaluate.fidelity.domain import KnownDomain

DOMAIN = "domain"


def domain_reason(job: Job, base: Mapping[str, Any], classes: Sequence[str]) -> str | None:
    """Why a domain adapter of all pairs is trained first; None where class adapters begin at the base itself.

    base: see `flows.steps.adapt.base_facts`; classes: those that get an adapter.
    """
    if not base["joint"]:
        return "the base has no mask channels"
    if job.settings.adapt.domain != "auto":
        return "adapt.domain=always" if job.settings.adapt.domain == "always" else None
    key = [real_digest(job), base["digest"], base["knows"], list(classes)]
    found = noted(job.folder.records / "domain.json", key, lambda: {"reason": _new_to_base(job, base, classes)})
    return None if found["reason"] is None else str(found["reason"])


def _new_to_base(job: Job, base: Mapping[str, Any], classes: Sequence[str]) -> str | None:
    """A sentence if classes or pictures are none of those that the base says it knows."""
    from evaluate.fidelity.domain import load_domain

    known = load_domain(job.base().path) if base["knows"] else None
    if known is None:
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
