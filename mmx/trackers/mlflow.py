"""MLflow: runs of an experiment on a tracking server, or in a database of its own."""

from __future__ import annotations

import os
import re
import time
from collections.abc import Collection, Iterator, Mapping, Sequence
from dataclasses import dataclass
from typing import Annotated, Any, ClassVar

from pydantic import Field

from mmx.trackers.base import (
    Ending,
    Key,
    OpenRun,
    Point,
    TrackedRun,
    Tracker,
    set_defaults,
    silence_loggers,
)

AT_ONCE = 100
"""Parameters that MLflow takes at once; of metrics it takes more."""
VALUE_LENGTH = 500
"""Characters of a parameter's value that every version of MLflow accepts."""
NAME_LENGTH = 250
KEY, ENDED = "mmx.key", "mmx.ended"
"""Tags: what identifies a run, and that its summary is there."""
STATUSES = {"done": "FINISHED", "failed": "FAILED", "interrupted": "KILLED"}
Text = Annotated[str, Field(min_length=1)]


@dataclass(frozen=True, kw_only=True)
class Mlflow(Tracker):
    """A run of MLflow for each run, found again by a tag with its key.

    Args:
        uri: Of the server or database; None for ``$MLFLOW_TRACKING_URI``, and where that is not
            set, for ``mlflow.db`` in the output folder.
        experiment: The experiment in which the runs are; it is made where it does not exist.
    """

    uri: Text | None = None
    experiment: Text = "mmx"
    library: ClassVar[str] = "mlflow"
    extra: ClassVar[str] = "mlflow"
    places: ClassVar[tuple[str, ...]] = ("uri",)

    def open(self, run: TrackedRun) -> OpenRun:
        """Return the run of that key in the experiment; a new one where there is none."""
        set_defaults(
            MLFLOW_DISABLE_TELEMETRY="true",
            MLFLOW_LOGGING_LEVEL="ERROR",
            MLFLOW_HTTP_REQUEST_TIMEOUT="20",  # not two minutes, seven times
            MLFLOW_HTTP_REQUEST_MAX_RETRIES="2",
        )
        with silence_loggers("mlflow", "alembic"):
            from mlflow.tracking import MlflowClient  # slow to import

            uri = None if run.only_here else self.uri or os.environ.get("MLFLOW_TRACKING_URI")
            place = None
            if uri is None:
                run.folder.mkdir(parents=True, exist_ok=True)
                folder = run.folder.absolute()
                uri, place = f"sqlite:///{folder}/mlflow.db", f"{folder}/mlflow-artifacts"
            client = MlflowClient(tracking_uri=uri)
            opened = _OpenMlflow(client, _find_experiment(client, self.experiment, place), run)
            opened.where = f"experiment {self.experiment} of {_hide_password(uri)}"
            return opened


def _hide_password(uri: str) -> str:
    """Return an address without the name and password in it."""
    return re.sub(r"://[^/@]*@", "://", uri)


def _find_experiment(client: Any, name: str, place: str | None) -> str:
    """Return the id of an experiment, which is made where it does not exist.

    Args:
        client: Of MLflow.
        name: Of the experiment.
        place: Where a new one keeps files; None for where its server says.
    """
    from mlflow.exceptions import MlflowException

    for _ in range(2):
        found = client.get_experiment_by_name(name)
        if found is not None:
            return str(found.experiment_id)
        try:
            return str(client.create_experiment(name, artifact_location=place))
        except MlflowException:  # another run has made it meanwhile
            continue
    raise RuntimeError(f"the experiment {name!r} cannot be made")


class _OpenMlflow(OpenRun):
    """A run of MLflow."""

    def __init__(self, client: Any, experiment: str, run: TrackedRun) -> None:
        self._client, self._run = client, run
        wanted = f"tags.`{KEY}` = '{run.key}'"
        found = client.search_runs([experiment], filter_string=wanted, max_results=1)
        if found:
            self._take(found[0])
            return
        made = client.create_run(
            experiment,
            start_time=int(run.began * 1000) or None,
            tags={**run.tags, KEY: run.key},
            run_name=run.name,
        )
        self._take(made)
        self._describe()

    def _take(self, run: Any) -> None:
        self._data, self._id = run.data, run.info.run_id
        self.shown_running = run.info.status == "RUNNING"

    def _describe(self) -> None:
        """Write the config as parameters."""
        from mlflow.entities import Param

        settings = [
            Param(_as_name(key), str(value)[:VALUE_LENGTH])
            for key, value in self._run.config.items()
        ]
        for first in range(0, len(settings), AT_ONCE):
            self._client.log_batch(self._id, params=settings[first : first + AT_ONCE])

    def find_known(self) -> Collection[Key]:
        """Return name and step of each value in the histories of its metrics."""
        return {
            (name, metric.step)
            for name in self._data.metrics
            for metric in self._client.get_metric_history(self._id, name)
        }

    def has_ended(self) -> bool:
        """Return whether its summary is there."""
        return ENDED in self._data.tags

    def add(self, points: Sequence[Point]) -> None:
        """Write each with its epoch as step; a run that goes on is running again."""
        if not self.shown_running and not self.has_ended():
            self._client.update_run(self._id, status="RUNNING")
            self.shown_running = True
        began = self._run.began
        self._log((p.name, p.value, began + p.seconds, p.epoch) for p in points)

    def end(self, ending: Ending) -> None:
        """Write the summary and the files of a finished run, and its status."""
        if ending.status == "done":
            self._log((name, value, time.time(), 0) for name, value in ending.values.items())
            for path in ending.files:
                self._client.log_artifact(self._id, str(path))
            self._set_tags({"mlflow.note.content": ending.answer, ENDED: "true"})
        self._client.set_terminated(self._id, STATUSES[ending.status])
        self.shown_running = False

    def _log(self, values: Iterator[tuple[str, float, float, int]]) -> None:
        from mlflow.entities import Metric

        metrics = [Metric(name, value, int(at * 1000), step) for name, value, at, step in values]
        for first in range(0, len(metrics), AT_ONCE):
            self._client.log_batch(self._id, metrics=metrics[first : first + AT_ONCE])

    def _set_tags(self, tags: Mapping[str, str]) -> None:
        for name, value in tags.items():
            self._client.set_tag(self._id, name, value)

    def close(self) -> None:
        """Nothing is open between two calls."""


def _as_name(text: str) -> str:
    """Return a name of the characters that MLflow accepts."""
    return re.sub(r"[^\w\-. /]", "_", text, flags=re.ASCII)[:NAME_LENGTH]
