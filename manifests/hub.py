"""A manifest as a finished dataset repository of the Hugging Face hub, and its upload."""

from __future__ import annotations

from collections import Counter
from pathlib import Path
from typing import TYPE_CHECKING, Any

from manifests.errors import BadInput, EvendermError, first_line
from manifests.files import write_json
from manifests.format.card import hub_card
from manifests.format.reading import Manifest
from manifests.format.schema import SPLITS, arrow_schema
from manifests.progress import Progress

if TYPE_CHECKING:
    import pyarrow.parquet as pq

LARGEST_FILE = 400_000_000
"""Bytes after which a split goes on in a further file; the hub's viewer likes files below 500 MB."""
PROVENANCE = "provenance.json"
_TOLD = ("manifest_id", "kind", "classes", "sources", "licences", "counts", "provenance")


def write_repository(manifest: Manifest, folder: Path, progress: Progress) -> int:
    """Write the accepted pairs as data/SPLIT-NNNNN.parquet with a card and their provenance; returns their number.

    Each split is a file of its own, in row groups of at most 64 pairs, so that the hub's viewer pages through them.
    """
    done, total = 0, sum(sum(by_dx.values()) for by_dx in manifest.counts().values())
    parts: dict[str, _Parts] = {}
    sources, licences, masks = Counter[str](), Counter[str](), 0
    for table in manifest.row_groups():
        for split in SPLITS:
            rows = table.filter([value == split for value in table["split"].to_pylist()])
            if len(rows):
                parts.setdefault(split, _Parts(folder / "data", split, manifest)).write(rows)
        sources.update(table["source"].to_pylist())
        licences.update(table["licence"].to_pylist())
        masks += len(table) - table["mask_sha256"].null_count
        done += len(table)
        progress(done, total)
    for part in parts.values():
        part.close()
    # Rejected pairs stay behind, and are not counted where nobody can see them.
    header = {
        **manifest.header,
        "rejected": dict.fromkeys(manifest.header["rejected"], 0),
        "rows": done,
        "masks": masks,
    }
    header |= {"sources": dict(sorted(sources.items())), "licences": dict(sorted(licences.items()))}
    write_json(folder / PROVENANCE, {name: header[name] for name in _TOLD})
    (folder / "README.md").write_text(hub_card(header, [s for s in SPLITS if s in parts]), encoding="utf-8")
    return done


class _Parts:
    """The Parquet files of one split, one after another."""

    def __init__(self, folder: Path, split: str, manifest: Manifest) -> None:
        self.folder, self.split, self.number = folder, split, -1
        identity, made_from, version = (
            manifest.header[name] for name in ("manifest_id", "provenance", "format_version")
        )
        self.schema = arrow_schema(manifest.kind, manifest.classes, identity, split, made_from, version)
        self.file: pq.ParquetWriter | None = None
        folder.mkdir(parents=True, exist_ok=True)

    def write(self, rows: Any) -> None:
        import pyarrow.parquet as pq

        if self.file is None or self._path().stat().st_size > LARGEST_FILE:
            self.close()
            self.number += 1
            self.file = pq.ParquetWriter(self._path(), self.schema, compression="zstd", write_page_index=True)
        self.file.write_table(rows.select(self.schema.names).replace_schema_metadata(self.schema.metadata))

    def _path(self) -> Path:
        return self.folder / f"{self.split}-{self.number:05d}.parquet"

    def close(self) -> None:
        if self.file is not None:
            self.file.close()


def check_token() -> None:
    """Raises BadInput where nothing can be pushed for want of a token, before anything is written."""
    from huggingface_hub import get_token

    if not get_token():
        raise BadInput("no token for the hub is set: set HF_TOKEN or run `hf auth login`, or leave --push out")


def push_repository(folder: Path, repository: str) -> str:
    """Upload a written repository to the hub as a private dataset and return its address.

    The token is that of HF_TOKEN or of `hf auth login`. Raises BadInput for a name that is none, or where the hub
    refuses.
    """
    from huggingface_hub import HfApi
    from huggingface_hub.errors import HfHubHTTPError, HFValidationError

    api = HfApi()
    try:
        address = api.create_repo(repository, repo_type="dataset", private=True, exist_ok=True)
        api.upload_folder(repo_id=repository, repo_type="dataset", folder_path=folder)
    except (HFValidationError, HfHubHTTPError) as error:
        advice = "give --push an OWNER/NAME that you may write"
        raise BadInput(f"the hub refuses {repository!r} ({first_line(error)}); {advice}") from None
    except OSError as error:
        raise EvendermError(f"the hub cannot be reached ({error}); {folder} is written, push it later") from None
    return str(address)
