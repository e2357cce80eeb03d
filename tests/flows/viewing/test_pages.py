"""The pages of view and review without a browser: what is asked, what is answered, and what is refused."""

from __future__ import annotations

import shutil
import socket
from collections.abc import Iterator
from pathlib import Path

import pytest
from fastapi.testclient import TestClient

from evaluate.pages.pictures import small_rows
from evaluate.reading.decisions import read_decisions
from evaluate.reading.study import make_study
from flows.command_line import exit_code
from flows.run.folder import open_job
from flows.steps.digests import judge_digest
from flows.steps.review import add_readings, readers_digest, readings
from flows.viewing.blind import blind_app
from flows.viewing.pairs import LivePairs, PairTable, Query
from flows.viewing.review import ReviewDesk, review_app
from flows.viewing.server import HEADER
from flows.viewing.walk import locations_of, view_app
from manifests.format.reading import Manifest, open_manifest
from tests.evaluate.report.drawn_manifests import drawn_pair, write_synthetic
from tests.flows.viewing.served import made_run

EVIL = '<img src=x onerror=alert(1)>"'


@pytest.fixture(scope="module")
def run(phantom_folder: Path, tmp_path_factory: pytest.TempPathFactory) -> Path:
    return made_run(tmp_path_factory.mktemp("made") / "run", phantom_folder)


@pytest.fixture
def copied(run: Path, tmp_path: Path) -> Path:
    return Path(shutil.copytree(run, tmp_path / "run"))


def client_of(app) -> TestClient:
    return TestClient(app, base_url="http://127.0.0.1:8000", headers={HEADER: "1"})


@pytest.fixture(scope="module")
def page(run: Path) -> Iterator[TestClient]:
    locations, copies, title = locations_of(str(run))
    with client_of(view_app(LivePairs(locations), title, copies, [8000])) as client:
        yield client


def reviewing(run: Path) -> TestClient:
    live = LivePairs([run / "synthetic", run / "real"])
    desk = ReviewDesk(live, open_job(run).folder.decisions)
    return client_of(review_app(live, desk, "drawn", run / "copies", "", [8000]))


def test_every_row_is_found_by_class_gate_score_and_part_of_its_id(page: TestClient, run: Path) -> None:
    everything = small_rows(open_manifest(run / "synthetic"), accepted_only=False)
    answer = page.get("/rows", params={"origin": "synthetic", "count": 400}).json()
    assert answer["found"] == len(everything)
    assert answer["total"] == len(everything) + len(small_rows(open_manifest(run / "real")))
    wanted = [row["pair_id"] for row in everything if row["accepted"] and row["dx"] == "mel"]
    found = page.get("/rows", params={"gate": "accepted", "dx": "mel"}).json()
    assert [row["id"] for row in found["rows"]] == wanted
    sort = {"gate": "accepted", "sort": "score_mask_agreement", "descending": True}
    scores = [row["score_mask_agreement"] for row in page.get("/rows", params=sort).json()["rows"]]
    assert scores == sorted(scores, reverse=True) and len(scores) > 10
    between = {"figure": "score_mask_agreement", "least": 0.9, "most": 0.95}
    rows = page.get("/rows", params=between).json()["rows"]
    assert rows and all(0.9 <= row["score_mask_agreement"] <= 0.95 for row in rows)
    assert page.get("/rows", params={"find": "MEL_0001"}).json()["rows"][0]["id"] == "drawn:mel_0001"
    assert page.get("/rows", params={"dx": "none"}).json()["found"] == 0
    parts = [page.get("/rows", params={"start": start, "count": 7}).json()["rows"] for start in (0, 7)]
    whole = page.get("/rows", params={"count": 14}).json()["rows"]
    assert [*parts[0], *parts[1]] == whole
    choices = page.get("/choices").json()["kinds"]
    assert {one["value"] for one in choices["gate"]} > {"accepted", "copy"}


def test_a_pair_is_shown_with_its_pictures_provenance_and_nearest_real_one(page: TestClient, run: Path) -> None:
    found = page.get("/rows", params={"gate": "accepted"}).json()
    row, version = found["rows"][3], found["version"]
    base = f"/pairs/{version}/{row['n']}"
    (stored,) = [
        one
        for one in open_manifest(run / "synthetic").table(["pair_id", "image", "nearest_real_id"]).to_pylist()
        if one["pair_id"] == row["id"]
    ]
    assert page.get(f"{base}/image").content == stored["image"]["bytes"]
    small = page.get(f"{base}/image", params={"side": 24})
    assert small.headers["content-type"] == "image/jpeg" and len(small.content) < len(stored["image"]["bytes"])
    assert "<path" in page.get(f"{base}/outline").text
    facts = dict(page.get(base).json()["facts"])
    assert facts["Prompt"].startswith("dermoscopy of") and facts["Base digest"] == "b" * 64
    assert page.get(f"{base}/nearest").json()[0]["id"] == stored["nearest_real_id"]
    assert page.get(f"/place/{row['id']}", params={"gate": "accepted"}).json() == {"number": row["n"], "place": 3}
    assert page.get(f"/pairs/{version}/99999").status_code == 409


def test_a_manifest_by_itself_is_shown_and_what_is_none_is_refused(run: Path, tmp_path: Path) -> None:
    locations, copies, title = locations_of(str(run / "real"))
    assert len(locations) == 1 and copies is None and title == "run/real"
    assert len(locations_of(str(run / "synthetic"))[0]) == 2
    assert exit_code(["view", str(tmp_path)]) == 2
    assert exit_code(["review", str(tmp_path)]) == 2
    assert exit_code(["review", str(run), "--reader", "a;b"]) == 2


def test_pictures_are_not_read_before_one_is_asked_for(run: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    read: list[str] = []
    opened = Manifest.open_shard

    def watched(self: Manifest, entry):
        file = opened(self, entry)
        whole = file.read
        file.read = lambda columns, **more: (read.extend(columns), whole(columns, **more))[1]
        return file

    monkeypatch.setattr(Manifest, "open_shard", watched)
    table = PairTable([open_manifest(run / "synthetic"), open_manifest(run / "real")])
    numbers = table.chosen(Query(sort="nearest_similarity"))
    assert len(numbers) == len(table) and table.row(int(numbers[-1]))["nearest_similarity"] is None
    assert "pair_id" in read and not {"image", "mask"} & set(read) and not table._groups


def test_other_sites_reach_neither_pairs_nor_decisions(run: Path) -> None:
    client = reviewing(run)
    for headers in ({"host": "evil.example"}, {"origin": "http://evil.example"}):
        answer = client.get("/rows", headers=headers)
        assert answer.status_code == 403 and answer.headers["x-frame-options"] == "DENY"
    assert client.post("/decisions", json={}, headers={HEADER: ""}).status_code != 200
    plain = TestClient(client.app, base_url="http://127.0.0.1:8000")
    assert plain.post("/decisions", json={}).status_code == 403
    assert client.get("/docs").status_code == 404


def test_readers_decide_at_once_and_the_table_outlives_the_server(copied: Path) -> None:
    one, two = reviewing(copied), reviewing(copied)
    found = one.get("/rows", params={"reader": "ann"}).json()
    assert {row["gate"] for row in found["rows"]} == {"accepted"}
    first, second = found["rows"][:2]
    wish = {"version": found["version"], "number": first["n"], "choice": "refuse", "reason": "mask", "seconds": 1.5}
    assert one.post("/decisions", json={**wish, "reader": EVIL}).json()["refused"] == 1
    told = two.post("/decisions", json={**wish, "reader": " ann ", "choice": "accept", "reason": None}).json()
    assert told == {"reader": "ann", "pairs": found["found"], "read": 1, "refused": 0}
    kept = [(own.reader, own.choice, own.reason) for own in read_decisions(open_job(copied).folder.decisions)]
    assert kept == [(EVIL, "refuse", "mask"), ("ann", "accept", None)]
    # One reader is not told what another said, and comes back to what is left.
    again = reviewing(copied)
    rows = again.get("/rows", params={"reader": "ann", "count": 2}).json()["rows"]
    assert [row.get("mine") for row in rows] == ["accept", None]
    left = again.get("/rows", params={"reader": "ann", "mine": "unread"}).json()
    assert left["found"] == found["found"] - 1 and left["rows"][0]["id"] == second["id"]
    again.post(
        "/decisions", json={"version": found["version"], "number": first["n"], "reader": "ann", "choice": "undo"}
    )
    assert again.get("/progress", params={"reader": "ann"}).json()["read"] == 0
    for bad in ({"reason": "ugly"}, {"reader": "a\nb"}, {"number": 10**6}, {"number": -1}, {"version": "old"}):
        assert again.post("/decisions", json={**wish, "reader": "ann", **bad}).status_code == 409
    real = again.get("/place/drawn:mel_0001").json()["number"]
    refused = again.post("/decisions", json={**wish, "reader": "ann", "number": real})
    assert refused.status_code == 409 and "only generated pairs" in refused.json()["detail"]
    assert EVIL not in again.get("/").text


def test_decisions_stay_with_their_pictures_when_the_run_is_made_anew(copied: Path) -> None:
    client = reviewing(copied)
    found = client.get("/rows").json()
    row = found["rows"][0]
    wish = {"version": found["version"], "number": row["n"], "reader": "ann", "choice": "refuse", "reason": "class"}
    client.post("/decisions", json=wish)
    shutil.rmtree(copied / "synthetic")
    answer = client.get("/rows")
    assert answer.status_code == 409 and "manifest.json" in answer.json()["detail"]

    def redrawn(dx: str, number: int, synthetic: bool):
        image, mask = drawn_pair(dx, number, synthetic)
        return (255 - image if number == 0 else image), mask

    write_synthetic(copied / "synthetic", redrawn)
    stale = client.post("/decisions", json=wish)
    assert stale.status_code == 409 and "made anew" in stale.json()["detail"]
    rows = client.get("/rows", params={"reader": "ann"}).json()["rows"]
    assert rows[0]["id"] == row["id"] and "mine" not in rows[0]
    job = open_job(copied)
    review = readings(job)["review"]
    assert (review["decisions"], review["without_a_pair"]) == (0, 1)


def test_what_readers_said_is_counted_in_results_and_decides_only_where_it_is_asked_for(copied: Path) -> None:
    job = open_job(copied)
    assert readings(job) == {} and readers_digest(job) == ""
    before = readers_digest(open_job(copied, ["gates.review=majority"]))
    client = reviewing(copied)
    found = client.get("/rows").json()
    for row in found["rows"][:4]:
        for reader in ("ann", "bob"):
            wish = {"version": found["version"], "number": row["n"], "reader": reader, "choice": "accept"}
            assert client.post("/decisions", json=wish).status_code == 200
    assert readers_digest(job) == ""
    assert readers_digest(open_job(copied, ["gates.review=majority"])) != before
    assert exit_code(["review", str(copied), "--report"]) == 0
    results = (copied / "results.json").read_text()
    assert '"per_reader"' in results
    report = (copied / "report.html").read_text()
    assert "Decisions by reader" in report and "made 8 decisions on 4 generated pairs" in report
    add_readings(job, readings(job))
    assert (copied / "results.json").read_text() == results


def test_the_blind_page_tells_nothing_of_origin_and_takes_only_whole_answers(run: Path, tmp_path: Path) -> None:
    made = [open_manifest(run / name) for name in ("real", "synthetic")]
    study = make_study(tmp_path, made[0], made[1], 12, 0, masks=True)
    client = client_of(blind_app(study, "", {"accuracy": "25", "sensitivity": "31"}, [8000]))
    text = client.get("/").text
    assert not any(item.pair_id in text or item.name in text for item in study.items)
    left = client.get("/progress", params={"reader": "ann"}).json()["left"]
    assert len(left) == 12
    answers = [client.get(f"/pictures/{name}") for name in left]
    assert len({len(answer.content) for answer in answers}) == 1
    assert len({tuple(sorted(answer.headers.items())) for answer in answers}) == 1
    outline = {"reader": "ann"}
    assert client.get(f"/pictures/{left[0]}/outline", params=outline).status_code == 409
    said = {"reader": "ann", "picture": left[0], "generated": True, "dx": "mel", "confidence": 4, "seconds": 3.0}
    for bad in ({"dx": "cat"}, {"generated": None}, {"confidence": None}, {"picture": "other"}):
        assert client.post("/answers", json={**said, **bad}).status_code == 409
    assert client.post("/answers", json={**said, "confidence": 9}).status_code == 422
    assert client.post("/answers", json=said).json()["left"] == left[1:]
    assert "<path" in client.get(f"/pictures/{left[0]}/outline", params=outline).text
    client.post("/answers", json={"reader": "ann", "picture": left[0], "fits": True})
    (answer,) = study.answered()
    assert (answer.says_generated, answer.fits, answer.seconds) == (True, True, 3.0)


def test_who_asks_readers_trains_no_judge_anew(copied: Path) -> None:
    digests = {judge_digest(open_job(copied, [f"gates.review={policy}"])) for policy in ("off", "any", "required")}
    assert len(digests) == 1


def test_a_port_in_use_is_said_in_one_sentence(run: Path, capsys: pytest.CaptureFixture[str]) -> None:
    with socket.socket() as taken:
        taken.bind(("127.0.0.1", 0))
        taken.listen()
        port = str(taken.getsockname()[1])
        assert exit_code(["view", str(run), "--port", port]) == 1
    assert f"port {port} cannot be used" in capsys.readouterr().err
