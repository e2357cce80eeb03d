"""evenderm explain, with a run of drawn pairs and the shipped base alone: pages, rows, bad inputs, the local server."""

from __future__ import annotations

import fcntl
import io
import json
import shutil
from pathlib import Path
from typing import Any

import numpy as np
import pytest
from PIL import Image
from rich.console import Console

from flows import command_line
from flows.engine.watch import Watch
from flows.explain.study import explain_for_study
from flows.run.folder import open_job
from flows.run.lock import RunBusy
from manifests.errors import BadInput
from manifests.format.reading import open_manifest
from manifests.phantom.draw import draw_pair
from tests.evaluate.explain.test_localisation import write_tiny_sam

pytest_plugins = ["tests.flows.explain.explain_fixture"]

CAUTION = "Research use, not a diagnosis"


@pytest.fixture
def run_folder(explained_run: Path) -> Path:
    return explained_run


@pytest.fixture
def picture(lesion_photograph: Path) -> Path:
    return lesion_photograph


def explain(capsys: pytest.CaptureFixture[str], *arguments: object) -> tuple[int, str]:
    code = command_line.exit_code(["explain", *(str(argument) for argument in arguments)])
    shown = capsys.readouterr()
    return code, shown.out + shown.err


def rows_of(out: Path) -> list[dict[str, Any]]:
    return [json.loads(line) for line in (out / "explain.jsonl").read_text(encoding="utf-8").splitlines()]


def test_an_image_becomes_a_page_rows_and_a_manifest_and_the_same_again(
    run_folder: Path, picture: Path, tmp_path: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    code, said = explain(capsys, picture, "--run", run_folder, "--out", tmp_path / "a")
    assert code == 0 and "explain.html" in said and "research use" in said
    page = (tmp_path / "a" / "explain.html").read_text(encoding="utf-8")
    assert CAUTION in page and "SECRET" not in page
    assert "no usable adapter" in page  # the base alone drew, and the page says so
    (row,) = rows_of(tmp_path / "a")
    assert row["caution"].startswith(CAUTION) and row["calibrated"]
    assert {candidate["dx"] for candidate in row["candidates"]} == {"mel", "nv", "bkl"}
    assert sum(candidate["probability"] for candidate in row["candidates"]) == pytest.approx(1, abs=1e-3)
    references = open_manifest(tmp_path / "a" / "references")
    assert references.kind == "synthetic"
    drawn = references.table(["accepted", "seed"], accepted_only=False).to_pylist()
    assert len(drawn) == 3 * 2 and not any(row["accepted"] for row in drawn)
    assert explain(capsys, picture, "--run", run_folder, "--out", tmp_path / "b")[0] == 0
    assert (tmp_path / "b" / "explain.html").read_bytes() == (tmp_path / "a" / "explain.html").read_bytes()


def test_a_mask_of_ones_own_is_believed_and_the_chosen_class_is_shown(
    run_folder: Path, tmp_path: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    pair = draw_pair("nv", 6, 2, 160)
    Image.fromarray(pair.image).save(tmp_path / "own.png")
    Image.fromarray(pair.mask.astype(np.uint8) * 255).save(tmp_path / "mask.png")
    options = ["--run", run_folder, "--out", tmp_path / "out", "--mask", tmp_path / "mask.png", "--as", "bkl"]
    assert explain(capsys, tmp_path / "own.png", *options)[0] == 0
    (row,) = rows_of(tmp_path / "out")
    assert row["lesion"]["method"] == "given"
    assert row["lesion"]["share"] == pytest.approx(pair.mask.mean(), abs=0.02)
    assert {"given and unet", "given and denoiser"} <= set(row["lesion"]["agreement"])
    kinds = {(demo["dx"], demo["kind"]) for demo in row["demonstrations"]}
    assert kinds == {("bkl", "drawn"), ("bkl", "reference"), ("bkl", "personalised")}


def test_a_manifest_is_explained_with_its_true_classes(
    run_folder: Path, tmp_path: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    code, _ = explain(capsys, run_folder / "real", "--run", run_folder, "--out", tmp_path, "--limit", 2)
    assert code == 0
    rows = rows_of(tmp_path)
    assert len(rows) == 2 and all(row["truth"] in ("mel", "nv", "bkl") for row in rows)
    assert all(row["lesion"]["method"] == "given" for row in rows)


def bad_pictures() -> dict[str, bytes]:
    def png(array: np.ndarray) -> bytes:
        buffer = io.BytesIO()
        Image.fromarray(array).save(buffer, "PNG")
        return buffer.getvalue()

    good = png(draw_pair("nv", 1, 1, 64).image)
    header = good[:16] + (60000).to_bytes(4, "big") * 2 + good[24:]
    return {
        "empty": b"",
        "text": b"this is no picture",
        "cut": good[: len(good) // 2],
        "bomb": header,
        "script": b"<svg onload=alert(1)>",
        "tiny": png(np.zeros((4, 4, 3), np.uint8)),
    }


def test_unusable_files_are_named_and_the_others_explained(
    run_folder: Path, picture: Path, tmp_path: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    folder = tmp_path / "mixed"
    folder.mkdir()
    shutil.copy(picture, folder / "good.jpg")
    for name, content in bad_pictures().items():
        (folder / f"{name}.png").write_bytes(content)
    code, said = explain(capsys, folder, "--run", run_folder, "--out", tmp_path / "out")
    assert code == 1 and "Traceback" not in said
    page = (tmp_path / "out" / "explain.html").read_text(encoding="utf-8")
    failures = [row for row in rows_of(tmp_path / "out") if "failure" in row]
    assert {row["image"] for row in failures} == {f"{name}.png" for name in bad_pictures()}
    assert "Could not be explained" in page and "1 of" not in said
    assert explain(capsys, folder / "text.png", "--run", run_folder, "--out", tmp_path / "none")[0] == 2


@pytest.mark.parametrize("kind", ["grey", "screenshot", "large", "blank"])
def test_unusual_pictures_get_a_page_that_says_what_is_unusual(
    kind: str, run_folder: Path, tmp_path: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    pair = draw_pair("nv", 8, 1, 256)
    picture = {
        "grey": np.repeat(pair.image.mean(-1, keepdims=True).astype(np.uint8), 3, axis=2),
        "screenshot": np.pad(pair.image[::3, ::3], ((60, 60), (60, 60), (0, 0)), constant_values=240),
        "large": np.kron(pair.image, np.ones((15, 20, 1), np.uint8)),
        "blank": np.full((128, 128, 3), 255, np.uint8),
    }[kind]
    Image.fromarray(picture).save(tmp_path / "picture.jpg", quality=95)
    if kind in ("screenshot", "blank"):
        Image.fromarray(picture).save(tmp_path / "picture.jpg", format="PNG")
    assert explain(capsys, tmp_path / "picture.jpg", "--run", run_folder, "--out", tmp_path / "out")[0] == 0
    (row,) = rows_of(tmp_path / "out")
    said = " ".join(row["problems"])
    expected = {"grey": "is grey", "screenshot": "exactly one colour", "blank": "exactly one colour", "large": ""}[kind]
    assert expected in said
    if kind == "blank":
        assert row["none_of_these"]


WRONG = {
    "no image": ([], "no image given"),
    "missing image": (["nowhere.jpg"], "no such image"),
    "no class of the run": (["PICTURE", "--as", "xyz"], "no class of this run"),
    "no split": (["REAL", "--split", "everything"], "no such split"),
    "mask of two": (["PICTURE", "PICTURE", "--mask", "PICTURE"], "--mask takes"),
    "endpoint without address": (["PICTURE", "--diagnoser", "endpoint"], "explain.endpoint.url"),
    "vlm without model": (["PICTURE", "--diagnoser", "vlm"], "explain.vlm.model"),
    "sam without model": (["PICTURE", "--set", "explain.localiser.methods=sam"], "explain.localiser.sam"),
    "unknown diagnoser": (["PICTURE", "--diagnoser", "oracle"], "explain.diagnoser"),
}


@pytest.mark.parametrize(("arguments", "said"), WRONG.values(), ids=WRONG)
def test_wrong_usage_is_one_sentence_and_exit_code_2(
    arguments: list[str], said: str, run_folder: Path, picture: Path, tmp_path: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    places = {"PICTURE": str(picture), "REAL": str(run_folder / "real")}
    given = [places.get(argument, argument) for argument in arguments]
    code, shown = explain(capsys, *given, "--run", run_folder, "--out", tmp_path)
    assert code == 2 and said in shown and "Traceback" not in shown


def test_an_endpoint_that_is_down_leaves_a_page_by_the_runs_own_classifier(
    run_folder: Path, picture: Path, tmp_path: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    sets = ["--set", "explain.endpoint.url=http://127.0.0.1:9/v1", "--set", "explain.endpoint.timeout=2"]
    options = ["--run", run_folder, "--out", tmp_path, "--diagnoser", "endpoint", *sets]
    code, said = explain(capsys, picture, *options)
    assert code == 0
    assert "goes to http://127.0.0.1:9/v1" in said
    (row,) = rows_of(tmp_path)
    assert "gave no answer" in " ".join(row["problems"]) and row["diagnoser"] == "classifier"


def test_a_sam_like_model_of_ones_own_is_asked_too(
    run_folder: Path, picture: Path, tmp_path: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    sam = ["--set", f"explain.localiser.sam={write_tiny_sam(tmp_path / 'sam')}"]
    code, said = explain(capsys, picture, "--run", run_folder, "--out", tmp_path / "out", *sam)
    assert code == 0, said
    (row,) = rows_of(tmp_path / "out")
    assert {"unet and sam", "denoiser and sam"} <= set(row["lesion"]["agreement"])
    assert "The SAM-like model" in (tmp_path / "out" / "explain.html").read_text(encoding="utf-8")


def test_a_folder_is_explained_as_a_prefect_flow(
    run_folder: Path, picture: Path, tmp_path: Path, prefect_api: str
) -> None:
    from flows.orchestration.explain_flow import explain as flow

    folder = tmp_path / "images"
    folder.mkdir()
    shutil.copy(picture, folder)
    pages = flow(str(run_folder), [str(folder)], str(tmp_path / "out"))
    assert pages == [str(tmp_path / "out" / "explain.html")]
    before = (tmp_path / "out" / "explain.html").stat().st_mtime_ns
    flow(str(run_folder), [str(folder)], str(tmp_path / "out"))
    assert (tmp_path / "out" / "explain.html").stat().st_mtime_ns == before


def test_the_pages_of_a_study_are_made_once_and_not_while_the_run_goes_on(run_folder: Path, tmp_path: Path) -> None:
    job = open_job(run_folder)
    test = open_manifest(run_folder / "real").table(["image"], "test").to_pylist()[:2]
    pictures = [tmp_path / f"{place}-image.png" for place in range(len(test))]
    for picture, row in zip(pictures, test, strict=True):
        picture.write_bytes(row["image"]["bytes"])
    watch = Watch(None, Console(quiet=True))
    pages = explain_for_study(job, watch, pictures, tmp_path / "pages")
    assert [name for name, _ in pages] == ["explain.html", "explain-2.html"]
    assert {says for _, says in pages} <= {"mel", "nv", "bkl", None}
    made = [(tmp_path / "pages" / name).stat().st_mtime_ns for name, _ in pages]
    assert all("0-image.png" in (tmp_path / "pages" / name).read_text() for name, _ in pages[:1])
    assert explain_for_study(job, watch, pictures, tmp_path / "pages") == pages
    assert made == [(tmp_path / "pages" / name).stat().st_mtime_ns for name, _ in pages]
    pictures[1].write_bytes(b"no picture")
    with pytest.raises(BadInput, match=r"1-image\.png"):
        explain_for_study(job, watch, pictures, tmp_path / "pages")
    with job.folder.lock.open("a") as held:
        fcntl.flock(held, fcntl.LOCK_EX)
        with pytest.raises(RunBusy, match="in use by"):
            explain_for_study(job, watch, pictures, tmp_path / "pages")
