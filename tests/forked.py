"""Commands in processes of their own that are forked from one that has the heavy libraries loaded already.

A command in a new interpreter imports for seconds before it works. Here it has its own process, output, environment
and signals all the same; where a test asks what is imported, it starts an interpreter.
"""

from __future__ import annotations

import atexit
import gc
import io
import multiprocessing
import os
import sys
import tempfile
from collections.abc import Mapping, Sequence
from importlib import import_module
from pathlib import Path
from subprocess import TimeoutExpired

import psutil

# What runs load in any case; not Prefect, which reads the environment when it is imported.
LOADED = (
    "augment.base.patch_code",
    "augment.synthesis",
    "augment.training.adapt",
    "albumentations",
    "pandas",
    "segmentation_models_pytorch",
    "sklearn.linear_model",
    "torchmetrics",
)
_forks = multiprocessing.get_context("forkserver")
_forks.set_forkserver_preload(list(LOADED))


class ForkedCommand:
    """A running `python -m MODULE WORDS`, with the methods of a subprocess.Popen that tests use."""

    def __init__(self, module: str, words: Sequence[str], environment: Mapping[str, str], printed: Path | None = None):
        """printed: the file that takes standard output and error; none: one that `communicate` reads."""
        self._folder = tempfile.TemporaryDirectory(prefix="printed-")
        self._printed = printed or Path(self._folder.name) / "printed.txt"
        given = module, list(words), dict(environment), str(self._printed), str(Path.cwd())
        self._process = _forks.Process(target=_run, args=given)
        self._process.start()
        assert self._process.pid is not None
        self.pid = self._process.pid
        self._server = psutil.Process(self.pid).parent()

    @property
    def returncode(self) -> int | None:
        """The exit code, minus the number of the signal that ended it, or nothing while it runs."""
        return self._process.exitcode

    def poll(self) -> int | None:
        """The same."""
        return self._process.exitcode

    def wait(self, timeout: float | None = None) -> int:
        """The exit code once the process is over."""
        self._process.join(timeout)
        if self._process.exitcode is None:
            raise TimeoutExpired("a forked command", timeout or 0)
        return self._process.exitcode

    def communicate(self, timeout: float | None = None) -> tuple[str, None]:
        """What was printed, once the process is over."""
        self.wait(timeout)
        return self._printed.read_text(encoding="utf-8", errors="replace"), None

    def terminate(self) -> None:
        """Sends SIGTERM."""
        self._process.terminate()

    def kill(self) -> None:
        """Sends SIGKILL."""
        self._process.kill()

    def work_of_ended(self) -> float:
        """Processor seconds of all processes that were forked as this one was and have ended."""
        times = self._server.cpu_times()
        return float(times.children_user + times.children_system)


def _run(module: str, words: list[str], environment: dict[str, str], printed: str, folder: str) -> None:
    gc.freeze()  # what was loaded before the fork is no garbage
    os.environ.clear()
    os.environ.update(environment)
    os.chdir(folder)
    out = os.open(printed, os.O_WRONLY | os.O_CREAT | os.O_TRUNC, 0o600)
    for stream in (1, 2):
        os.dup2(out, stream)
    if isinstance(sys.stdout, io.TextIOWrapper):
        sys.stdout.reconfigure(line_buffering=True)  # who reads along sees each line at once
    sys.argv = [module, *words]
    try:
        import_module(module).main()
    finally:
        atexit._run_exitfuncs()
