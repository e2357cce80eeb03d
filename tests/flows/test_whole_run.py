"""The whole job as a user runs it: what it leaves, that it resumes, that it ends when told to."""

from __future__ import annotations

import json
import re
import shutil
from collections.abc import Callable
from pathlib import Path

import psutil
import pytest

from flows.execution import execute
from flows.judging import results
from flows.run.folder import RunFolder, open_job
from flows.run.log import read_events
from flows.run.records import read_record
from flows.status import read_status, status_lines
from flows.steps import adapt
from manifests.errors import EvendermError
from manifests.format.reading import open_manifest
from manifests.progress import no_progress
from tests.flows import whole_run
from tests.flows.conftest import FinishedRun
from tests.waiting import PATIENCE_SECONDS, until, work_of

# Long enough that it cannot finish by itself.
ENDLESS = ("adapt.steps=5000", "adapt.warmup=1", "adapt.patience=5000")


def test_a_run_leaves_what_the_contract_names(tiny_run: FinishedRun) -> None:
    names = {path.name for path in tiny_run.out.iterdir()}
    assert names >= {"settings.json", "real", "adapters", "synthetic", "results.json", "report.html", "log.jsonl"}
    assert {path.stem for path in (tiny_run.out / "adapters").glob("*.safetensors")} == {"bkl", "mel", "nv"}
    card = (tiny_run.out / "adapters" / "MODEL_CARD.md").read_text()
    assert all(f"{dx}.safetensors" in card for dx in ("bkl", "mel", "nv"))


def test_a_run_says_one_line_per_step_and_where_the_report_is(tiny_run: FinishedRun) -> None:
    for step in ("prepare", "adapt", "gates", "synthesise", "benchmark", "report"):
        lines = [line for line in tiny_run.output.splitlines() if line.startswith(f"{step} ")]
        assert len(lines) == 1 and re.search(r" s\b", lines[0]), tiny_run.output
    accepted = r"synthesise .*mel \d+ to \d+.*accepted \d+ of \d+ drawn, refused (0|\d+, most as )"
    assert re.search(accepted, tiny_run.output)
    assert tiny_run.output.splitlines()[-1] == f"report: {tiny_run.out / 'report.html'}"
    assert "Traceback" not in tiny_run.output and "INFO" not in tiny_run.output and "\x1b" not in tiny_run.output


def test_programs_get_json_lines_and_quiet_people_the_last_lines(
    tiny_run: FinishedRun, capsys: pytest.CaptureFixture[str]
) -> None:
    job = open_job(tiny_run.out)
    execute(job, as_json=True)
    told = [json.loads(line) for line in capsys.readouterr().out.splitlines()]
    found = {event["step"]: event["found"] for event in told if event["event"] == "finished before"}
    refused = sum(sum(by_reason.values()) for by_reason in found["synthesise"]["refused"].values())
    assert refused == sum(found["synthesise"]["drawn"].values()) - sum(found["synthesise"]["accepted"].values())
    assert set(found["adapt"]["adapters"]) == {"bkl", "mel", "nv"} and found["prepare"]["layout"] == "isic2017"
    assert told[-1]["event"] == "done" and told[-1]["report"] == str(tiny_run.out / "report.html")
    execute(job, quiet=True)
    lines = capsys.readouterr().out.splitlines()
    assert [line.partition(":")[0] for line in lines[:2]] == ["Classification", "Segmentation"]
    assert len(lines) == 4 and lines[-1] == f"report: {tiny_run.out / 'report.html'}"


def test_generated_pairs_balance_the_classes_or_the_results_say_why_not(tiny_run: FinishedRun) -> None:
    real = open_manifest(tiny_run.out / "real").counts()["train"]
    made = open_manifest(tiny_run.out / "synthetic").counts()["train"]
    notes = " ".join(json.loads((tiny_run.out / "results.json").read_text())["data"]["notes"])
    for dx, count in real.items():
        assert made.get(dx, 0) == max(real.values()) - count or f"class {dx}:" in notes


def test_generated_pairs_stay_out_of_validation_and_test(tiny_run: FinishedRun) -> None:
    counts = open_manifest(tiny_run.out / "synthetic").counts()
    assert sum(counts.get("validation", {}).values()) == sum(counts.get("test", {}).values()) == 0


def test_results_tell_what_the_gates_ask_for(tiny_run: FinishedRun) -> None:
    judge = json.loads((tiny_run.out / "results.json").read_text())["gates"]["judge"]
    assert set(judge["thresholds"]["mask_agreement"]) == {"bkl", "mel", "nv"}
    assert judge["held_out"]["pairs"] > 0 and isinstance(judge["skipped"], list)


def test_pairs_that_no_gate_judged_are_audited_for_copies_too(unfinished: Callable[[str], Path]) -> None:
    out = unfinished("benchmark")
    job = open_job(out, ["engine.name=plain", "synthesis.gates=false"])
    synthetic = open_manifest(out / "synthetic")
    shutil.rmtree(job.folder.judge)
    found = results.audit(job, synthetic, no_progress)
    assert set(found) == {"fidelity", "copies"}
    assert found["copies"]["all"]["pairs"] == len(synthetic.table(["pair_id"])) and found["copies"]["held_out"]["pairs"]
    assert all(row["nearest_real_id"] for row in found["copies"]["nearest"])


def test_the_same_command_again_recognises_everything_without_prefect(tiny_run: FinishedRun) -> None:
    before, tasks = whole_run.made(tiny_run.out), whole_run.tasks(tiny_run.out)
    output, imported = whole_run.finish_from_nothing(tiny_run.words)
    assert "everything is finished" in output and "report:" in output
    assert whole_run.tasks(tiny_run.out) == tasks and whole_run.made(tiny_run.out) == before
    assert "flows.execution" in imported and not imported & {"prefect", "diffusers"}


def test_status_and_dry_run_say_that_a_finished_run_is_finished(tiny_run: FinishedRun) -> None:
    job = open_job(tiny_run.out)
    status = read_status(job)
    assert all(step.reason is None for step in status.steps) and status.holder is None
    lines = status_lines(job, status)
    assert "finished" in lines[1] and any(line.startswith("  gates ") and "finished" in line for line in lines)
    assert status.spent["synthesise"] > read_record(job.folder, "synthesise").seconds and not status.left.steps  # type: ignore[union-attr]
    output = whole_run.finish([*tiny_run.words, "--dry-run"])
    assert output.count("finished") >= 6 and "to do" not in output


def test_dry_run_names_the_setting_that_makes_a_step_run_again(tiny_run: FinishedRun) -> None:
    output = whole_run.finish([*tiny_run.words, "--set", "adapt.steps=5", "--dry-run"])
    assert "adapt:mel" in output and "adapt.steps 4 to 5" in output and "after adapt" in output
    assert any("prepare" in line and "finished" in line for line in output.splitlines())


def test_nightly_runs_append_to_one_history_once_each(tiny_run: FinishedRun, tmp_path: Path) -> None:
    shutil.copytree(tiny_run.out, tmp_path / "run")
    history = tmp_path / "history.jsonl"
    words = whole_run.command(tiny_run.data, tmp_path / "run", "engine.name=plain", f"report.history={history}")
    for _ in range(2):
        whole_run.finish(words)
        assert len(history.read_text().splitlines()) == 1
    assert "The history holds one run on this data" in (tmp_path / "run" / "report.html").read_text()


def test_sigterm_ends_in_a_checkpoint_within_ten_seconds(unfinished: Callable[[str], Path]) -> None:
    out = unfinished("adapt")
    data = open_job(out).data
    words = whole_run.command(data, out, "engine.name=plain", *ENDLESS)
    process = whole_run.start(words)
    until(lambda: _in_training(out), "training", process)
    before, ended = work_of(process.pid), process.work_of_ended()
    process.terminate()
    output, _ = process.communicate(timeout=PATIENCE_SECONDS)
    # Ten seconds of work, so that a busy machine is no failure.
    assert process.work_of_ended() - ended - before < 10
    assert process.returncode == 1 and "stopped by SIGTERM; the same command goes on" in output
    assert list((out / "work" / "adapt").rglob("*.checkpoint.safetensors"))


def test_a_lost_server_ends_the_run_soon_and_in_one_sentence(unfinished: Callable[[str], Path]) -> None:
    out = unfinished("adapt")
    words = whole_run.command(open_job(out).data, out, *ENDLESS)
    process = whole_run.start(words)
    until(lambda: _in_training(out), "training", process)
    children = psutil.Process(process.pid).children(recursive=True)
    (server,) = [child for child in children if "flows.orchestration.server" in " ".join(child.cmdline())]
    server.kill()
    output, _ = process.communicate(timeout=PATIENCE_SECONDS)
    assert process.returncode == 1 and "Traceback" not in output, output
    assert "the loss of the Prefect server; the same command goes on" in output


def test_a_second_run_on_the_same_folder_is_refused(unfinished: Callable[[str], Path]) -> None:
    out = unfinished("adapt")
    words = whole_run.command(open_job(out).data, out, "engine.name=plain", *ENDLESS)
    first = whole_run.start(words)
    try:
        until(lambda: RunFolder(out).lock.stat().st_size > 0, "the lock", first)
        second = whole_run.start(words)
        output, _ = second.communicate(timeout=PATIENCE_SECONDS)
        assert second.returncode == 1 and f"pid {first.pid} on" in output
    finally:
        first.kill()
        first.communicate()


def test_a_poisoned_class_fails_alone_and_the_notes_say_so(
    unfinished: Callable[[str], Path], monkeypatch: pytest.MonkeyPatch
) -> None:
    out = unfinished("adapt")
    job = open_job(out, ["engine.name=plain", "synthesis.gates=false"])
    train = adapt.train_one

    def poisoned(job: object, progress: object, name: str) -> object:
        if name == "mel":
            raise EvendermError("adapters/mel.safetensors: training diverged at step 3; lower adapt.learning_rate")
        return train(job, progress, name)  # type: ignore[arg-type]

    monkeypatch.setattr(adapt, "train_one", poisoned)
    assert execute(job, ("adapt", "synthesise")) == 1
    counts = open_manifest(out / "synthetic").counts()["train"]
    assert counts["bkl"] > 0 and counts["mel"] == 0
    assert "diverged at step 3" in RunFolder(out).failures.read_text()


def test_a_class_with_too_few_pairs_is_bad_input_and_nothing_is_lost(
    unfinished: Callable[[str], Path], tiny_run: FinishedRun
) -> None:
    out = unfinished("synthesise")
    words = whole_run.command(tiny_run.data, out, "engine.name=plain", "adapt.min_pairs=500")
    process = whole_run.start(words)
    output, _ = process.communicate(timeout=PATIENCE_SECONDS)
    assert process.returncode == 2
    assert "too few training pairs" in output and "adapt.min_pairs" in output
    assert list((out / "adapters").glob("*.safetensors"))


def _in_training(out: Path) -> bool:
    events = read_events(out / "log.jsonl")
    return any(
        e["event"] == "progress" and str(e.get("task")).startswith("adapt") and e["total"] == 5000 for e in events
    )
