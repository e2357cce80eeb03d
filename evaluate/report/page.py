"""From a run folder to report.html and report.md."""

from __future__ import annotations

import json
from collections.abc import Mapping, Sequence
from pathlib import Path
from typing import Any

from evaluate.pages import wording
from evaluate.pages.html import environment, style_and_script
from evaluate.pages.tables import Table, counts_table, settings_table
from evaluate.reading.page_sentences import page_sentences, page_tables
from evaluate.reading.sentences import review_sentences, review_tables, study_sentences, study_tables
from evaluate.report import audits
from evaluate.report.arms import task_section, train_counts_table
from evaluate.report.first_screen.answers import answers_in_markdown
from evaluate.report.first_screen.screen import first_screen
from evaluate.report.history import trend
from evaluate.report.pairs.gallery import RunPairs, gallery, nearest_pairs, open_pairs
from evaluate.report.pairs.rejected import (
    gates_table,
    rejected_by_gate,
    scores_table,
    thresholds_table,
    unseen_sentences,
)
from evaluate.results import read_results
from evaluate.sections.external import external_markdown, external_sections
from evaluate.sections.markdown import caution, helped_lines, report_markdown, verdict_line
from evaluate.sections.tasks import TaskResults, missing_tasks, task_results
from manifests.errors import BadInput
from manifests.files import replace_file

TEMPLATES = Path(__file__).with_name("templates")
Results = Mapping[str, Any]


def write_report(run_folder: Path, history: Path | None = None) -> None:
    """Write report.html and report.md into `run_folder` from its results.json, settings.json and manifests.

    history: the file of earlier runs whose trend is shown; by default history.jsonl in `run_folder`.
    Parts that the folder lacks (no generated pairs, one task only, no history) are said to be missing.
    Raises BadInput where results.json is missing, damaged or of another version, or a manifest is damaged.
    """
    history = history or run_folder / "history.jsonl"
    results = read_results(run_folder / "results.json")
    tasks = task_results(results)
    pairs = open_pairs(run_folder, results)
    content = page_html(run_folder, results, tasks, pairs, history)
    answers = answers_in_markdown(results, pairs, [*helped_lines(results, tasks), *external_markdown(results)])
    replace_file(run_folder / "report.md", report_markdown(results, tasks, answers).encode())
    replace_file(run_folder / "report.html", content.encode())


def page_html(run_folder: Path, results: Results, tasks: Sequence[TaskResults], pairs: RunPairs, history: Path) -> str:
    """The page as text; nothing in it depends on when it is made."""
    job = _job(run_folder / "settings.json")
    cards = gallery(pairs)
    return _rendered(
        title=verdict_line(tasks),
        subject=_data_and_preset(job),
        caution=caution(results),
        first=first_screen(results, tasks, pairs),
        sections=[task_section(task, results["data"]) for task in tasks],
        elsewhere=external_sections(results, tasks),
        missing=[
            f"{wording.TASK_TITLES[task]} was not measured in this run{why}."
            for task, why in missing_tasks(results).items()
        ],
        pair_notes=pairs.notes,
        has_generated=results["data"]["synthetic"] is not None,
        gallery=cards,
        gallery_classes=sorted({card.dx for card in cards}),
        gates=gates_table(results["gates"], pairs),
        gate_scores=scores_table(results["gates"]),
        gate_limits=thresholds_table(results["gates"]),
        gates_unseen=unseen_sentences(results["gates"]),
        rejected=rejected_by_gate(pairs),
        copies=audits.copies_audit(results["copies"]),
        nearest=nearest_pairs(pairs, results["copies"]),
        fidelity=audits.fidelity_audit(results["fidelity"]),
        readers=_readers(results),
        trend=trend(history, results["data"]["real"]["digest"], tasks),
        experiments=audits.experiment_tables(results),
        data=_data_table(results),
        training_data=[train_counts_table(task, results["data"]["classes"]) for task in tasks],
        data_notes=_data_notes(results),
        settings=_settings_tables(job, results),
        timings=audits.timing_tables(results["timings"]),
        environment=settings_table("Machine and versions", results["environment"]),
    )


def _readers(results: Results) -> list[audits.Audit]:
    """What people said of the pictures: of the review, of the blind study, and of the study of explain's pages."""
    review, study, pages = (results.get(name) for name in ("review", "reader_study", "page_study"))
    found = [(review_sentences(review), review_tables(review)), (study_sentences(study), study_tables(study))]
    found.append((page_sentences(pages), page_tables(pages)))
    return [audits.Audit(tuple(said), tuple(tables)) for said, tables in found if said]


def _rendered(**view: Any) -> str:
    template = environment(TEMPLATES).get_template("report.html.j2")
    return str(template.render(**style_and_script((TEMPLATES / "first_screen.css",), TEMPLATES / "report.js"), **view))


def _job(path: Path) -> Results:
    """What settings.json says, empty where there is none; BadInput if it cannot be read."""
    try:
        job = json.loads(path.read_text(encoding="utf-8"))
    except FileNotFoundError:
        return {}
    except (OSError, ValueError) as error:
        raise BadInput(f"{path} cannot be read ({error}); restore it or run again into another folder") from error
    if not isinstance(job, dict):
        raise BadInput(f"{path} is not the settings of a run; restore it or run again into another folder")
    return job


def _data_and_preset(job: Results) -> str:
    # The last part of the path alone: where a hospital keeps its data is nobody's business.
    data = Path(str(job.get("data", ""))).name
    preset = f"preset {job['preset']}" if job.get("preset") else ""
    return ", ".join(part for part in (data, preset) if part)


def _data_table(results: Results) -> Table:
    data = results["data"]
    splits = dict(data["real"]["counts"])
    splits |= {f"fold {fold['fold']}, test": fold["counts"]["test"] for fold in data.get("folds", ())}
    if data["synthetic"]:
        splits["generated, accepted"] = data["synthetic"]["counts"]
    return counts_table("Pairs by split and class", splits, data["classes"])


def _data_notes(results: Results) -> list[str]:
    data = results["data"]
    tested = "folds together test" if "folds" in data else "test split has"
    notes = [f"The {tested} {wording.times(data['test_groups'], 'independent group')}.", *data["notes"]]
    for arm in data["skipped_arms"]:
        notes.append(f"{wording.TASK_TITLES[arm['task']]} arm {arm['arm']} was left out: {arm['reason']}.")
    return notes


def _settings_tables(job: Results, results: Results) -> list[Table]:
    """The run's settings by group, or the benchmark's own where the folder has no settings.json."""
    settings = job.get("settings") or {"benchmark": results["settings"]}
    # The names of external sets alone, as of the data.
    benchmark = {**settings.get("benchmark", {})}
    benchmark["external"] = list(benchmark.get("external", {}))
    settings = {**settings, "benchmark": benchmark}
    single = {name: value for name, value in settings.items() if not isinstance(value, Mapping)}
    tables = [settings_table("run", single)] if single else []
    return tables + [settings_table(name, value) for name, value in settings.items() if isinstance(value, Mapping)]
