"""Names from user data become paths only if they are safe as paths."""

from __future__ import annotations

from pathlib import PurePosixPath, PureWindowsPath

import pytest
from hypothesis import given
from hypothesis import strategies as st

from manifests.errors import BadInput
from manifests.format.schema import (
    SHARD_PATTERN,
    UNLABELLED,
    check_classes,
    class_name_fault,
    class_of_path,
    file_stem,
    manifest_identity,
    pair_id_fault,
    path_name,
    shard_name,
)


@pytest.mark.parametrize(
    "name", ["akiec", "bcc", "nv", "seborrheic keratosis", "Nävus", "母斑", "c-1.2_x+y", "Melanoma, NOS", "head/neck"]
)
def test_ordinary_class_names_are_taken(name: str) -> None:
    assert check_classes([name], "data.csv") == (name,)


@pytest.mark.parametrize(
    "name",
    ["", " nv", "nv ", "a\0b", "a\nb", "x" * 121, UNLABELLED, "a\u202eb", "a\u200bb"],
)  # fmt: skip
def test_unsafe_class_names_are_refused_in_one_sentence(name: str) -> None:
    with pytest.raises(BadInput, match=r"^data\.csv: the class name .*; rename the class") as error:
        check_classes(["nv", name], "data.csv")
    assert "\n" not in str(error.value)


def test_classes_that_a_file_system_may_confuse_are_refused() -> None:
    with pytest.raises(BadInput, match="twice"):
        check_classes(["mel", "MEL"], "data.csv")


@given(st.text())
def test_an_accepted_class_name_is_one_path_component(name: str) -> None:
    if class_name_fault(name) is None:
        path = shard_name(name, 7)
        assert PurePosixPath(path).parts[::2] == ("data", "part-00007.parquet")
        assert len(PureWindowsPath(path).parts) == 3
        match = SHARD_PATTERN.fullmatch(path)
        assert match is not None
        assert class_of_path(match["dx"]) == name and path_name(name) == match["dx"]
        assert match["dx"] not in (".", "..") and not match["dx"].startswith("~")


@given(st.text(min_size=1), st.text(min_size=1))
def test_file_stems_are_plain_and_differ_for_different_ids(one: str, other: str) -> None:
    for pair_id in (one, other):
        assert all(c.isascii() and (c.isalnum() or c in "_-") for c in file_stem(pair_id))
        assert 0 < len(file_stem(pair_id)) <= 110
    assert (file_stem(one) == file_stem(other)) == (one == other)


def test_a_source_id_stays_readable_in_its_file_name() -> None:
    assert file_stem("isic2017:ISIC_0000000") == "isic2017-ISIC_0000000"
    assert file_stem("isic2017-ISIC_0000000") != "isic2017-ISIC_0000000"
    assert file_stem("CON") != "CON"


@pytest.mark.parametrize("pair_id", ["", "a\nb", "a\0", "x" * 257])
def test_unprintable_ids_are_refused(pair_id: str) -> None:
    assert pair_id_fault(pair_id) is not None


def test_identity_follows_from_what_a_manifest_is_made_from() -> None:
    first = manifest_identity("real", ["nv"], {"a": 1, "b": 2})
    assert first == manifest_identity("real", ["nv"], {"b": 2, "a": 1})
    others = [
        manifest_identity("synthetic", ["nv"], {"a": 1, "b": 2}),
        manifest_identity("real", ["mel"], {"a": 1, "b": 2}),
        manifest_identity("real", ["nv"], {"a": 1, "b": 3}),
    ]
    assert len({first, *others}) == 4
