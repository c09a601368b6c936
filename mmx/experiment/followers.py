"""Who is told of a run while it goes on: its tracker and its callbacks."""

from __future__ import annotations

import contextlib
import copy
from collections.abc import Callable, Sequence
from types import MappingProxyType

from mmx.callbacks import EndFacts, EpochFacts
from mmx.callbacks.calling import call_callbacks
from mmx.experiment.assemble import Experiment
from mmx.json_object import Json
from mmx.runs.directory import RunDirectory
from mmx.runs.tracked import describe_run, read_ending, read_points
from mmx.trackers import Ending
from mmx.trackers.follower import TrackerThread
from mmx.training.events import Event, EventKind


class Followers:
    """The tracker and the callbacks of a run that is about to start or to go on.

    A tracker cannot end the run. An exception of a callback does.

    Args:
        experiment: What is run.
        directory: Where its results go.
        say: Receives the warning of a tracker that fails.
    """

    def __init__(
        self, experiment: Experiment, directory: RunDirectory, say: Callable[[str], None]
    ) -> None:
        self._directory, self._callbacks = directory, experiment.callbacks
        self._tracker: TrackerThread | None = None
        if experiment.tracker is not None:
            self._tracker = TrackerThread(experiment.tracker, describe_run(directory), say)

    def add(self, event: Event, entries: Sequence[Json]) -> None:
        """Tell of an epoch.

        Args:
            event: The epoch, or its vitals.
            entries: Its lines of ``metrics.jsonl``.

        Raises:
            CallbackError: A callback raised an exception.
        """
        if self._tracker is not None:
            stage = {"stage": str(event.stage), "epoch": event.epoch}
            self._tracker.add(read_points([{**stage, **each} for each in entries]))
        if event.kind is EventKind.EPOCH and self._callbacks:
            values = MappingProxyType(dict(event.values))
            facts = EpochFacts(self._directory.path, str(event.stage), event.epoch, values)
            call_callbacks(self._callbacks, "on_epoch", facts)

    def tell_end(self, summary: Json) -> None:
        """Tell the callbacks that summary and report are written.

        Raises:
            CallbackError: A callback raised an exception.
        """
        if self._callbacks:
            call_callbacks(
                self._callbacks, "on_end", EndFacts(self._directory.path, copy.deepcopy(summary))
            )

    def end(self, status: str) -> None:
        """Tell the tracker how the run has ended, and wait for it a limited time."""
        if self._tracker is None:
            return
        try:
            ending = read_ending(self._directory, status)
        except Exception:  # a full disk, a file that somebody removed: the run has ended anyway
            ending = Ending(status)
        with contextlib.suppress(KeyboardInterrupt):  # waits for it no longer
            self._tracker.end(ending)
