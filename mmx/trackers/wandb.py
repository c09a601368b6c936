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
from urllib.parse import quote

from pydantic import Field

from mmx.trackers.base import Ending, Key, OpenRun, Point, TrackedRun, Tracker, set_defaults

ENDED = "mmx.ended"
EPOCH = "epoch"
OLD_MODES = {"dryrun": "offline", "run": "online"}
"""Values of ``$WANDB_MODE`` that Weights & Biases still takes, and what they are called now."""
SENDING = ("online", "offline")
"""Modes of which is noted what was sent."""
Text = Annotated[str, Field(min_length=1)]


@dataclass(frozen=True, kw_only=True)
class Wandb(Tracker):
    """A run of Weights & Biases for each run, with the run's key as its id.

    What was sent is also noted in ``wandb/mmx-KEY+MODE+ENTITY+PROJECT.jsonl``, since files for
    ``wandb sync`` cannot be asked what they hold. Of any other mode, such as ``disabled``, nothing
    is noted, as nothing is sent.

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
        mode = OLD_MODES.get(mode, mode)
        return _OpenWandb(self, folder.expanduser().absolute(), mode, run)


class _OpenWandb(OpenRun):
    """A run of Weights & Biases; it is begun when there is something to write."""

    def __init__(self, options: Wandb, folder: Path, mode: str, run: TrackedRun) -> None:
        self._options, self._folder, self._mode, self._run = options, folder, mode, run
        self._notes = folder / "wandb" / self._name_notes()
        self._begun: Any = None
        self._known, self._ended = set[Key](), False
        self._stages = set[str]()
        self._failed = True
        sent = f"wandb sync {folder}/wandb/offline-run-*-{run.key}"
        self.where = f"project {options.project}" if mode == "online" else sent
        if mode not in SENDING:
            self.where, self.keeps = f"nowhere, as $WANDB_MODE is {mode}", mode != "disabled"
            return
        notes = [path for path in (self._notes, self._find_old_notes()) if path and path.exists()]
        if notes:
            self._read_notes(notes)
        elif mode == "online":
            self._read_history()

    def _name_notes(self) -> str:
        """Return the name of the notes: what was sent to one project is not in another."""
        place = (self._mode, self._find_entity(), self._options.project)
        # Quoted text has no "+", so that no two places have one name.
        return (
            "+".join([f"mmx-{self._run.key}", *(quote(part, safe="") for part in place)]) + ".jsonl"
        )

    def _find_entity(self) -> str:
        """Return the entity; empty for that of the account."""
        return self._options.entity or os.environ.get("WANDB_ENTITY") or ""

    def _find_old_notes(self) -> Path | None:
        """Return the notes under their former name, which said only the run, if they are of here.

        Their project and entity are taken to be the defaults, and their mode to be that of the
        folders of the run. Where they are not read, the service is asked if it is online.
        """
        if self._find_entity() or self._options.project != Wandb.project:
            return None
        folder, key = self._notes.parent, self._run.key
        offline = any(folder.glob(f"offline-run-*-{key}"))
        online = any(folder.glob(f"run-*-{key}")) and not offline
        of_other_mode = offline if self._mode == "online" else online
        return None if of_other_mode else folder / f"mmx-{key}.jsonl"

    def _read_notes(self, paths: Sequence[Path]) -> None:
        for path in paths:
            for line in path.read_text(encoding="utf-8").splitlines():
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
        if self._mode not in SENDING:
            return
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
