"""Sources that contradict themselves, are not what they should be or reach outside: one sentence, or a rejected row."""

from __future__ import annotations

import shutil
from pathlib import Path

import pyarrow as pa
import pyarrow.parquet as pq
import pytest

from manifests.errors import BadInput
from manifests.phantom.draw import write_csv, write_phantom
from manifests.settings import PrepareSettings
from manifests.sources.recognition import find_source
from tests.manifests.sources.source_layouts import PAIRS, read


def _truth(folder: Path, header: tuple[str, ...], rows: list[tuple[str, ...]]) -> Path:
    path = folder / "ISIC-2017_Training_Part3_GroundTruth.csv"
    write_csv(path, header, rows)
    return path


@pytest.fixture()
def isic2017(tmp_path: Path) -> Path:
    write_phantom(tmp_path / "isic", 9, 0, size=48)
    return tmp_path / "isic"


HEADER = ("image_id", "melanoma", "seborrheic_keratosis")


def test_contradicting_labels_are_set_aside_with_the_reason(isic2017: Path) -> None:
    ids = sorted(p.stem for p in (isic2017 / "ISIC-2017_Training_Data").iterdir())
    rows = [(ids[0], "1", "1"), (ids[1], "1", "0"), (ids[1], "0", "1"), (ids[2], "0", "0"), (ids[2], "0", "0")]
    _truth(isic2017, HEADER, [*rows, ("ISIC_9999999", "0", "0")])
    listing = read(isic2017)
    reasons = {(r.pair_id.split(":")[1], r.check): r.reason for r in listing.rejected}
    assert set(reasons) == {
        (ids[0], "label conflict"),
        (ids[1], "label conflict"),
        (ids[2], "duplicate id"),
        ("ISIC_9999999", "missing image"),
    }
    assert "mel and bkl" in reasons[ids[0], "label conflict"]
    assert "mel and bkl" in reasons[ids[1], "label conflict"]
    assert [row.dx for row in listing.rows if row.split == "train"] == ["nv"]


@pytest.mark.parametrize(
    ("header", "rows", "sentence"),
    [
        (("image_id", "melanoma"), [("a", "0")], "Part3_GroundTruth.csv has no column 'seborrheic_keratosis'"),
        (("melanoma", "seborrheic_keratosis"), [("0", "1")], "has no column 'image_id'"),
        (HEADER, [("a", "maybe", "0")], "has the value 'maybe' where 0 or 1 is expected"),
        (HEADER, [("a", "2", "0")], "has the value '2' where 0 or 1 is expected"),
    ],
)
def test_a_bad_truth_file_is_named_with_column_value_and_fix(
    header: tuple[str, ...], rows: list[tuple[str, ...]], sentence: str, isic2017: Path
) -> None:
    _truth(isic2017, header, rows)
    with pytest.raises(BadInput, match=sentence):
        read(isic2017)


def test_an_unknown_class_is_named_with_those_that_are_known(layouts: Path, tmp_path: Path) -> None:
    text = (layouts / "ham10000" / "HAM10000_metadata.csv").read_text()
    (tmp_path / "HAM10000_metadata.csv").write_text(text.replace(",mel,", ",melanomma,", 1))
    for path in (layouts / "ham10000").rglob("*.jpg"):
        shutil.copy(path, tmp_path)
    with pytest.raises(BadInput, match=r"metadata.csv has the unknown class 'melanomma'; expected one of akiec, bcc"):
        read(tmp_path)


def test_folders_that_are_missing_empty_or_unknown_are_refused(tmp_path: Path) -> None:
    with pytest.raises(BadInput, match="nowhere does not exist"):
        find_source(tmp_path / "nowhere")
    with pytest.raises(BadInput, match="is empty"):
        find_source(tmp_path)
    (tmp_path / "holiday.txt").write_text("sun")
    with pytest.raises(BadInput, match="none of the known layouts"):
        find_source(tmp_path)
    with pytest.raises(BadInput, match="unknown source 'isic2099'"):
        find_source(tmp_path, "isic2099")
    with pytest.raises(BadInput, match="does not have the layout of ph2"):
        find_source(tmp_path, "ph2")


def test_a_parquet_file_whose_columns_have_no_readable_names_is_refused(tmp_path: Path) -> None:
    pq.write_table(pa.table({"pair_id": ["a"], "picture": ["a.jpg"]}), tmp_path / "table.parquet")
    spoilt = (tmp_path / "table.parquet").read_bytes().replace(b"picture", b"\x80icture")
    (tmp_path / "table.parquet").write_bytes(spoilt)
    with pytest.raises(BadInput):
        read(tmp_path)


def test_files_of_one_name_are_set_aside_together(isic2017: Path) -> None:
    data = isic2017 / "ISIC-2017_Training_Data"
    first = sorted(data.iterdir())[0]
    (data / f"{first.stem}.PNG").write_bytes(first.read_bytes())
    listing = read(isic2017)
    assert [r.check for r in listing.rejected].count("duplicate id") == 2
    assert first.stem not in {row.image_id for row in listing.rows}


def test_links_out_of_the_folder_are_refused_unless_allowed(isic2017: Path, tmp_path: Path) -> None:
    data = isic2017 / "ISIC-2017_Training_Data"
    first = sorted(data.iterdir())[0]
    outside = tmp_path / "outside.jpg"
    first.rename(outside)
    first.symlink_to(outside)
    assert [(r.pair_id, r.check) for r in read(isic2017).rejected] == [(f"isic2017:{first.stem}", "outside")]
    assert not read(isic2017, PrepareSettings(follow_links=True)).rejected


@pytest.mark.parametrize("path", ["../secret.png", "/etc/passwd", "images/../../secret.png", "..\\secret.png"])
def test_a_table_cannot_reach_outside_its_folder(path: str, tmp_path: Path) -> None:
    (tmp_path / "secret.png").write_bytes(b"x")
    (tmp_path / "data" / "images").mkdir(parents=True)
    (tmp_path / "data" / "ok.png").write_bytes(b"x")
    write_csv(tmp_path / "data" / "t.csv", ("image", "class"), [(path, "nv"), ("ok.png", "nv")])
    for follow_links in (False, True):
        listing = read(tmp_path / "data", PrepareSettings(follow_links=follow_links))
        assert [r.check for r in listing.rejected] == ["outside"]
        assert len(listing.rows) == 1


TABLES = {
    "isic2016": "ISBI2016_ISIC_Part3_Training_GroundTruth.csv",
    "isic2017": "ISIC-2017_Training_Part3_GroundTruth.csv",
    "isic2018": "ISIC2018_Task3_Training_LesionGroupings.csv",
    "ham10000": "HAM10000_metadata.csv",
    "ph2": "PH2_dataset.txt",
    "table": "pairs.csv",
    "parquet": "pairs.parquet",
}


@pytest.mark.parametrize("layout", sorted(TABLES))
def test_a_table_that_links_out_of_the_folder_is_refused_unless_allowed(
    layout: str, layouts: Path, tmp_path: Path
) -> None:
    shutil.copytree(layouts / layout, tmp_path / "data")
    table = tmp_path / "data" / TABLES[layout]
    table.rename(tmp_path / f"elsewhere{table.suffix}")
    table.symlink_to(tmp_path / f"elsewhere{table.suffix}")
    with pytest.raises(BadInput, match=r"lies outside the dataset's folder; .*follow_links=true"):
        read(tmp_path / "data")
    assert len(read(tmp_path / "data", PrepareSettings(follow_links=True)).rows) == PAIRS
