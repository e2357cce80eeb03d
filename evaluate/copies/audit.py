"""The copy audit of generated pairs that no gate has judged: their nearest real training pairs are looked up now."""

from __future__ import annotations

from typing import TYPE_CHECKING

from evaluate.copies.index import CopyIndex

if TYPE_CHECKING:
    import pyarrow as pa

    from manifests.pairs import PairArrays

COLUMNS = ("nearest_real_id", "nearest_similarity")


def with_nearest(index: CopyIndex, synthetic: pa.Table, pairs: PairArrays) -> pa.Table:
    """`synthetic` with nearest_real_id and nearest_similarity of each of its rows, which `pairs` holds by pair_id."""
    import pyarrow as pa

    nearest = index.search(pairs.images)
    found = {
        pair_id: (index.ids[place], float(similarity))
        for pair_id, place, similarity in zip(pairs.pair_ids, nearest.index, nearest.similarity, strict=True)
        if place >= 0
    }
    rows = [found.get(pair_id, (None, None)) for pair_id in synthetic["pair_id"].to_pylist()]
    kept = synthetic.drop_columns([name for name in COLUMNS if name in synthetic.column_names])
    ids, similarities = ([row[side] for row in rows] for side in (0, 1))
    kept = kept.append_column(COLUMNS[0], pa.array(ids, pa.string()))
    return kept.append_column(COLUMNS[1], pa.array(similarities, pa.float64()))
