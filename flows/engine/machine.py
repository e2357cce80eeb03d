"""What this machine has, and which presets it can run."""

from __future__ import annotations

import os
import platform
import shutil
import socket
import sys
from collections.abc import Mapping
from dataclasses import asdict, dataclass
from importlib.metadata import PackageNotFoundError, version
from pathlib import Path
from typing import TYPE_CHECKING, Any

if TYPE_CHECKING:
    from flows.run.folder import Job

HUB = ("huggingface.co", 443)
LIBRARIES = ("evenderm", "torch", "diffusers", "peft", "prefect", "pyarrow")
GIB = 2**30
CGROUP = "/sys/fs/cgroup"
QUOTA = ("quota", "period")
GPU_DEVICES = ("/dev/nvidiactl", "/dev/kfd", "/dev/dxg")


@dataclass(frozen=True)
class Need:
    """What a preset wants of a machine, in GiB: memory, memory of a GPU, room for a run of a few thousand pairs."""

    memory: float
    gpu: float
    disk: float


NEEDS: Mapping[str, Need] = {"tiny": Need(2, 0, 0.5), "embedded": Need(3, 0, 2), "sd2": Need(16, 24, 15)}


@dataclass(frozen=True)
class Machine:
    """What was found; memory, disk and GPU memory in bytes. cores: those that this process may use; weights: where
    ImageNet's are, or else weights_fault: why they cannot be read."""

    cores: int
    memory: int
    disk: int
    folder: str
    gpus: tuple[tuple[str, int], ...]
    python: str
    libraries: Mapping[str, str | None]
    hub: bool
    weights: str | None
    weights_fault: str | None = None

    def lines(self) -> list[str]:
        """A line on each thing, then one on each preset."""
        gpus = ", ".join(f"{name} {memory / GIB:.0f} GiB" for name, memory in self.gpus) or "none"
        versions = ", ".join(f"{name} {found or 'missing'}" for name, found in self.libraries.items())
        hub = (
            "reachable"
            if self.hub
            else "not reachable: give --set base.path a local folder; the shipped base needs none"
        )
        pretrained = self.weights or f"not found ({self.weights_fault}); run make setup"
        lines = [
            f"processor   {self.cores} {'core' if self.cores == 1 else 'cores'}",
            f"memory      {self.memory / GIB:.1f} GiB",
            f"gpu         {gpus}",
            f"disk        {self.disk / GIB:.1f} GiB free in {self.folder}",
            f"versions    Python {self.python}, {versions}",
            f"hub         {hub}",
            f"pretrained  {pretrained}",
        ]
        return [*lines, *(f"{f'preset {name}':<15} {said}" for name, said in self.presets().items())]

    def presets(self) -> dict[str, str]:
        """For each preset `ready`, or what it lacks here."""
        gpu = max((memory for _, memory in self.gpus), default=0)
        said = {}
        for name, need in NEEDS.items():
            there = {"memory": self.memory, "GPU memory": gpu, "free disk": self.disk}
            wanted = {"memory": need.memory, "GPU memory": need.gpu, "free disk": need.disk}
            # A card of 24 GB shows some per cent less.
            lacks = [what for what, size in wanted.items() if there[what] < 0.93 * size * GIB]
            said[name] = "ready" if not lacks else " and ".join(
                f"wants {wanted[what]:g} GiB of {what}, {there[what] / GIB:.1f} are there" for what in lacks
            )  # fmt: skip
        return said

    def to_json(self) -> dict[str, Any]:
        """The same for programs."""
        return {**asdict(self), "presets": self.presets()}


def look_at_machine(folder: Path) -> Machine:
    """What this machine has for a run in `folder`; takes as long as loading torch and, without network, two seconds."""
    import torch

    from evaluate.downstream.lite0 import lite0_weights
    from manifests.errors import BadInput

    place = next(path for path in (folder.resolve(), *folder.resolve().parents) if path.is_dir())
    found = range(torch.cuda.device_count() if torch.cuda.is_available() else 0)
    cards = [torch.cuda.get_device_properties(number) for number in found]
    try:
        weights, fault = f"EfficientNet-Lite0 (ImageNet) in {lite0_weights().parent.parent.name}", None
    except BadInput as error:
        weights, fault = None, str(error)
    return Machine(
        usable_cores(),
        usable_memory(),
        shutil.disk_usage(place).free,
        str(place),
        tuple((card.name, card.total_memory) for card in cards),
        platform.python_version(),
        {name: _version(name) for name in LIBRARIES},
        _reachable(HUB),
        weights,
        fault,
    )


def usable_cores() -> int:
    """Processor cores that this process may use: by its affinity and by its container's limit."""
    import psutil

    process = psutil.Process()
    allowed = len(process.cpu_affinity()) if hasattr(process, "cpu_affinity") else psutil.cpu_count() or 1
    quota = _read(f"{CGROUP}/cpu.max") or " ".join(_read(f"{CGROUP}/cpu/cpu.cfs_{name}_us") for name in QUOTA)
    share, _, period = quota.partition(" ")
    if share.isdecimal() and period.isdecimal() and int(share) and int(period):
        allowed = min(allowed, max(1, int(share) // int(period)))
    return allowed


def usable_memory() -> int:
    """Memory in bytes that is there for this process: the machine's, or its container's limit."""
    import psutil

    limit = _read(f"{CGROUP}/memory.max") or _read(f"{CGROUP}/memory/memory.limit_in_bytes")
    total = int(psutil.virtual_memory().total)
    return min(total, int(limit)) if limit.isdecimal() else total


def has_gpu() -> bool:
    """Whether torch finds a GPU; it is loaded only where the system has a device of one."""
    if sys.platform == "linux" and not any(map(os.path.exists, GPU_DEVICES)):
        return False
    import torch

    return torch.cuda.is_available()


def worker_count(job: Job) -> int:
    """Worker processes of a run: as set, or one for each `engine.threads` cores, as far as memory goes; one with a
    GPU."""
    import psutil

    engine, base = job.settings.engine, job.settings.base.path
    if engine.workers:
        return engine.workers
    if has_gpu():
        return 1
    need = NEEDS[job.preset if base == "shipped" else "sd2"].memory * GIB
    memory = min(usable_memory(), int(psutil.virtual_memory().available))
    return max(1, min(usable_cores() // engine.threads, int(memory / need)))


def _read(path: str) -> str:
    try:
        return Path(path).read_text().strip()
    except OSError:
        return ""


def _version(name: str) -> str | None:
    try:
        return version(name)
    except PackageNotFoundError:
        return None


def _reachable(address: tuple[str, int]) -> bool:
    try:
        socket.create_connection(address, timeout=2).close()
    except OSError:
        return False
    return True
