"""TensorBoard: event files in a folder, one folder for each run."""

from __future__ import annotations

import os
import shlex
import threading
from collections.abc import Collection, Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import Any, ClassVar

from mmx.trackers.base import Ending, Key, OpenRun, Point, TrackedRun, Tracker

ANSWER = "summary/answer"
"""Tag of the text that a finished run ends with."""
END = "summary/end"
"""Tag of the last number of a finished run."""


@dataclass(frozen=True, kw_only=True)
class Tensorboard(Tracker):
    """Event files that ``tensorboard --logdir FOLDER`` shows: a folder for each run.

    Args:
        folder: Where the folders of runs are; None for ``tensorboard`` in the output folder.
    """

    folder: str | None = None
    library: ClassVar[str] = "tensorboard"
    extra: ClassVar[str] = "tensorboard"
    places: ClassVar[tuple[str, ...]] = ("folder",)

    def open(self, run: TrackedRun) -> OpenRun:
        """Return the run's event files; a new file goes on after those that are there."""
        where = run.folder / "tensorboard"
        if self.folder is not None and not run.only_here:
            where = Path(self.folder).expanduser()
        return _OpenFiles(where / f"{run.name}-{run.key[:6]}", run)


class _OpenFiles(OpenRun):
    """The event files of a run; a file is made when there is something to write."""

    def __init__(self, folder: Path, run: TrackedRun) -> None:
        self._folder, self._run = folder, run
        self.where = f"tensorboard --logdir {shlex.quote(str(folder.parent))}"
        self._writer: Any = None
        self._known: set[Key] = set()
        self._ended = False
        if folder.is_dir():
            self._read()

    def _read(self) -> None:
        """Read what the event files hold."""
        from tensorboard.backend.event_processing.event_accumulator import EventAccumulator

        everything = {"scalars": 0, "tensors": 0, "images": 1, "audio": 1, "histograms": 1}
        found = EventAccumulator(str(self._folder), size_guidance=everything)
        found.Reload()
        for tag in found.Tags()["scalars"]:
            self._known |= {(tag, event.step) for event in found.Scalars(tag)}
        self._ended = (END, 0) in self._known

    def find_known(self) -> Collection[Key]:
        """Return tags and steps of the event files."""
        return self._known

    def has_ended(self) -> bool:
        """Return whether the numbers of the summary are there."""
        return self._ended

    def add(self, points: Sequence[Point]) -> None:
        """Write each as a scalar, with the time at which it was measured."""
        for point in points:
            self._write(point.name, point.value, point.epoch, point.seconds)
        if points:
            self._open_writer().flush()

    def end(self, ending: Ending) -> None:
        """Write the numbers of the summary, its sentence, and the config for the tab HPARAMS."""
        if ending.status != "done":
            return
        writer = self._open_writer()
        for name, value in ending.values.items():
            self._write(name, value, 0)
        writer.add_text(ANSWER, ending.answer or ending.status, 0)
        for summary in self._describe_settings(ending):
            writer.file_writer.add_summary(summary)
        self._write(END, 1.0, 0)
        writer.flush()

    def _describe_settings(self, ending: Ending) -> Sequence[Any]:
        """Return what the tab HPARAMS reads: settings, and the metrics to show with them."""
        from torch.utils.tensorboard.summary import hparams

        settings = {
            key: value if isinstance(value, (str, bool, int, float)) else str(value)
            for key, value in self._run.config.items()
        }
        found: Sequence[Any] = hparams(settings, dict(ending.values))
        return found

    def _write(self, name: str, value: float, step: int, seconds: float | None = None) -> None:
        at = None if seconds is None else self._run.began + seconds
        self._open_writer().add_scalar(name, value, step, walltime=at)

    def _open_writer(self) -> Any:
        if self._writer is None:
            from torch.utils.tensorboard.writer import SummaryWriter

            # Files of one second and one machine need names that differ.
            suffix = f".{os.getpid()}.{threading.get_ident() % 10_000}"
            self._writer = SummaryWriter(str(self._folder), filename_suffix=suffix)
        return self._writer

    def close(self) -> None:
        """Close the file."""
        if self._writer is not None:
            self._writer.close()
            self._writer = None
