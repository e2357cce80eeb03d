"""Which images are explained: files, folders of images, and pairs of a manifest."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass
from pathlib import Path

from manifests.errors import BadInput, EvendermError

PAGE_IMAGES = 12
SUFFIXES = (".png", ".jpg", ".jpeg", ".webp", ".tif", ".tiff", ".bmp")


@dataclass(frozen=True)
class ImageSource:
    """One image to explain: a file, or a pair of a manifest. truth: its class, where it is known."""

    name: str
    path: Path | None = None
    manifest: str | None = None
    truth: str | None = None

    def read(self) -> bytes:
        """The bytes of an image file. Raises BadInput where it cannot be read."""
        assert self.path is not None
        try:
            return self.path.read_bytes()
        except OSError as error:
            raise BadInput(f"{self.path}: cannot be read ({error.strerror}); check the path") from None


def find_sources(places: Sequence[str], split: str = "validation") -> list[ImageSource]:
    """The images at `places`: files, folders of images, and manifests, of which a `split` is taken.

    Raises BadInput for a place that is not there or holds no image.
    """
    found: list[ImageSource] = []
    for place in places:
        path = Path(place).expanduser()
        if (path / "manifest.json").is_file() or "://" in place:
            found += _from_manifest(place, split)
        elif path.is_dir():
            files = sorted(file for file in path.rglob("*") if _is_image(file, path))
            if not files:
                raise BadInput(f"{place}: the folder holds no image ({', '.join(SUFFIXES)}); check the path")
            found += [ImageSource(file.relative_to(path).as_posix(), file) for file in files]
        elif path.is_file():
            found.append(ImageSource(path.name, path))
        else:
            raise BadInput(f"{place}: no such image, folder or manifest; check the path")
    return found


def _is_image(file: Path, folder: Path) -> bool:
    """Whether a file is a picture and not what Finder, Windows or an archive tool leaves beside pictures."""
    from manifests.listing.tree import is_litter

    litter = any(map(is_litter, file.relative_to(folder).parts))
    return file.suffix.lower() in SUFFIXES and not litter and file.is_file()


def chunks(sources: Sequence[ImageSource]) -> list[list[ImageSource]]:
    """The images page by page."""
    return [list(sources[start : start + PAGE_IMAGES]) for start in range(0, len(sources), PAGE_IMAGES)]


def read_contents(
    sources: Sequence[ImageSource],
) -> tuple[dict[ImageSource, tuple[bytes, bytes | None]], dict[str, str]]:
    """Image and mask bytes by source, and the reason by name for those that cannot be read."""
    contents: dict[ImageSource, tuple[bytes, bytes | None]] = {}
    failures: dict[str, str] = {}
    pairs = {
        location: _pair_bytes(location, [source.name for source in sources if source.manifest == location])
        for location in dict.fromkeys(source.manifest for source in sources)
        if location is not None
    }
    for source in sources:
        try:
            contents[source] = pairs[source.manifest][source.name] if source.manifest else (source.read(), None)
        except EvendermError as error:
            failures[source.name] = str(error)
    return contents, failures


def _from_manifest(place: str, split: str) -> list[ImageSource]:
    from manifests.format.reading import open_manifest

    manifest = open_manifest(place)
    rows = manifest.table(["pair_id", "dx"], split=split).to_pylist()
    if not rows:
        raise BadInput(f"{place}: the manifest has no pair in its {split} split; choose another with --split")
    return [
        ImageSource(row["pair_id"], None, place, row["dx"] if row["dx"] in manifest.classes else None) for row in rows
    ]


def _pair_bytes(location: str, wanted: Sequence[str]) -> dict[str, tuple[bytes, bytes | None]]:
    """Image and mask bytes of some pairs by id; only the row groups that hold one are read."""
    from manifests.format.reading import open_manifest, read_group

    manifest, ids = open_manifest(location), set(wanted)
    found: dict[str, tuple[bytes, bytes | None]] = {}
    for entry in manifest.shards:
        with manifest.open_shard(entry) as file:
            for group in range(file.num_row_groups):
                own = read_group(manifest.storage, entry.name, file, group, ["pair_id"])["pair_id"].to_pylist()
                places = [place for place, pair_id in enumerate(own) if pair_id in ids]
                if not places:
                    continue
                table = read_group(manifest.storage, entry.name, file, group, ["image", "mask"]).take(places)
                for place, row in zip(places, table.to_pylist(), strict=True):
                    found[own[place]] = (row["image"]["bytes"], row["mask"] and row["mask"]["bytes"])
    return found
