"""A target that is trained and validated, and of which no test row is opened."""

from __future__ import annotations

from dataclasses import dataclass, field, replace
from typing import Protocol

from mmx.evaluation.metrics import SelectionScore, make_score
from mmx.experiment import Experiment
from mmx.runs.directory import RunDirectory
from mmx.stage_id import StageId
from mmx.stages.core.context import Context
from mmx.stages.core.stage import Stage
from mmx.stages.pipeline.train import train_stage
from mmx.stages.selection.prepare import make_context, prepare
from mmx.training.events import Event, EventKind, Listener, StopRequest


class Judge(Protocol):
    """Decides after each epoch whether a training is stopped early."""

    @property
    def rungs(self) -> dict[str, float]:
        """Return the scores at which the training was compared with others, by name."""
        ...

    def is_hopeless(self, epoch: int, score: float) -> bool:
        """Return whether a training with this score after this epoch is stopped."""
        ...


VAL = "val."


@dataclass(frozen=True)
class Validated:
    """What validation says of a trained target.

    Attributes:
        metrics: Of its best epoch; empty where it was stopped early.
        score: What selection maximises; None where it was stopped early.
        scores: The score after each epoch.
        rungs: What the judge kept of it.
    """

    metrics: dict[str, float]
    score: float | None
    scores: dict[int, float]
    rungs: dict[str, float]


class _StoppedEarlyError(Exception):
    """The judge has stopped the training."""


@dataclass
class _Watcher:
    """Passes events on, and shows the judge the score after each epoch of the target."""

    listen: Listener
    judge: Judge
    score: SelectionScore
    scores: dict[int, float] = field(default_factory=dict)

    def replay(self, context: Context) -> None:
        """Take the epochs that were trained before the run was interrupted."""
        found: dict[int, dict[str, float]] = {}
        for entry in context.directory.metrics():
            if entry["stage"] == str(StageId.TARGET) and entry["split"] == "val":
                found.setdefault(entry["epoch"], {})[entry["name"]] = entry["value"]
        for epoch, metrics in sorted(found.items()):
            self._take(epoch, metrics)

    def __call__(self, event: Event) -> None:
        self.listen(event)
        if event.kind is EventKind.EPOCH and event.stage == StageId.TARGET:
            named = event.values.items()
            self._take(
                event.epoch,
                {name.removeprefix(VAL): value for name, value in named if name.startswith(VAL)},
            )

    def _take(self, epoch: int, metrics: dict[str, float]) -> None:
        if epoch in self.scores or not {self.score.name, "loss"} <= metrics.keys():
            return
        self.scores[epoch] = self.score(metrics)[0]
        if self.judge.is_hopeless(epoch, self.scores[epoch]):
            raise _StoppedEarlyError


def train_validated(
    experiment: Experiment,
    directory: RunDirectory,
    listen: Listener,
    stop: StopRequest,
    judge: Judge,
) -> Validated:
    """Train the source, if there is one, and the target, without controls and without test rows.

    Args:
        experiment: What to train; it must not search itself.
        directory: Where the stages are kept.
        listen: Called with the events.
        stop: A request to stop.
        judge: Asked after each epoch of the target.
    """
    context = make_context(experiment, directory, listen, stop)
    prepared = prepare(context)
    score = make_score(prepared.target.task.target.kind, experiment.metric)
    watcher = _Watcher(listen, judge, score)
    joint = prepared.source if experiment.joint else None
    stage = Stage(StageId.TARGET, prepared.target, experiment.transfer, prepared.given, joint)
    try:
        watcher.replay(context)
        fitted = train_stage(replace(context, listen=watcher), stage).fitted
    except _StoppedEarlyError:
        return Validated({}, None, watcher.scores, judge.rungs)
    return Validated(fitted.val, score(fitted.val)[0], watcher.scores, judge.rungs)
