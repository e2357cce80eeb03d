"""Candidate shards: drawn pairs of one index range with verdicts and origins, as one safetensors file."""

from __future__ import annotations

import json
from collections.abc import Mapping, Sequence
from dataclasses import asdict
from typing import Any

import numpy as np
import torch

from augment.tensor_files import tensor_bytes
from augment.ways.plan import Origin
from manifests.pairs import PairArrays


def pack(pairs: PairArrays, verdicts: Sequence[Mapping[str, Any]], origins: Sequence[Origin]) -> bytes:
    """The content of a shard; verdicts: JSON-ready, one for each pair, as are origins."""
    tensors = {"images": torch.from_numpy(pairs.images), "masks": torch.from_numpy(pairs.masks)}
    names = {"pair_ids": json.dumps(pairs.pair_ids), "group_ids": json.dumps(pairs.group_ids)}
    if pairs.attributes:
        names["attributes"] = json.dumps(pairs.attributes, sort_keys=True)
    if any(origin != Origin() for origin in origins):
        names["origins"] = json.dumps([asdict(origin) for origin in origins])
    return tensor_bytes(tensors, {**names, "verdicts": json.dumps(verdicts)})


def verdicts_in(content: bytes) -> list[dict[str, Any]]:
    """The verdicts of a shard, as they were packed."""
    found: list[dict[str, Any]] = json.loads(_header(content)["verdicts"])
    return found


def origins_in(content: bytes) -> list[Origin]:
    """What each pair of a shard was drawn from."""
    header = _header(content)
    if "origins" not in header:
        return [Origin()] * len(json.loads(header["pair_ids"]))
    return [Origin(**fields) for fields in json.loads(header["origins"])]


def unpack(content: bytes, dx: str) -> PairArrays:
    """The pairs of a shard of class `dx`."""
    from safetensors.numpy import load

    header, tensors = _header(content), load(content)
    ids, groups, attributes = (json.loads(header.get(key, "[]")) for key in ("pair_ids", "group_ids", "attributes"))
    labels = np.zeros(len(ids), dtype=np.int64)
    return PairArrays(ids, tensors["images"], tensors["masks"], labels, (dx,), groups, attributes)


def _header(content: bytes) -> dict[str, str]:
    size = int.from_bytes(content[:8], "little")
    metadata: dict[str, str] = json.loads(content[8 : 8 + size])["__metadata__"]
    return metadata
