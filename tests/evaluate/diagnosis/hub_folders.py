"""Model folders as strangers may publish them: with pickled weights, and as the hub's cache keeps them."""

from __future__ import annotations

import pickle
import shutil
from pathlib import Path

import pytest

_COMMIT = "0" * 40


class _Trap:
    """Unpickled, it makes a file."""

    def __init__(self, opened: Path) -> None:
        self.opened = opened

    def __reduce__(self) -> tuple[object, ...]:
        return Path.touch, (self.opened,)


def with_pickled_weights(folder: Path, opened: Path) -> Path:
    """Replaces the safetensors of a model folder by a pickle that makes the file `opened`, given back, when read."""
    for file in folder.glob("*.safetensors"):
        file.unlink()
    for name in ("pytorch_model.bin", "model.bin"):
        (folder / name).write_bytes(pickle.dumps(_Trap(opened)))
    return opened


def as_hub_cache(folder: Path, name: str, cache: Path, monkeypatch: pytest.MonkeyPatch) -> str:
    """Makes `name` a hub id whose snapshot, a copy of `folder`, is in the cache; the network is out of reach."""
    from huggingface_hub import constants

    place = cache / f"models--{name.replace('/', '--')}"
    shutil.copytree(folder, place / "snapshots" / _COMMIT)
    (place / "refs").mkdir()
    (place / "refs" / "main").write_text(_COMMIT, encoding="ascii")
    monkeypatch.setattr(constants, "HF_HUB_CACHE", str(cache))
    monkeypatch.setattr(constants, "HF_HUB_OFFLINE", True)
    return name
