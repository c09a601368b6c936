"""Weights & Biases: runs of a project, sent at once or kept in files for ``wandb sync``."""

from __future__ import annotations

import json
import os
import shutil
from collections.abc import Collection, Iterator, Sequence
from dataclasses import dataclass
from itertools import groupby
from pathlib import Path
from typing import Annotated, Any, ClassVar, Literal, cast

from pydantic import Field

from mmx.trackers.base import Ending, Key, OpenRun, Point, TrackedRun, Tracker, set_defaults

ENDED = "mmx.ended"
EPOCH = "epoch"
Text = Annotated[str, Field(min_length=1)]


@dataclass(frozen=True, kw_only=True)
class Wandb(Tracker):
    """A run of Weights & Biases for each run, with the run's key as its id.

    What was sent is also noted in ``wandb/mmx-KEY.jsonl``, since files for ``wandb sync`` cannot
    be asked what they hold.

    Args:
        project: The project in which the runs are.
        entity: User or team; None for that of the account.
        mode: ``online``, or ``offline`` for files that ``wandb sync`` sends later; None for
            ``$WANDB_MODE``, and where that is not set, for online.
        folder: Where its files are; None for the output folder.
    """

    project: Text = "mmx"
    entity: Text | None = None
    mode: Literal["online", "offline"] | None = None
    folder: Text | None = None
    library: ClassVar[str] = "wandb"
    extra: ClassVar[str] = "wandb"
    places: ClassVar[tuple[str, ...]] = ("folder", "entity")

    def open(self, run: TrackedRun) -> OpenRun:
        """Return the run with that id."""
        folder = run.folder if run.only_here or self.folder is None else Path(self.folder)
        mode = "offline" if run.only_here else self.mode or os.environ.get("WANDB_MODE") or "online"
        return _OpenWandb(self, folder.expanduser().absolute(), mode, run)


class _OpenWandb(OpenRun):
    """A run of Weights & Biases; it is begun when there is something to write."""

    def __init__(self, options: Wandb, folder: Path, mode: str, run: TrackedRun) -> None:
        self._options, self._folder, self._mode, self._run = options, folder, mode, run
        self._notes = folder / "wandb" / f"mmx-{run.key}.jsonl"
        self._begun: Any = None
        self._known, self._ended = set[Key](), False
        self._stages = set[str]()
        self._failed = True
        sent = f"wandb sync {folder}/wandb/offline-run-*-{run.key}"
        self.where = f"project {options.project}" if mode == "online" else sent
        if self._notes.exists():
            self._read_notes()
        elif mode == "online":
            self._read_history()

    def _read_notes(self) -> None:
        for line in self._notes.read_text(encoding="utf-8").splitlines():
            name, epoch = json.loads(line)
            self._known.add((name, epoch))
        self._ended = (ENDED, 0) in self._known

    def _read_history(self) -> None:
        """Read what the service has of a run that was sent from elsewhere."""
        begun = self._begin()
        if not begun.resumed:
            return
        import wandb

        for row in wandb.Api(timeout=20).run(begun.path).scan_history():
            for name in row:
                stage, slash, metric = name.partition("/")
                if slash and metric != EPOCH and f"{stage}/{EPOCH}" in row:
                    self._known.add((name, int(row[f"{stage}/{EPOCH}"])))
        self._ended = bool(begun.summary.get(ENDED))

    def _begin(self) -> Any:
        if self._begun is None:
            set_defaults(WANDB_ERROR_REPORTING="false")
            import wandb  # slow to import

            self._notes.parent.mkdir(parents=True, exist_ok=True)
            settings = wandb.Settings(
                silent=True,
                console="off",
                disable_git=True,
                save_code=False,
                init_timeout=self._options.wait,
                x_disable_stats=True,
            )
            self._begun = wandb.init(
                project=self._options.project,
                entity=self._options.entity,
                id=self._run.key,
                name=self._run.name,
                dir=str(self._folder),
                mode=cast(Any, self._mode),
                config=dict(self._run.config),
                tags=None,
                resume="allow" if self._mode == "online" else None,
                settings=settings,
                reinit="create_new",
            )
            self._begun.config.update({"mmx": dict(self._run.tags)}, allow_val_change=True)
        return self._begun

    def find_known(self) -> Collection[Key]:
        """Return what was noted, or else what the service has."""
        return self._known

    def has_ended(self) -> bool:
        """Return whether the summary was sent."""
        return self._ended

    def add(self, points: Sequence[Point]) -> None:
        """Write a row for each stage and epoch; the epoch is the axis of the stage's metrics."""
        for (stage, epoch), row in _group(points):
            begun = self._begin()
            if stage not in self._stages:
                self._stages.add(stage)
                begun.define_metric(f"{stage}/{EPOCH}", hidden=True)
                begun.define_metric(f"{stage}/*", step_metric=f"{stage}/{EPOCH}")
            begun.log({f"{stage}/{EPOCH}": epoch, **{each.name: each.value for each in row}})
            self._note([each.key for each in row])

    def end(self, ending: Ending) -> None:
        """Write the summary and the files of a finished run."""
        if ending.status != "done":
            return
        begun = self._begin()
        begun.summary.update({**ending.values, "answer": ending.answer, ENDED: True})
        for path in ending.files:  # a copy: the run directory may be removed
            copied = shutil.copy(path, begun.dir)
            begun.save(copied, base_path=begun.dir, policy="now")
        self._failed = False
        self._note([(ENDED, 0)])

    def _note(self, keys: Sequence[Key]) -> None:
        with self._notes.open("a", encoding="utf-8") as file:
            file.write("".join(json.dumps(key) + "\n" for key in keys))

    def close(self) -> None:
        """End it at the service; what was not finished may go on later."""
        if self._begun is not None:
            begun, self._begun = self._begun, None
            begun.finish(exit_code=int(self._failed))


def _group(points: Sequence[Point]) -> Iterator[tuple[tuple[str, int], list[Point]]]:
    """Yield the points of each stage and epoch, in their order."""
    by = groupby(points, key=lambda point: (point.name.partition("/")[0], point.epoch))
    for key, found in by:
        yield key, list(found)
