"""What a process is told at its start has its effect."""

from __future__ import annotations

import os
import subprocess
import sys
from pathlib import Path

FAULTS_OF_FREED_MEMORY = """
import resource, numpy
from flows.environment import set_up_process
set_up_process()
before = resource.getrusage(resource.RUSAGE_SELF).ru_minflt
for _ in range(200):
    numpy.empty(5_000_000, numpy.uint8).fill(1)
print(resource.getrusage(resource.RUSAGE_SELF).ru_minflt - before)
"""


def faults(**thresholds: str) -> int:
    """Pages asked for anew while 5 MB are taken and freed 200 times."""
    environment = {name: value for name, value in os.environ.items() if not name.startswith("MALLOC_")}
    environment |= {"PYTHONPATH": str(Path(__file__).parents[2])} | thresholds
    command = [sys.executable, "-c", FAULTS_OF_FREED_MEMORY]
    return int(subprocess.run(command, env=environment, check=True, capture_output=True).stdout)


def test_freed_memory_is_kept_unless_the_user_says_otherwise() -> None:
    returned = faults(MALLOC_MMAP_THRESHOLD_="100000", MALLOC_TRIM_THRESHOLD_="100000")
    assert faults() < returned / 20
