"""Getting the official files of public datasets from their publishers, with the licence stated and accepted."""

from __future__ import annotations

import json
from collections.abc import Mapping, Sequence
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any

from manifests.errors import BadInput
from manifests.fetch.download import UNCHECKED, FetchFailed, Patience, RemoteFile, download, recorded
from manifests.fetch.unpacking import MOST_BYTES, ArchiveTooLarge, unpack
from manifests.files import write_json
from manifests.progress import Progress, no_progress
from manifests.storage.base import explained

ISIC_ADDRESS = "https://isic-challenge-data.s3.amazonaws.com"
DATAVERSE_ADDRESS = "https://dataverse.harvard.edu"
HAM10000_DOI = "doi:10.7910/DVN/DBW86T"
LARGEST_LISTING = 32 * 1024**2


@dataclass(frozen=True)
class Dataset:
    """A public dataset: where its files are, about how much that is, and on which terms.

    files: paths below `address`; listing: a Dataverse dataset whose own list gives addresses, sizes and md5; pinned:
    size in bytes and sha256 of files whose publisher states neither, by name.
    """

    name: str
    licence: str
    terms: str
    citation: str
    gigabytes: float
    address: str
    files: tuple[str, ...]
    listing: str | None = None
    pinned: Mapping[str, tuple[int, str]] = field(default_factory=dict)


def _isic2017() -> tuple[str, ...]:
    parts = ("Data.zip", "Part1_GroundTruth.zip", "Part3_GroundTruth.csv")
    return tuple(f"2017/ISIC-2017_{split}_{part}" for split in ("Training", "Validation", "Test_v2") for part in parts)


def _isic2018() -> tuple[str, ...]:
    splits = ("Training", "Validation", "Test")
    kinds = ("Task1-2_{}_Input", "Task1_{}_GroundTruth", "Task3_{}_Input", "Task3_{}_GroundTruth")
    archives = tuple(f"2018/ISIC2018_{kind.format(split)}.zip" for split in splits for kind in kinds)
    return (*archives, "2018/ISIC2018_Task3_Training_LesionGroupings.csv")


DATASETS: dict[str, Dataset] = {
    dataset.name: dataset
    for dataset in (
        Dataset(
            "isic2017",
            "CC0-1.0",
            "public domain; cite the challenge",
            "Codella et al., Skin lesion analysis toward melanoma detection: ISBI 2017, arXiv:1710.05006",
            12,
            ISIC_ADDRESS,
            _isic2017(),
        ),
        Dataset(
            "isic2018",
            "CC-BY-NC-4.0",
            "non-commercial use only, with attribution",
            "Codella et al., Skin lesion analysis toward melanoma detection 2018, arXiv:1902.03368; "
            "Tschandl et al., Sci. Data 5, 180161 (2018)",
            16,
            ISIC_ADDRESS,
            _isic2018(),
        ),
        Dataset(
            "ham10000",
            "CC-BY-NC-4.0",
            "non-commercial use only, with attribution",
            "Tschandl, Rosendahl, Kittler: The HAM10000 dataset, Sci. Data 5, 180161 (2018)",
            3,
            DATAVERSE_ADDRESS,
            (
                "HAM10000_metadata.tab",
                "HAM10000_images_part_1.zip",
                "HAM10000_images_part_2.zip",
                "HAM10000_segmentations_lesion_tschandl.zip",
            ),
            HAM10000_DOI,
        ),
    )
}


@dataclass(frozen=True)
class FetchedFile:
    """A file as it was downloaded; an archive is unpacked since. checked_against: "" where nothing was stated."""

    name: str
    size: int
    sha256: str
    checked_against: str


@dataclass(frozen=True)
class FetchSummary:
    """What lies in `folder` now, with a record of each file in the .json file beside it."""

    dataset: str
    folder: Path
    downloaded: tuple[FetchedFile, ...]

    @property
    def files(self) -> tuple[str, ...]:
        return tuple(file.name for file in self.downloaded)

    @property
    def unchecked(self) -> tuple[str, ...]:
        """Files that nobody states a checksum for."""
        return tuple(file.name for file in self.downloaded if not file.checked_against)


def fetch(
    name: str,
    to: Path,
    accept_licence: str | None = None,
    progress: Progress = no_progress,
    patience: Patience | None = None,
    address: str | None = None,
    most_unpacked: int = MOST_BYTES,
) -> FetchSummary:
    """Download and unpack a dataset into `to`; run again, it goes on where it stopped.

    accept_licence: the licence's own name, as proof that it was read; address: another server with the same paths;
    most_unpacked: bytes that one archive may unpack to.
    Raises BadInput for an unknown dataset, a licence not accepted or an unsafe archive, FetchFailed for the network.
    """
    if name not in DATASETS:
        raise BadInput(f"there is nothing to fetch called {name[:60]!r}; give one of {', '.join(DATASETS)}")
    dataset = DATASETS[name]
    _check_licence(dataset, accept_licence)
    with explained(str(to), "write"):
        to.mkdir(parents=True, exist_ok=True)
        licence = {"licence": dataset.licence, "terms": dataset.terms, "citation": dataset.citation}
        write_json(to / "LICENCE.json", licence, sort_keys=True)
    remotes = _remote_files(dataset, address or dataset.address, to, patience)
    for number, remote in enumerate(remotes, 1):
        label = f"{remote.name} ({number} of {len(remotes)})"
        _fetch_one(remote, to, _labelled(progress, label), patience, most_unpacked)
    return FetchSummary(name, to, tuple(_fetched(remote.name, to) for remote in remotes))


def _fetched(name: str, folder: Path) -> FetchedFile:
    record = recorded(name, folder)
    checked = str(record.get("checked_against") or UNCHECKED)
    size, sha256 = int(record.get("size") or 0), str(record.get("sha256") or "")
    return FetchedFile(name, size, sha256, "" if checked == UNCHECKED else checked)


def _labelled(progress: Progress, label: str) -> Progress:
    def report(done: int, total: int, **figures: float | str) -> None:
        progress(done, total, **{"file": label, **figures})

    return report


def _check_licence(dataset: Dataset, accepted: str | None) -> None:
    if accepted != dataset.licence:
        given = f"{accepted!r} is not it" if accepted else "it has not been accepted"
        raise BadInput(
            f"{dataset.name} (about {dataset.gigabytes:g} GB) is licensed {dataset.licence}: {dataset.terms}; {given}. "
            f"Accept it with --accept-licence {dataset.licence}"
        )


def _fetch_one(remote: RemoteFile, to: Path, progress: Progress, patience: Patience | None, most_unpacked: int) -> None:
    """Download one file and, if it is an archive, unpack it and let the archive go."""
    archive, unpacked = to / remote.name, to / remote.name.removesuffix(".zip")
    if not remote.name.endswith(".zip"):
        download(remote, to, progress, patience)
        return
    if not (unpacked.is_dir() and recorded(remote.name, to)):
        download(remote, to, progress, patience)
        try:
            unpack(archive, unpacked, progress, most_unpacked)
        except ArchiveTooLarge:
            raise  # nothing is wrong with the archive: another limit unpacks it
        except BadInput:
            # A server can cut an archive short and say so nowhere; the next run shall ask for it again.
            archive.with_name(f"{archive.name}.json").unlink(missing_ok=True)
            archive.unlink()
            raise
    # Also where an earlier run was ended between the unpacking and this.
    with explained(str(archive), "remove"):
        archive.unlink(missing_ok=True)


def _remote_files(dataset: Dataset, address: str, to: Path, patience: Patience | None) -> list[RemoteFile]:
    if dataset.listing is None:
        return [_plain_file(path, address, dataset.pinned) for path in dataset.files]
    url = f"{address}/api/datasets/:persistentId/?persistentId={dataset.listing}"
    listing = RemoteFile(f".{dataset.name}-listing", url)
    with explained(str(to), "write"):
        (to / f"{listing.name}.json").unlink(missing_ok=True)  # the list is asked for anew each time
        path = download(listing, to, patience=patience)
        content = path.read_bytes() if path.stat().st_size <= LARGEST_LISTING else b""
        for used in (path, to / f"{listing.name}.json"):
            used.unlink(missing_ok=True)
    return _from_listing(content, dataset.files, address, url)


def _plain_file(path: str, address: str, pinned: Mapping[str, tuple[int, str]]) -> RemoteFile:
    name = path.rsplit("/", 1)[-1]
    size, sha256 = pinned.get(name, (None, None))
    return RemoteFile(name, f"{address}/{path}", size, sha256 and f"sha256:{sha256}")


def _from_listing(content: bytes, wanted: Sequence[str], address: str, url: str) -> list[RemoteFile]:
    """The wanted files of a Dataverse listing, with the sizes and md5 that it states.

    A table that Dataverse has converted is served in another form than the one whose md5 is listed; it goes unchecked.
    """
    found: dict[str, RemoteFile] = {}
    try:
        for entry in json.loads(content)["data"]["latestVersion"]["files"]:
            file: dict[str, Any] = entry["dataFile"]
            name = str(file["filename"])
            converted = "originalFileFormat" in file
            found[name] = RemoteFile(
                name,
                f"{address}/api/access/datafile/{int(file['id'])}",
                None if converted else int(file["filesize"]),
                None if converted or not file.get("md5") else f"md5:{file['md5']}",
            )
    except (ValueError, KeyError, TypeError, RecursionError):
        raise FetchFailed(f"{url} does not answer with a list of files; try again later") from None
    missing = [name for name in wanted if name not in found]
    if missing:
        raise FetchFailed(f"{url} no longer lists {missing[0]}; download it by hand from {HAM10000_DOI}")
    return [found[name] for name in wanted]
