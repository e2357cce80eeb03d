"""What a process is told before heavy libraries are loaded, because they read it once."""

from __future__ import annotations

import ctypes
import gc
import logging
import os
import sys
import warnings
from importlib.metadata import PackageNotFoundError, distribution
from importlib.util import find_spec
from pathlib import Path

from manifests.errors import BadInput

AT_START = {
    # A waiting thread spins for some microseconds and then sleeps. Sleeping at once (OMP_WAIT_POLICY=PASSIVE) costs
    # an adapter's training 40 % of its speed on two idle cores, spinning on as long beside another busy process.
    "GOMP_SPINCOUNT": "10000",
    # glibc hands freed memory back to the system at once and asks for it again for the next picture or tensor. Told to
    # keep it, training takes a tenth less time and a row's checks a fifth; the peak stays what it was. These two reach
    # processes started from here, `keep_freed_memory` this one. Dask tells its workers to keep next to nothing, which
    # makes training two and a half times slower, unless it finds these.
    "MALLOC_MMAP_THRESHOLD_": str(32 * 1024**2),
    "MALLOC_TRIM_THRESHOLD_": str(256 * 1024**2),
    "DO_NOT_TRACK": "1",
    "NO_ALBUMENTATIONS_UPDATE": "1",
    # Prefect's own output stays out of the terminal; its log goes to its pages.
    "PREFECT_SERVER_ANALYTICS_ENABLED": "false",
    "PREFECT_LOGGING_LEVEL": "INFO",
    "PREFECT_LOGGING_HANDLERS_CONSOLE_LEVEL": "CRITICAL",
    "PREFECT_LOGGING_SERVER_LEVEL": "CRITICAL",
    "PREFECT_LOGGING_TO_API_WHEN_MISSING_FLOW": "ignore",
    "PREFECT_CLI_PROMPT": "false",
    "RAY_USAGE_STATS_ENABLED": "0",
    "HF_HUB_DISABLE_TELEMETRY": "1",
    "HF_HUB_DISABLE_PROGRESS_BARS": "1",
    "DIFFUSERS_VERBOSITY": "error",
    "TRANSFORMERS_VERBOSITY": "error",
    "TOKENIZERS_PARALLELISM": "false",
}
# What libraries make when they are imported stays. Looked through for garbage at every 700 new objects, as Python does
# by itself, it costs an eighth of the ten seconds that the imports take.
COLLECTED_AFTER = 10_000
_MALLOPT = {"MALLOC_MMAP_THRESHOLD_": -3, "MALLOC_TRIM_THRESHOLD_": -1}  # malloc.h: M_MMAP_THRESHOLD, M_TRIM_THRESHOLD
PACKAGES = ("flows", "augment", "evaluate", "manifests")


def set_up_process() -> None:
    """Quiets libraries that phone home or print, and keeps waiting threads and the collector of garbage from work."""
    for name, value in AT_START.items():
        os.environ.setdefault(name, value)
    keep_freed_memory()
    gc.set_threshold(COLLECTED_AFTER)
    # A log record that cannot be delivered is no news for the terminal.
    logging.raiseExceptions = False
    if not sys.warnoptions:
        warnings.simplefilter("ignore")
        os.environ["PYTHONWARNINGS"] = "ignore"  # also of what is started from here, as loky's tracker of processes


def keep_freed_memory() -> None:
    """Lets glibc's allocator keep what was freed, within the thresholds of the environment; others have no such."""
    mallopt = getattr(ctypes.CDLL(None), "mallopt", None) if sys.platform == "linux" else None
    if mallopt is None:
        return
    for name, parameter in _MALLOPT.items():
        value = os.environ.get(name, AT_START[name])
        if value.isdecimal():
            mallopt(parameter, min(int(value), 2**31 - 1))


def limit_threads(threads: int) -> None:
    """Lets each task of this process use `threads` processor threads, whether or not torch is loaded yet."""
    os.environ["OMP_NUM_THREADS"] = str(threads)
    torch = sys.modules.get("torch")
    if torch is not None:
        torch.set_num_threads(threads)


def _shares_the_folder(name: str, home: Path) -> bool:
    """Whether a distribution of the name of one of our packages lies where ours does, so that their files mix."""
    try:
        return Path(str(distribution(name).locate_file(""))).resolve() == home
    except PackageNotFoundError:
        return False


def check_packages() -> None:
    """Raises BadInput if another installed package hides one of ours (`evaluate` is also a hub library)."""
    home = Path(__file__).resolve().parents[2]
    for name in PACKAGES:
        if _shares_the_folder(name, home):
            raise BadInput(
                f"{home}: another package called {name!r} was installed over evenderm's own; install evenderm again, "
                "in a virtual environment without it"
            )
        spec = find_spec(name)
        found = Path(spec.origin).resolve().parents[1] if spec is not None and spec.origin else None
        if found != home:
            raise BadInput(
                f"{found or name}: another package called {name!r} hides evenderm's own; "
                f"install evenderm in a virtual environment without it"
            )
