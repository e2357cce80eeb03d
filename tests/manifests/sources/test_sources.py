"""Each layout is recognised by itself and read for what it tells; what is wrong is named with file and fix."""

from __future__ import annotations

import shutil
from collections import Counter
from pathlib import Path

import numpy as np
import pytest

from manifests.errors import BadInput
from manifests.phantom.draw import write_csv, write_image, write_phantom
from manifests.settings import PrepareSettings, TableColumns
from manifests.sources.recognition import SOURCES, find_source
from tests.manifests.sources.phantom_layouts import LAYOUTS, write_isic2018, write_layout
from tests.manifests.sources.source_layouts import PAIRS, SETTINGS, read

SEVEN = {"akiec", "bcc", "bkl", "df", "mel", "nv", "vasc"}
EXPECTED_CLASSES = {
    "isic2016": {"benign", "malignant"},
    "isic2017": {"nv", "mel", "bkl"},
    "isic2018": SEVEN,
    "ham10000": SEVEN,
    "ph2": {"nv", "mel"},
    "folders": SEVEN,
    "table": {"nv", "mel", "bkl"},
    "parquet": {"nv", "mel", "bkl"},
}
EXPECTED_SPLITS = {
    "isic2016": {"train", "test"},
    "isic2017": {"train", "validation", "test"},
    "isic2018": {"train", "validation", "test"},
    "table": {"train", "validation", "test"},
    "parquet": {"train", "validation", "test"},
}


@pytest.mark.parametrize("layout", sorted(LAYOUTS))
def test_a_layout_is_recognised_and_read_completely(layout: str, layouts: Path) -> None:
    source, folder = find_source(layouts / layout)
    assert source.name == ("table" if layout == "parquet" else layout)
    listing = source.read(folder, SETTINGS)
    assert len(listing.rows) == PAIRS
    assert not listing.rejected
    assert {row.dx for row in listing.rows} == EXPECTED_CLASSES[layout]
    assert {row.split for row in listing.rows} == EXPECTED_SPLITS.get(layout, {None})
    assert all(row.mask and Path(row.mask).is_file() and Path(row.image).is_file() for row in listing.rows)
    assert len({row.image_id for row in listing.rows}) == PAIRS


def test_every_source_describes_itself_and_shows_an_example() -> None:
    for name, source in SOURCES.items():
        assert source.name == name
        assert len(source.description) > 20
        assert source.example_tree.count("\n") >= 3


def test_lesions_and_people_come_through(layouts: Path) -> None:
    ham = read(layouts / "ham10000")
    assert max(Counter(row.group for row in ham.rows).values()) == 2
    assert all({"age_group", "sex", "site"} <= {name for name, _ in row.attributes} for row in ham.rows)
    assert ("age_group", "20-29") in {pair for row in ham.rows for pair in row.attributes}
    isic2018 = read(layouts / "isic2018")
    assert all(bool(row.group) == (row.split == "train") for row in isic2018.rows)
    table = read(layouts / "table")
    assert all(row.group and row.group.startswith("patient-") for row in table.rows)


def test_licences_are_stated_where_the_publisher_states_them(layouts: Path) -> None:
    licences = {layout: read(layouts / layout).licence for layout in ("isic2017", "ham10000", "folders")}
    assert licences == {"isic2017": "CC0-1.0", "ham10000": "CC-BY-NC-4.0", "folders": "unknown"}


def test_a_folder_that_only_wraps_the_dataset_is_looked_into(tmp_path: Path) -> None:
    write_phantom(tmp_path / "download" / "ISIC2017", 9, 0, size=48)
    (tmp_path / "download" / "__MACOSX").mkdir()
    source, folder = find_source(tmp_path / "download")
    assert (source.name, folder.name) == ("isic2017", "ISIC2017")


def test_a_wrapping_folder_with_nothing_but_a_link_is_not_the_dataset(layouts: Path, tmp_path: Path) -> None:
    (tmp_path / "link").symlink_to(layouts / "isic2017")
    with pytest.raises(BadInput, match="none of the known layouts"):
        find_source(tmp_path)
    assert find_source(tmp_path / "link")[0].name == "isic2017", "a link that the user names is what is meant"


def test_one_task_of_isic_2018_alone_serves_one_purpose(tmp_path: Path) -> None:
    write_isic2018(tmp_path / "masks", 10, 0, 48, tasks=(1,))
    write_isic2018(tmp_path / "classes", 10, 0, 48, tasks=(3,))
    assert {(row.mask is None, row.dx is None) for row in read(tmp_path / "masks").rows} == {(False, True)}
    assert {(row.mask is None, row.dx is None) for row in read(tmp_path / "classes").rows} == {(True, False)}


def test_folders_named_after_splits_are_official_splits(tmp_path: Path) -> None:
    for split, number in (("train", 6), ("val", 4), ("test", 4)):
        write_layout(tmp_path / "d" / split, "folders", 21, number, size=48)
        (tmp_path / "d" / split / "README.txt").unlink()
    listing = read(tmp_path / "d")
    assert Counter(row.split for row in listing.rows) == {"train": 21, "validation": 21, "test": 21}


def test_flat_image_and_mask_folders_are_read_without_classes(layouts: Path, tmp_path: Path) -> None:
    for kind in ("images", "masks"):
        (tmp_path / kind).mkdir()
        for path in (layouts / "table" / kind).iterdir():
            (tmp_path / kind / path.name).write_bytes(path.read_bytes())
    assert {row.dx for row in read(tmp_path).rows} == {None}


def test_columns_of_a_table_can_be_named(layouts: Path, tmp_path: Path) -> None:
    text = (layouts / "table" / "pairs.csv").read_text()
    table = layouts / "table" / "pairs.csv"
    renamed = tmp_path / "table"
    renamed.mkdir()
    for kind in ("images", "masks"):
        (renamed / kind).symlink_to(layouts / "table" / kind)
    (renamed / table.name).write_text(text.replace("image,mask,class", "Photo,Contour,Finding", 1))
    with pytest.raises(BadInput, match=r"'Photo'.*prepare.columns"):
        find_source(renamed)
    columns = TableColumns(image="photo", mask="contour", dx="finding")
    listing = read(renamed, PrepareSettings(source="table", columns=columns, follow_links=True))
    assert len(listing.rows) == PAIRS
    with pytest.raises(BadInput, match="no column 'nose'"):
        read(table, PrepareSettings(columns=TableColumns(dx="nose")))


@pytest.mark.parametrize("encoding", ["utf-8", "utf-8-sig", "utf-16", "latin-1"])
@pytest.mark.parametrize("end", ["\n", "\r\n", "\r"])
@pytest.mark.parametrize("separator", [",", ";", "\t"])
def test_tables_are_read_in_any_encoding_line_end_and_separator(
    encoding: str, end: str, separator: str, layouts: Path
) -> None:
    text = (layouts / "table" / "pairs.csv").read_text().replace("mel", "mélanome")
    copy = layouts / "table" / "copy.csv"
    copy.write_bytes(text.replace(",", separator).replace("\n", end).encode(encoding))
    try:
        classes = {row.dx for row in read(copy).rows}
    finally:
        copy.unlink()
    assert classes == {"nv", "mélanome", "bkl"}


def test_a_table_with_mixed_line_ends_is_read(layouts: Path, tmp_path: Path) -> None:
    lines = (layouts / "table" / "pairs.csv").read_text().splitlines()
    for kind in ("images", "masks"):
        shutil.copytree(layouts / "table" / kind, tmp_path / kind)
    mixed = "".join(line + ("\n", "\r\n", "\r")[number % 3] for number, line in enumerate(lines))
    (tmp_path / "pairs.csv").write_bytes(mixed.encode())
    assert len(read(tmp_path).rows) == PAIRS


def test_isic_2017_as_published_holds_superpixels_and_metadata_beside_the_images(layouts: Path, tmp_path: Path) -> None:
    shutil.copytree(layouts / "isic2017", tmp_path / "d")
    ages = ("25", "unknown", "85")
    for stem in ("ISIC-2017_Training", "ISIC-2017_Validation", "ISIC-2017_Test_v2"):
        data = tmp_path / "d" / f"{stem}_Data"
        names = sorted(path.stem for path in data.iterdir())
        for name in names:
            write_image(data / f"{name}_superpixels.png", np.zeros((8, 8), np.uint8))
        people = [(name, ages[number % 3], "female") for number, name in enumerate(names)]
        write_csv(data / f"{stem}_Data_metadata.csv", ("image_id", "age_approximate", "sex"), people)
        for name in ("ATTRIBUTION.txt", "LICENSE.txt"):
            (data / name).write_text("CC0")
    listing = read(tmp_path / "d")
    assert len(listing.rows) == PAIRS and not listing.rejected
    assert all(("sex", "female") in row.attributes for row in listing.rows)
    assert {dict(row.attributes).get("age_group") for row in listing.rows} == {"20-29", "80-89", None}


def test_ham10000_as_dataverse_serves_it_has_a_tab_separated_table(layouts: Path, tmp_path: Path) -> None:
    shutil.copytree(layouts / "ham10000", tmp_path / "d")
    lines = (tmp_path / "d" / "HAM10000_metadata.csv").read_text().splitlines()
    (tmp_path / "d" / "HAM10000_metadata.csv").unlink()
    quoted = ["\t".join(f'"{cell}"' if not cell.isdigit() else f"{cell}.0" for cell in x.split(",")) for x in lines]
    (tmp_path / "d" / "HAM10000_metadata.tab").write_text("\n".join(quoted) + "\n")
    found, expected = read(tmp_path / "d"), read(layouts / "ham10000")
    facts = [[(row.image_id, row.dx, row.group, row.attributes) for row in x.rows] for x in (found, expected)]
    assert facts[0] == facts[1] and not found.rejected


def test_ph2_as_published_holds_regions_of_interest_too(layouts: Path, tmp_path: Path) -> None:
    shutil.copytree(layouts / "ph2", tmp_path / "d")
    for case in (tmp_path / "d" / "PH2 Dataset images").iterdir():
        for number in (1, 2):
            write_image(case / f"{case.name}_roi" / f"{case.name}_R{number}_Label3.bmp", np.zeros((8, 8), np.uint8))
    (tmp_path / "d" / "PH2_dataset.xlsx").write_bytes(b"PK")
    listing = read(tmp_path / "d")
    assert len(listing.rows) == PAIRS and not listing.rejected


def test_two_published_datasets_in_one_folder_ask_which_is_meant(layouts: Path, tmp_path: Path) -> None:
    for layout in ("isic2017", "ham10000"):
        shutil.copytree(layouts / layout, tmp_path / "both", dirs_exist_ok=True)
    with pytest.raises(BadInput, match=r"several datasets \(isic2017, ham10000\); .*prepare.source=isic2017"):
        find_source(tmp_path / "both")
    assert find_source(tmp_path / "both", "ham10000")[0].name == "ham10000"


def test_a_table_beside_class_folders_is_what_tells_of_them(layouts: Path, tmp_path: Path) -> None:
    shutil.copytree(layouts / "folders", tmp_path / "data")
    write_csv(tmp_path / "data" / "all.csv", ("image", "class"), [("nv/none.jpg", "nv")])
    assert find_source(tmp_path / "data")[0].name == "table"
    assert find_source(tmp_path / "data", "folders")[0].name == "folders"
