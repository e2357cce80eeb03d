"""What of a finished run's time was spent outside its tasks, and what two workers could make of its synthesise step.

    python tests/benchmarks/orchestration_share.py RUN

Reads RUN/log.jsonl of the last complete run in it. Outside of tasks lies what Prefect, planning and waiting cost. Tasks
of synthesise are shard ranges, which any number of workers share; the rest of the step happens once, on one machine, so
that by Amdahl's law two workers are at most 1 / (rest + (1 - rest) / 2) times as fast as one.
"""

from __future__ import annotations

import argparse
import sys
from collections.abc import Mapping
from pathlib import Path
from typing import Any

sys.path.insert(0, str(Path(__file__).parents[2]))

from flows.run.log import read_events


def last_run(log: Path) -> list[Mapping[str, Any]]:
    """The events of the last run that began with the first step and came to its end without a break."""
    runs: list[list[Mapping[str, Any]]] = []
    for event in read_events(log):
        if event["event"] == "run":
            runs.append([])
        if runs:
            runs[-1].append(event)
    whole = [run for run in runs if run[-1]["event"] == "done" and "prepare" in {event.get("step") for event in run}]
    if not whole:
        raise SystemExit(f"{log}: holds no run that did every step at one go")
    return whole[-1]


def main() -> None:
    """Prints one line for the whole run and one for its synthesise step."""
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("run", type=Path, help="a run folder")
    events = last_run(parser.parse_args().run / "log.jsonl")
    took = {str(event["task"]): float(event["seconds"]) for event in events if event["event"] == "finished"}
    wall, inside = float(events[-1]["seconds"]), sum(took.values())
    print(f"whole run: {wall:.0f} s, in tasks {inside:.0f} s, outside {100 * (1 - inside / wall):.1f} %")
    steps = {str(event["step"]): float(event["seconds"]) for event in events if event["event"] == "step"}
    step = steps["synthesise"]
    shared = sum(seconds for task, seconds in took.items() if task.startswith("synthesise "))
    rest = max(0.0, 1 - shared / step)
    print(
        f"synthesise: {step:.0f} s, in shard ranges {shared:.0f} s, the rest {100 * rest:.1f} %: "
        f"two workers at most {1 / (rest + (1 - rest) / 2):.2f} times as fast"
    )


if __name__ == "__main__":
    main()
