"""The story of a run in Prefect's own page: logs, progress bars, tables."""

from __future__ import annotations

import logging
from collections.abc import Callable, Mapping
from functools import partial
from pathlib import Path
from typing import Any

from prefect import get_run_logger
from prefect.artifacts import create_progress_artifact, create_table_artifact, update_progress_artifact
from prefect.exceptions import MissingContextError

from flows.engine.calls import Call, Result
from flows.engine.terminal import duration
from flows.engine.watch import listening
from flows.engine.workers import Workers, waited
from flows.run.folder import Job, RunFolder
from flows.run.log import LogTail
from flows.steps import perform
from flows.story import words
from manifests.progress import StopRequested


def perform_in_prefect(out: str, call: Call) -> Result:
    """Runs one call while telling Prefect how it stands."""
    with listening(TaskStory(call)):
        return perform(out, call)


def perform_beside(workers: Workers, out: str, call: Call) -> Result:
    """Has a worker process run one call while telling Prefect how it stands."""
    story, tail = TaskStory(call), LogTail(RunFolder(Path(out)).log)

    def hear(event: Mapping[str, Any]) -> None:
        if event.get("task") == call.title:
            story(event["event"], {name: value for name, value in event.items() if name not in ("event", "time")})

    return waited(workers.submit(out, call), tail, hear)


class TaskStory:
    """Tells Prefect's page how a task stands: a progress bar and log lines."""

    def __init__(self, call: Call) -> None:
        self.call = call
        self._artifact: Any = None

    def __call__(self, event: str, fields: Mapping[str, Any]) -> None:
        """Hears of an event of the task."""
        quietly(partial(self._tell, event, fields))

    def _tell(self, event: str, fields: Mapping[str, Any]) -> None:
        if event == "progress":
            percent = 100.0 * fields["done"] / max(1, fields["total"])
            if self._artifact is None:
                self._artifact = create_progress_artifact(percent, description=self.call.title)
            else:
                update_progress_artifact(self._artifact, progress=percent)
        said = ", ".join(f"{name} {value}" for name, value in fields.items() if name != "task")
        level = logging.WARNING if event == "warning" else logging.INFO
        get_run_logger().log(level, "%s: %s %s", self.call.title, event, said)


class RunStory:
    """Tells Prefect's page what the steps of a run found and took, as a table that grows."""

    def __init__(self, job: Job) -> None:
        self.job = job
        self._rows: list[dict[str, Any]] = []

    def __call__(self, event: str, fields: Mapping[str, Any]) -> None:
        """Hears of an event of the run."""
        if event == "step":
            self._rows.append(
                {
                    "step": fields["step"],
                    "found": words(fields["step"], fields["found"]),
                    "time": duration(fields["seconds"]),
                    "units": fields["units"],
                    "peak memory": f"{fields['memory'] / 2**30:.2f} GiB",
                }
            )
            quietly(partial(create_table_artifact, self._rows, key="steps", description=self.job.name))
        elif event == "warning":
            quietly(lambda: get_run_logger().warning("%s", fields["message"]))


def quietly(tell: Callable[[], Any]) -> None:
    """Tells Prefect something; a server that is gone costs the story, not the work."""
    try:
        tell()
    except MissingContextError:
        pass
    except StopRequested:
        raise
    except Exception as error:
        get_run_logger().debug("could not tell Prefect: %s", error)
