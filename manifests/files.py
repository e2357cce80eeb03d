"""Arrays in files, mapped into memory, that may be written on a disk that fills up."""

from __future__ import annotations

import os
from pathlib import Path
from typing import TYPE_CHECKING, Any

from manifests.storage.base import explained

if TYPE_CHECKING:
    import numpy as np


def new_mapped_array(path: Path, dtype: Any, shape: tuple[int, ...]) -> np.memmap:
    """A new .npy file as a writable array of zeros, with all its space taken at once; StorageFailed if there is none.

    Without that, the first write into a mapping that finds the disk full would kill the process.
    """
    import numpy as np

    with explained(str(path), "write"):
        array: np.memmap = np.lib.format.open_memmap(path, "w+", dtype, shape)
        if hasattr(os, "posix_fallocate"):
            with path.open("r+b") as file:
                os.posix_fallocate(file.fileno(), 0, path.stat().st_size)
    return array
