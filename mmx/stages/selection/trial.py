"""One trial of ``transfer=auto``: a candidate trained as a run of so many epochs would train it."""

from __future__ import annotations

import shutil
from collections.abc import Callable, Sequence
from dataclasses import replace

from mmx.errors import TrainingError, TransferError
from mmx.evaluation.metrics import make_score
from mmx.experiment import Experiment
from mmx.runs.cache import Cache
from mmx.runs.directory import RunDirectory
from mmx.runs.search_record import Trial
from mmx.stage_id import StageId
from mmx.stages.core.context import Context
from mmx.stages.core.stage import Stage
from mmx.stages.pipeline.train import train_stage
from mmx.stages.selection.choices import Choice
from mmx.stages.selection.prepare import Prepared
from mmx.training.events import Event, EventKind

TRIALS_FOLDER = "search"
"""Of trials in a run directory; it is removed when the search is over."""
FEATURES_BYTES = 1 << 40
"""The most that the features which trials share may take: they are removed with the search."""
Clock = Callable[[], float]


class TrialTrainer:
    """Trains the candidates of a search.

    Args:
        context: Of the run.
        prepared: The trained source, and the target without its test rows.
        choices: The candidates, in the order in which they are tried.
        planned: Epochs of all trials, of which the progress bar shows how many are over.
        clock: Tells the seconds.
    """

    def __init__(
        self,
        context: Context,
        prepared: Prepared,
        choices: Sequence[Choice],
        planned: int,
        clock: Clock,
    ) -> None:
        self.context, self.prepared, self.planned, self.clock = context, prepared, planned, clock
        self.choices = {choice.name: choice for choice in choices}
        self.folder = context.directory.path / TRIALS_FOLDER
        self.cache = Cache(self.folder / "features", FEATURES_BYTES)

    def count_epochs(self, name: str, epochs: int) -> int:
        """Return the epochs of a trial: 0 where the head is fitted, the same in every rung."""
        return epochs if self.choices[name].experiment.transfer.uses_epochs else 0

    def train(self, name: str, epochs: int, done: int) -> Trial:
        """Train a candidate and return what validation says.

        Args:
            name: The candidate.
            epochs: Of the rung.
            done: Planned epochs that are over.
        """
        own_epochs, experiment = self.count_epochs(name, epochs), self.choices[name].experiment
        # A trial that was interrupted finds its checkpoint here: the name must not change.
        folder = self.folder / f"{list(self.choices).index(name)}-{own_epochs}"
        folder.mkdir(parents=True, exist_ok=True)
        # A trainer has an epoch at least; a head that is fitted takes none of it.
        trainer = replace(experiment.trainer, epochs=max(1, own_epochs))
        context = replace(
            self.context,
            experiment=replace(experiment, trainer=trainer),
            directory=RunDirectory(folder),
            listen=self._make_listener(epochs, done),
            # The search's own: trials share features, none of which outlives the search.
            cache=self.cache,
        )
        began = self.clock()
        try:
            fitted = train_stage(context, self._make_stage(experiment)).fitted
        except (TransferError, TrainingError) as error:
            val, steps, values, failure = {}, 0, None, " ".join(error.message.split())
        else:
            val, steps, failure = fitted.val, fitted.steps, ""
            values = list(make_score(self.prepared.target.task.target.kind, experiment.metric)(val))
        shutil.rmtree(folder, ignore_errors=True)
        return Trial(
            candidate=name,
            epochs=own_epochs,
            val=val,
            score=values,
            steps=steps,
            seconds=self.clock() - began,
            error=failure,
        )

    def _make_stage(self, experiment: Experiment) -> Stage:
        """Return the target stage of a candidate."""
        prepared = self.prepared
        return Stage(
            StageId.TARGET,
            prepared.alone if experiment.source is None else prepared.target,
            experiment.transfer,
            prepared.given if experiment.reads_source_weights else None,
            prepared.source if experiment.joint else None,
        )

    def _make_listener(self, epochs: int, done: int) -> Callable[[Event], None]:
        """Return who listens to a trial: its steps move the search's bar, the rest is not shown."""

        def listen(event: Event) -> None:
            if event.kind is EventKind.STEP and event.steps:
                now = round(done + epochs * event.step / event.steps)
                self.context.listen(
                    replace(event, stage=StageId.SEARCH, step=now, steps=self.planned, epoch=0)
                )

        return listen
