"""A manifest opens in every tool that people use, with its pictures decoded where the tool can."""

from __future__ import annotations

import io
from pathlib import Path
from typing import Any

import numpy as np
import pytest
from PIL import Image

from manifests.format.reading import Manifest
from manifests.format.schema import column_types
from manifests.images import decode_image


@pytest.fixture(scope="module", params=["real", "synthetic"])
def manifest(request: pytest.FixtureRequest, tmp_path_factory: pytest.TempPathFactory, manifest_at: Any) -> Manifest:
    opened: Manifest = manifest_at(tmp_path_factory.mktemp("manifest"), pairs=30, kind=request.param)
    return opened


def files(manifest: Manifest) -> str:
    return f"{manifest.location}/data/*/*.parquet"


def expected(manifest: Manifest) -> list[dict[str, Any]]:
    rows: list[dict[str, Any]] = manifest.table(accepted_only=False).to_pylist()
    return rows


def test_datasets_decodes_pictures_and_names_classes(manifest: Manifest, tmp_path: Path) -> None:
    import datasets

    loaded = datasets.load_dataset("parquet", data_files=files(manifest), split="train", cache_dir=str(tmp_path))
    assert loaded.column_names == list(column_types(manifest.kind))
    assert isinstance(loaded.features["image"], datasets.Image)
    assert isinstance(loaded.features["mask"], datasets.Image)
    assert loaded.features["label"].names == list(manifest.classes)
    by_id = {row["pair_id"]: row for row in loaded}
    for row in expected(manifest):
        found = by_id[row["pair_id"]]
        assert np.array_equal(np.asarray(found["image"]), decode_image(row["image"]["bytes"]))
        assert found["mask"].mode == "L"
        assert found["mask"].size == found["image"].size
        assert loaded.features["label"].int2str(found["label"]) == row["dx"]


def test_datasets_reads_the_folder_through_its_card(manifest: Manifest, tmp_path: Path) -> None:
    import datasets

    loaded = datasets.load_dataset(manifest.location, split="train", cache_dir=str(tmp_path))
    assert len(loaded) == 30
    assert isinstance(loaded.features["image"], datasets.Image)
    assert loaded.features["label"].names == list(manifest.classes)


def test_pandas(manifest: Manifest) -> None:
    import pandas

    frame = pandas.read_parquet(f"{manifest.location}/data")
    assert len(frame) == 30
    assert (frame["lesion"].astype(str) == frame["dx"].astype(str)).all()
    row = frame.sort_values("pair_id").iloc[0]
    first = expected(manifest)[0]
    assert row["pair_id"] == first["pair_id"]
    assert Image.open(io.BytesIO(row["image"]["bytes"])).size == (24, 24)


def test_polars(manifest: Manifest) -> None:
    import polars

    frame = polars.scan_parquet(files(manifest), hive_partitioning=True).sort("pair_id").collect()
    assert frame["pair_id"].to_list() == [row["pair_id"] for row in expected(manifest)]
    assert frame["lesion"].cast(str).to_list() == frame["dx"].to_list()
    assert frame["image"].struct.field("bytes").to_list() == [row["image"]["bytes"] for row in expected(manifest)]


def test_duckdb(manifest: Manifest) -> None:
    import duckdb

    query = f"select lesion, count(*) from read_parquet('{files(manifest)}', hive_partitioning=true) group by all"
    counted = dict(duckdb.sql(query).fetchall())
    assert sum(counted.values()) == 30
    assert set(counted) == {"nv", "mel"}
    first = duckdb.sql(
        f"select pair_id, image.bytes from read_parquet('{files(manifest)}') order by pair_id limit 1"
    ).fetchall()
    assert first == [(expected(manifest)[0]["pair_id"], expected(manifest)[0]["image"]["bytes"])]


def test_pyarrow_dataset(manifest: Manifest) -> None:
    import pyarrow.compute as pc
    import pyarrow.dataset

    opened = pyarrow.dataset.dataset(f"{manifest.location}/data", partitioning="hive")
    table = opened.to_table(columns=["pair_id", "dx", "lesion"], filter=pc.field("lesion") == "mel")
    assert set(table["dx"].to_pylist()) == {"mel"}
    assert opened.count_rows() == 30
