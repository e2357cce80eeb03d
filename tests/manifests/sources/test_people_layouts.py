"""Forms of publishers, contests and tools are recognised and read; other files are named with advice."""

from __future__ import annotations

from collections import Counter
from pathlib import Path

import pytest

from manifests.errors import BadInput
from manifests.phantom.draw import write_csv
from manifests.prepare.prepare import prepare
from manifests.prepare.understanding import understand
from manifests.settings import PrepareSettings, TableColumns
from manifests.sources.recognition import SOURCES, find_source
from tests.manifests.sources.drawn_pairs import PAIRS, pictures
from tests.manifests.sources.people_layouts import FORMS
from tests.manifests.sources.source_layouts import read


@pytest.mark.parametrize("name", sorted(FORMS))
def test_a_form_that_people_have_is_read_as_they_mean_it(name: str, tmp_path: Path) -> None:
    form = FORMS[name]
    form.write(tmp_path / "data")
    listing = read(tmp_path / "data")
    assert find_source(tmp_path / "data")[0].name == form.source
    assert Counter(row.dx for row in listing.rows) == form.classes
    assert Counter(row.split for row in listing.rows) == form.splits
    assert sum(row.mask is not None for row in listing.rows) == form.masks
    assert form.groups in (None, len({row.group for row in listing.rows}))
    assert len({row.image_id for row in listing.rows}) == len(listing.rows)
    counts = prepare(tmp_path / "data", tmp_path / "m", PrepareSettings(size=48, duplicates=False)).counts
    assert sum(sum(of.values()) for of in counts.values()) == len(PAIRS)


@pytest.mark.parametrize(
    ("name", "said"),
    [
        ("d.zip", "is an archive: unpack it"),
        ("d.tar.gz", "is an archive: unpack it"),
        ("d.npz", "holds arrays"),
        ("train-image.hdf5", "holds arrays"),
        ("one.heic", "HEIC"),
        ("dump.sql", "is a database: export its tables"),
        ("one.dcm", "DICOM"),
        ("settings.toml", "--settings"),
        ("annotations.xml", "Segmentation mask 1.1"),
    ],
)
@pytest.mark.parametrize("inside", [False, True])
def test_files_of_the_wrong_kind_are_named_with_what_helps(name: str, said: str, inside: bool, tmp_path: Path) -> None:
    (tmp_path / "d").mkdir()
    (tmp_path / "d" / name).write_bytes(b"content")
    with pytest.raises(BadInput, match=said):
        find_source(tmp_path / "d" if inside else tmp_path / "d" / name)


@pytest.mark.parametrize("folders", [("imgs_part_1", "imgs_part_2"), ("train", "test"), ("nv alone",)])
def test_containers_splits_and_one_folder_are_no_classes_unless_somebody_insists(
    folders: tuple[str, ...], tmp_path: Path
) -> None:
    for number, folder in enumerate(folders):
        pictures(tmp_path / "d" / folder, [f"{number}.png"])
    with pytest.raises(BadInput, match=r"tell of no classes .*insist with --set prepare.source=folders"):
        find_source(tmp_path / "d")


def test_a_table_whose_pictures_are_not_there_is_told_and_an_archive_beside_pictures_too(tmp_path: Path) -> None:
    FORMS["fitzpatrick17k"].write(tmp_path / "d")
    (tmp_path / "d/masks.zip").write_bytes(b"PK")
    assert any(note.startswith("masks.zip is not looked into") for note in read(tmp_path / "d").notes)
    for path in (tmp_path / "d").rglob("*.jpg"):
        path.unlink()
    with pytest.raises(BadInput, match=r"holds no pictures that can be read, and .*masks\.zip is an archive"):
        find_source(tmp_path / "d")
    (tmp_path / "d/masks.zip").unlink()
    with pytest.raises(BadInput, match=r"put those that fitzpatrick17k names into it .*web addresses are not fetched"):
        find_source(tmp_path / "d")


@pytest.mark.parametrize("columns", [{"dx": "verdict"}, {"image": "second"}, {"image": "second", "dx": "verdict"}])
def test_columns_that_are_named_in_one_table_leave_the_others_joined_with_it(
    columns: dict[str, str], tmp_path: Path
) -> None:
    pictures(tmp_path / "d", [f"photos/{name}{n}.jpg" for n in range(4) for name in "ab"])
    cases = [(500 + n, f"photos/a{n}.jpg", f"photos/b{n}.jpg") for n in range(4)]
    write_csv(tmp_path / "d/cases.csv", ("case_id", "first", "second"), cases)
    labels = [(500 + n, ["nv", "mel"][n % 2], ["bkl", "df"][n % 2]) for n in range(4)]
    write_csv(tmp_path / "d/labels.csv", ("case_id", "finding", "verdict"), labels)
    settings = PrepareSettings(source="table", columns=TableColumns(**columns))
    rows = read(tmp_path / "d", settings).rows
    name, place = "b" if "image" in columns else "a", 2 if "dx" in columns else 1
    assert [(Path(row.image).stem, row.dx) for row in rows] == [(f"{name}{n}", labels[n][place]) for n in range(4)]
    with pytest.raises(BadInput, match="no column 'nose'"):
        read(tmp_path / "d", PrepareSettings(source="table", columns=TableColumns(**columns, site="nose")))


def test_several_classes_at_once_are_no_class(tmp_path: Path) -> None:
    pictures(tmp_path / "d/images", [f"{n}.png" for n in range(6)])
    rows = "".join(f"{n}.png,{n % 2},{int(n < 5)}\n" for n in range(6))
    (tmp_path / "d/labels.csv").write_text(f"image,melanoma,nevus\n{rows}")
    with pytest.raises(BadInput, match=r"labels\.csv is not understood: .*'melanoma', 'nevus'"):
        find_source(tmp_path / "d")


def test_comments_before_a_table_and_thumbnails_and_overlays_beside_pictures_are_no_part_of_it(tmp_path: Path) -> None:
    names = [f"{n}.png" for n in range(4)]
    for folder in ("images", "thumbnails", "overlays"):
        pictures(tmp_path / "d" / folder, names)
    lines = "".join(f"{name};{'mel' if n % 2 else 'nv'}\n" for n, name in enumerate(names))
    (tmp_path / "d/meta.csv").write_text(f"# export of 2021\n# the hospital\nimage;diagnosis\n{lines}")
    listing = read(tmp_path / "d")
    assert Counter(row.dx for row in listing.rows) == {"nv": 2, "mel": 2} and not listing.rejected


def test_folders_in_folders_that_are_both_no_diseases_are_asked_about(tmp_path: Path) -> None:
    pictures(tmp_path / "d", [f"{one}/{other}/{one}{other}.png" for one in "AB" for other in ("left", "right")])
    with pytest.raises(BadInput, match=r"tells which are classes; .*inner ones with --set prepare.source=folders"):
        read(tmp_path / "d")
    listing = find_source(tmp_path / "d")[0].read(tmp_path / "d", PrepareSettings(source="folders"))
    assert {row.dx for row in listing.rows} == {"left", "right"}


def test_folders_of_patients_alone_are_groups_and_no_classes(tmp_path: Path) -> None:
    names = [f"P{n // 2 + 11:03d}/{n}.png" for n in range(8)]
    pictures(tmp_path / "d", names, [name.replace(".png", "_mask.png") for name in names])
    rows = read(tmp_path / "d").rows
    assert {row.dx for row in rows} == {None} and len({row.group for row in rows}) == 4


def test_a_picture_of_which_two_tables_tell_two_classes_of_the_same_words_is_set_aside(tmp_path: Path) -> None:
    pictures(tmp_path / "d", ["0.png", "1.png", "2.png"])
    (tmp_path / "d/a.csv").write_text("image,dx\n0,nv\n1,mel\n2,nv\n")
    (tmp_path / "d/b.csv").write_text("image,dx\n0,mel\n1,mel\n")
    listing = read(tmp_path / "d")
    assert [row.image_id for row in listing.rows] == ["1", "2"]
    assert [(r.check, "nv and mel" in r.reason) for r in listing.rejected] == [("label conflict", True)]


def test_masks_that_fit_no_picture_by_name_are_refused_and_some_such_are_told(tmp_path: Path) -> None:
    pictures(tmp_path / "d", ["images/a0.png", "images/b0.png"], ["masks/a0_1_x.png", "masks/b0_2_x.png"])
    (tmp_path / "d/labels.csv").write_text("image,dx\na0,nv\nb0,mel\n")
    with pytest.raises(BadInput, match=r"2 masks, of which none fits a picture by its name \(first 'masks/a0_1_x'"):
        read(tmp_path / "d")
    (tmp_path / "d/masks/a0_1_x.png").rename(tmp_path / "d/masks/a0.png")
    assert any("1 masks fit no picture" in note for note in read(tmp_path / "d").notes)


def test_a_tools_annotations_beside_pictures_are_named_with_what_helps(tmp_path: Path) -> None:
    pictures(tmp_path / "d", ["one.png", "two.png"])
    (tmp_path / "d/one.json").write_text('{"regions": []}')
    with pytest.raises(BadInput, match=r"one\.json may hold annotations .*export them"):
        find_source(tmp_path / "d")


def test_a_table_that_nobody_understands_keeps_folders_from_being_classes(tmp_path: Path) -> None:
    for dx in ("nv", "mel"):
        pictures(tmp_path / "d" / dx, ["0.png", "1.png"])
    (tmp_path / "d" / "labels.csv").write_text("number,diagnosis\n17,nv\n18,mel\n")
    with pytest.raises(BadInput, match=r"labels\.csv is not understood.*prepare\.source=folders"):
        find_source(tmp_path / "d")
    assert find_source(tmp_path / "d", "folders")[0].name == "folders"


def test_classes_are_renamed_merged_and_left_out(tmp_path: Path) -> None:
    FORMS["ddi"].write(tmp_path / "d")
    settings = PrepareSettings(size=48, duplicates=False, classes={"MEL": "Melanoma, NOS", "nv": None})
    summary = prepare(tmp_path / "d", tmp_path / "m", settings)
    assert summary.classes == ("Melanoma, NOS",) and any("left out" in line for line in summary.understood)
    with pytest.raises(BadInput, match="'none', which no row has"):
        prepare(tmp_path / "d", tmp_path / "n", PrepareSettings(classes={"none": "nv"}))


def test_what_was_understood_is_said_without_preparing(tmp_path: Path) -> None:
    FORMS["milk10k"].write(tmp_path / "d")
    lines = understand(tmp_path / "d", PrepareSettings()).lines()
    assert lines[0].startswith("layout milk10k: classes mel 4, nv 4")
    assert lines[1] == "groups: 4 by lesion_id, near-duplicate clusters"
    assert "masks: 0 given, 8 missing, 0 found" in lines


def test_every_layout_has_a_reader() -> None:
    assert {form.source for form in FORMS.values()} <= SOURCES.keys()
