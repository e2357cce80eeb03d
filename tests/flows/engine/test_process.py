"""What a process is told at its start has its effect."""

from __future__ import annotations

import gc
import os
import subprocess
import sys
from pathlib import Path

from flows.engine.process import AT_START, COLLECTED_AFTER, set_up_process
from flows.orchestration.engines import task_runner
from flows.settings import load_settings
from tests.waiting import PATIENCE_SECONDS

FAULTS_OF_FREED_MEMORY = """
import resource, numpy
from flows.engine.process import set_up_process
set_up_process()
before = resource.getrusage(resource.RUSAGE_SELF).ru_minflt
for _ in range(200):
    numpy.empty(5_000_000, numpy.uint8).fill(1)
print(resource.getrusage(resource.RUSAGE_SELF).ru_minflt - before)
"""


def faults(**thresholds: str) -> int:
    """Pages asked for anew while 5 MB are taken and freed 200 times."""
    environment = {name: value for name, value in os.environ.items() if not name.startswith("MALLOC_")}
    environment |= {"PYTHONPATH": str(Path(__file__).parents[3])} | thresholds
    command = [sys.executable, "-c", FAULTS_OF_FREED_MEMORY]
    return int(subprocess.run(command, env=environment, check=True, capture_output=True).stdout)


def test_freed_memory_is_kept_unless_the_user_says_otherwise() -> None:
    returned = faults(MALLOC_MMAP_THRESHOLD_="100000", MALLOC_TRIM_THRESHOLD_="100000")
    assert faults() < returned / 20


def test_imported_objects_are_not_looked_through_at_every_few_hundred_new_ones() -> None:
    before = gc.get_threshold()
    try:
        gc.set_threshold(700)
        set_up_process()
        assert gc.get_threshold()[0] == COLLECTED_AFTER and gc.isenabled()
    finally:
        gc.set_threshold(*before)


def test_dasks_workers_find_what_a_process_is_told_at_its_start() -> None:
    """Dask's nanny has an allocator setting of its own, which would make training two and a half times slower."""
    settings = load_settings("tiny", None, ["engine.name=dask", "engine.workers=1"]).engine
    with task_runner(settings, 1) as runner:
        seen = {name: runner.client.submit(os.getenv, name).result(timeout=PATIENCE_SECONDS) for name in AT_START}
    assert seen == {name: os.environ[name] for name in AT_START}
