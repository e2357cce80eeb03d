"""The pages of a reader study: pictures explained one by one with the run's own models."""

from __future__ import annotations

from collections.abc import Sequence
from pathlib import Path

from flows.engine.process import limit_threads
from flows.engine.watch import Watch
from flows.explain.explain import explain_chunk, watched_explainer
from flows.explain.sources import ImageSource
from flows.run.folder import Job
from flows.run.lock import run_lock
from manifests.errors import BadInput


def explain_for_study(job: Job, watch: Watch, pictures: Sequence[Path], out: Path) -> list[tuple[str, str | None]]:
    """A page for each picture in `out`: its file, and the class that it names first, None where it names none.

    Pages that are there, of the same inputs, are kept. Raises BadInput for a picture that cannot be explained.
    """
    limit_threads(job.settings.engine.threads)
    pages: list[tuple[str, str | None]] = []
    # A run that goes on meanwhile would make pages of two states of its models.
    with run_lock(job.folder.lock, watch.say), watch.bars(), watch.task("pages of the study", "pictures") as progress:
        for number, picture in enumerate(pictures):
            source = [ImageSource(picture.name, picture)]
            record = explain_chunk(job, number, source, out, load=lambda: watched_explainer(job, watch))
            for reason in record["failures"].values():
                raise BadInput(reason)
            (row,) = record["rows"]
            named = not row["none_of_these"] and row["candidates"]
            pages.append((record["page"], row["candidates"][0]["dx"] if named else None))
            progress(number + 1, len(pictures))
    return pages
