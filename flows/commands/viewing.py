"""Commands by which people look at what was made and have a say."""

from __future__ import annotations

from functools import partial
from pathlib import Path
from typing import TYPE_CHECKING, Annotated

import typer
from rich.console import Console

from flows.commands.options import Overrides
from manifests.errors import BadInput
from manifests.format.schema import HEADER_NAME
from manifests.storage.base import on_disk

if TYPE_CHECKING:
    from flows.run.folder import Job

Run = Annotated[Path, typer.Argument(metavar="RUN", callback=on_disk, help="Run folder.")]
Port = Annotated[int, typer.Option("--port", min=0, max=65535, help="Port on this machine; 0 takes a free one.")]


def view(
    place: Annotated[str, typer.Argument(metavar="MANIFEST|RUN", help="A manifest, or a run folder.")],
    port: Port = 8766,
) -> int:
    """Walk through the pairs of a manifest or a run on a local page."""
    from flows.viewing.pairs import LivePairs
    from flows.viewing.server import serve_app
    from flows.viewing.walk import locations_of, view_app

    locations, copies, title = locations_of(place)
    live = LivePairs(locations)
    say(f"{len(live.table()):,} pairs of {title}")
    serve_app(lambda ports: view_app(live, title, copies, ports), port, _announce)
    return 0


def review(
    run: Run,
    reader: Annotated[str, typer.Option("--reader", help="Your name, with which the page begins.")] = "",
    blind: Annotated[
        bool, typer.Option("--blind", help="A reader study: tell real held-out pictures from generated ones.")
    ] = False,
    pages: Annotated[
        bool, typer.Option("--pages", help="A reader study: what explain's pages change in diagnosis and confidence.")
    ] = False,
    pictures: Annotated[int, typer.Option("--pictures", min=2, help="Pictures of a new reader study.")] = 60,
    seed: Annotated[int, typer.Option("--seed", min=0, help="Seed of a new reader study.")] = 0,
    masks: Annotated[bool, typer.Option("--masks", help="A new reader study also asks whether masks fit.")] = False,
    width: Annotated[
        float | None,
        typer.Option("--width", min=0.02, max=0.9, help="Say how many pictures intervals of this width need, and end."),
    ] = None,
    report: Annotated[
        bool, typer.Option("--report", help="Say what readers found, put it into the run's report, and end.")
    ] = False,
    port: Port = 8767,
    overrides: Overrides = None,
) -> int:
    """Accept and refuse generated pairs on a local page, or have one of two reader studies."""
    from evaluate.reading.table import reader_name
    from flows.run.folder import open_job

    job = open_job(run, overrides or ())
    if blind and pages:
        raise BadInput("--blind and --pages are two studies; begin one at a time")
    if width is not None:
        say(planned_for_pages(width) if pages else planned(width))
        return 0
    if report:
        return _report(job)
    name = reader_name(reader) if reader else ""
    if not pages and not (job.folder.synthetic / HEADER_NAME).exists():
        raise BadInput(f"{job.folder.synthetic}: no generated pair yet; run evenderm run or evenderm synthesise first")
    if pages:
        _serve_pages(job, name, pictures, seed, port)
    elif blind:
        _serve_study(job, name, pictures, seed, masks, port)
    else:
        _serve_review(job, name, port)
    say(f"evenderm review {job.folder.path} --report says what readers found")
    return 0


def planned(width: float) -> str:
    """How many pictures a reader study needs for intervals of a width, in one sentence."""
    from evaluate.reading.study_figures import planned_pictures

    needed = planned_pictures(width)
    return (
        f"for 95 % intervals no wider than {100 * width:g} points from end to end, one reader must see "
        f"{needed['accuracy']} pictures for accuracy and {needed['sensitivity']} for sensitivity and specificity"
    )


def planned_for_pages(width: float) -> str:
    """How many cases a study of explain's pages needs for intervals of a width, in one sentence."""
    from evaluate.reading.page_figures import CHANGED, planned_cases

    needed = planned_cases(width)
    return (
        f"for 95 % intervals no wider than {100 * width:g} points from end to end, one reader must see "
        f"{needed['accuracy']} cases for accuracy before and after the page, and {needed['change']} for its change if "
        f"the page makes or unmakes {100 * CHANGED:g} in 100 right answers ({needed['most']} if all)"
    )


def _serve_review(job: Job, reader: str, port: int) -> None:
    from flows.viewing.pairs import LivePairs
    from flows.viewing.review import ReviewDesk, review_app
    from flows.viewing.server import serve_app

    live = LivePairs([job.folder.synthetic, job.folder.real])
    desk = ReviewDesk(live, job.folder.decisions)
    say(f"decisions are kept in {job.folder.decisions} as they are made")
    serve_app(lambda ports: review_app(live, desk, job.name, job.folder.copies, reader, ports), port, _announce)


def _serve_study(job: Job, reader: str, pictures: int, seed: int, masks: bool, port: int) -> None:
    from evaluate.reading.study import make_study
    from evaluate.reading.study_figures import planned_widths
    from flows.viewing.blind import blind_app
    from flows.viewing.server import serve_app
    from manifests.format.reading import open_manifest

    real, synthetic = open_manifest(job.folder.real), open_manifest(job.folder.synthetic)
    study = make_study(job.folder.study, real, synthetic, pictures, seed, masks)
    widths = {name: f"{50 * own:.0f}" for name, own in planned_widths(len(study.items)).items()}
    say(
        f"{len(study.items)} pictures, as many real as generated: one reader's accuracy will be known to within "
        f"±{widths['accuracy']} points, sensitivity and specificity to within ±{widths['sensitivity']} "
        "(--width says how many pictures narrower intervals need)"
    )
    serve_app(lambda ports: blind_app(study, reader, widths, ports), port, _announce)


def _serve_pages(job: Job, reader: str, pictures: int, seed: int, port: int) -> None:
    from evaluate.reading.page_figures import planned_widths
    from evaluate.reading.page_study import make_page_study
    from flows.engine.watch import Watch
    from flows.explain.study import explain_for_study
    from flows.steps.prepare import open_real
    from flows.viewing.pages import pages_app
    from flows.viewing.server import serve_app

    explain = partial(explain_for_study, job, Watch(job.folder.log, Console()))
    study = make_page_study(job.folder.page_study, lambda: open_real(job), pictures, seed, explain)
    widths = {name: f"{50 * own:.0f}" for name, own in planned_widths(len(study.items)).items()}
    say(
        f"{len(study.items)} test pictures and their pages: one reader's accuracy will be known to within "
        f"±{widths['accuracy']} points before and after, its change to within ±{widths['change']} if 3 in 10 answers "
        "change (--width says how many cases narrower intervals need)"
    )
    serve_app(lambda ports: pages_app(study, reader, widths, ports), port, _announce)


def _report(job: Job) -> int:
    from evaluate.reading.page_sentences import page_sentences
    from evaluate.reading.sentences import review_sentences, study_sentences
    from flows.judging.report import make_report
    from flows.steps.review import readings
    from manifests.progress import no_progress

    found = readings(job)
    study = [*study_sentences(found.get("reader_study")), *page_sentences(found.get("page_study"))]
    for line in [*review_sentences(found.get("review")), *study]:
        say(line)
    if not found:
        say("nobody has read anything yet")
    elif job.folder.results.exists():
        make_report(job, no_progress)
        say(f"report: {job.folder.report}")
    return 0


def _announce(address: str) -> None:
    say(f"{address} (this machine only; Ctrl-C ends it)")


def say(line: str) -> None:
    """One line for the person at the terminal."""
    Console().print(line, highlight=False, markup=False, soft_wrap=True)
