"""The explain flow: a folder or a manifest, page by page, in Prefect's own lists."""

from __future__ import annotations

from collections.abc import Sequence
from pathlib import Path
from typing import Any

from prefect import flow, runtime, task
from prefect.cache_policies import NO_CACHE
from prefect.settings import PREFECT_FLOWS_HEARTBEAT_FREQUENCY, temporary_settings

from flows.engine.watch import Watch
from flows.explain.explain import explain_chunk, finish, watched_explainer
from flows.explain.sources import ImageSource, chunks, find_sources
from flows.orchestration.form import Overrides, PagesPath, Places, RunPath, Split
from flows.orchestration.server import prefect_server, wait_until_ready
from flows.run.folder import Job, open_job
from flows.run.lock import run_lock
from manifests.errors import EvendermError


@task(task_run_name="explain page {number}", cache_policy=NO_CACHE, persist_result=False)
def explain_page(
    job: Job, number: int, sources: Sequence[ImageSource], out: Path, wanted: Sequence[str]
) -> dict[str, Any]:
    """One page of images; see flows.explain.explain.explain_chunk."""
    watch = Watch(out / "log.jsonl")
    with watch.task(f"explain page {number + 1}", "images") as progress:
        return explain_chunk(job, number, sources, out, None, wanted, progress, lambda: watched_explainer(job, watch))


def _run_name() -> str:
    return "explain " + Path(str(runtime.flow_run.parameters.get("run"))).name


@flow(name="explain", flow_run_name=_run_name)
def explain(
    run: RunPath, places: Places, out: PagesPath, split: Split = "validation", overrides: Overrides = ()
) -> list[str]:
    """The images, folders or manifests at `places`, explained with the run folder `run` into `out`: the pages.

    Run again with the same images and settings, it keeps the pages that are there.
    """
    job, target = open_job(Path(run), overrides), Path(out)
    target.mkdir(parents=True, exist_ok=True)
    with run_lock(target / "explain.lock"):
        records = _pages(job, find_sources(places, split), target, ())
        finish(job, target, records)
    return [str(target / record["page"]) for record in records]


def run_flow(job: Job, sources: Sequence[ImageSource], out: Path, wanted: Sequence[str]) -> list[dict[str, Any]]:
    """The flow's pages on a Prefect server of its own, or the one that PREFECT_API_URL names; the lock is held."""
    records: list[dict[str, Any]] = []

    @flow(name="explain", flow_run_name=f"explain {job.name}")
    def pages() -> None:
        records.extend(_pages(job, sources, out, wanted))

    with prefect_server(out / ".prefect") as address:
        wait_until_ready(address)
        # The heartbeat thread would cost a second at the end of the flow.
        with temporary_settings({PREFECT_FLOWS_HEARTBEAT_FREQUENCY: None}):
            pages()
    return records


def _pages(job: Job, sources: Sequence[ImageSource], out: Path, wanted: Sequence[str]) -> list[dict[str, Any]]:
    records = [explain_page(job, number, chunk, out, wanted) for number, chunk in enumerate(chunks(sources))]
    if not records:
        raise EvendermError(f"{out}: there was nothing to explain")
    return records
