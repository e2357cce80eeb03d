"""Files that people have and that are not read, each with what helps."""

from __future__ import annotations

from collections.abc import Mapping
from pathlib import Path

from manifests.listing.source import IMAGE_ENDINGS
from manifests.listing.tree import ARCHIVE_ENDINGS, scan
from manifests.settings import PrepareSettings

DATABASES = (".sql", ".sqlite", ".sqlite3", ".db", ".accdb")
_ARCHIVE = "is an archive: unpack it and give the folder"
_ARRAYS = "holds arrays and not pictures: save each as PNG or JPEG beside a CSV with image and class"
_VOLUME = "is a medical volume or DICOM file: convert its pictures to PNG or JPEG (as with dcm2img of DCMTK or pydicom)"
_PHONE = "is a HEIC photograph: convert it to JPEG or PNG"
_ADVICE = {
    **dict.fromkeys(ARCHIVE_ENDINGS, _ARCHIVE),
    **dict.fromkeys(DATABASES, "is a database: export its tables as CSV with a header line each"),
    **dict.fromkeys((".npz", ".npy", ".h5", ".hdf5", ".hdf", ".mat", ".pkl", ".pickle", ".pt", ".pth"), _ARRAYS),
    **dict.fromkeys((".tfrecord", ".tfrecords", ".tfrec", ".lmdb", ".mdb"), _ARRAYS),
    **dict.fromkeys((".dcm", ".dicom", ".ima", ".nii", ".mha", ".nrrd"), _VOLUME),
    **dict.fromkeys((".heic", ".heif"), _PHONE),
    **dict.fromkeys((".xls", ".ods", ".numbers"), "is a spreadsheet of another format: save it as CSV in UTF-8"),
    ".toml": "is a settings file: give it with --settings, and --data a folder of pictures",
    ".xml": 'is no dataset alone: give the folder of CVAT\'s "for images 1.1", or export as "Segmentation mask 1.1"',
    ".json": "is no dataset alone: give the folder of a COCO export with its pictures, or save a table as CSV",
    ".safetensors": "is a model and not a dataset: give it with --set base.path",
    **dict.fromkeys((".mp4", ".avi", ".mov"), "is a film: save its pictures as PNG or JPEG"),
}
_STARTS = {b"PK\x03\x04": ".zip", b"\x1f\x8b": ".gz", b"\x89HDF": ".h5", b"7z\xbc\xaf": ".7z", b"Rar!": ".rar"}


def why_not_read(location: Path) -> str | None:
    """The sentence that helps with a file that is no dataset or a folder of nothing but such files; else None."""
    if location.is_file():
        ending = location.suffix.lower()
        if ending in IMAGE_ENDINGS:
            return f"{location} is a single picture; give --data the folder of a dataset (or use evenderm explain)"
        advice = _ADVICE.get(ending) or _ADVICE.get(_by_content(location), "is no table; give a folder, CSV or Parquet")
        return f"{location} {advice}"
    tree = scan(location, PrepareSettings())
    if tree.pictures:
        return _annotations(tree.others)
    files = [*tree.others.values(), *(path for path, _, _ in tree.set_aside)]
    ranked = sorted(
        files, key=lambda path: list(_ADVICE).index(e) if (e := Path(path).suffix.lower()) in _ADVICE else 99
    )
    found = next((path for path in ranked if Path(path).suffix.lower() in _ADVICE), None)
    return (
        f"{location} holds no pictures that can be read, and {found} {_ADVICE[Path(found).suffix.lower()]}"
        if found
        else None
    )


def _annotations(others: Mapping[str, str]) -> str | None:
    """The sentence on files beside pictures that say in a tool's own form where lesions are; None without them."""
    found = next((others[ending] for ending in (".json", ".xml", ".yaml", ".yml") if ending in others), None)
    if found is None:
        database = next((others[ending] for ending in DATABASES if ending in others), None)
        return f"{database} {_ADVICE[Path(database).suffix.lower()]}" if database else None
    return (
        f"{found} may hold annotations in a form that is not read: export them from their tool as COCO instances, CVAT "
        "for images 1.1, labelme, YOLO or mask pictures, or list pictures, masks and classes in a CSV"
    )


def _by_content(path: Path) -> str:
    if not path.is_file():  # a pipe would wait forever
        return ""
    try:
        with path.open("rb") as file:
            start = file.read(8)
    except OSError:
        return ""
    return next((ending for begin, ending in _STARTS.items() if start.startswith(begin)), "")
