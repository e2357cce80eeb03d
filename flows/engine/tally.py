"""What a task or step took: seconds, units of work, memory."""

from __future__ import annotations

import sys
from dataclasses import dataclass


@dataclass
class Tally:
    """What a task or step took: seconds, units of work done, highest memory in bytes."""

    seconds: float = 0.0
    units: int = 0
    memory: int = 0
    gpu_memory: int = 0

    def absorb(self, other: Tally) -> None:
        """Counts in the work of a task of this step; the time of a step is its own."""
        self.units += other.units
        self.memory = max(self.memory, other.memory)
        self.gpu_memory = max(self.gpu_memory, other.gpu_memory)

    def figures(self) -> dict[str, float]:
        """The tally as plain numbers for a log or a record."""
        figures: dict[str, float] = {
            "seconds": round(self.seconds, 3),
            "units": self.units,
            "memory": self.memory,
        }
        return figures | ({"gpu_memory": self.gpu_memory} if self.gpu_memory else {})


def host_memory() -> int:
    """Resident memory of this process in bytes."""
    import psutil

    return int(psutil.Process().memory_info().rss)


def gpu_memory() -> int:
    """Peak GPU memory of this process in bytes; 0 where torch is not loaded or has no GPU."""
    torch = sys.modules.get("torch")
    if torch is None or not torch.cuda.is_available() or not torch.cuda.is_initialized():
        return 0
    return int(torch.cuda.max_memory_allocated())
