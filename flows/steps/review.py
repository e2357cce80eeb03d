"""Readers of generated pairs as a gate of the synthesise step, and what they said in results and report."""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import asdict
from typing import TYPE_CHECKING, Any

from flows.run.folder import Job
from flows.run.records import amend_outputs, values_digest

if TYPE_CHECKING:
    from augment.synthesis import Readers

READ = ("review", "reader_study", "page_study")
"""What results.json says of readers."""


def readers_of(job: Job) -> Readers | None:
    """The gate that readers are, for pairs by id and image; None where `gates.review` is off."""
    from evaluate.reading.decisions import ReviewGate, read_decisions, standing

    policy = job.settings.gates.review
    if policy == "off":
        return None
    gate = ReviewGate(policy, standing(read_decisions(job.folder.decisions)))
    return lambda pair_id, image: asdict(gate(pair_id, image))


def readers_digest(job: Job) -> str:
    """What stands for the readers in digests; "" where `gates.review` is off, so that nothing depends on them."""
    from evaluate.reading.decisions import read_decisions, readings_digest, standing

    policy = job.settings.gates.review
    if policy == "off":
        return ""
    return values_digest(policy, readings_digest(standing(read_decisions(job.folder.decisions))))


def readings(job: Job) -> dict[str, Any]:
    """What results.json says of readers (READ), each where somebody read something."""
    from evaluate.reading.page_study import page_study_summary
    from evaluate.reading.review_summary import review_summary
    from evaluate.reading.study import study_summary

    found: dict[str, Any] = {
        "review": review_summary(job.folder.decisions, job.folder.synthetic, job.settings.gates.review),
        "reader_study": study_summary(job.folder.study),
        "page_study": page_study_summary(job.folder.page_study),
    }
    return {name: value for name, value in found.items() if value}


def add_readings(job: Job, found: Mapping[str, Any]) -> None:
    """Puts what readers said into the results of a finished benchmark, in place of what stood there."""
    from evaluate.results import read_results, write_results

    results = read_results(job.folder.results)
    kept = {name: value for name, value in results.items() if name not in READ}
    if {**kept, **found} != results:
        amend_outputs(job.folder, "benchmark", lambda: write_results(job.folder.results, {**kept, **found}))
