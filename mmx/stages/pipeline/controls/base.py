"""The contract of every trainer of a control, and its result.

Shape legend: ``N`` rows, ``C`` outputs.
"""

from __future__ import annotations

from abc import ABC, abstractmethod
from collections.abc import Callable, Sequence
from dataclasses import dataclass, field
from functools import cached_property, partial
from typing import Any

import torch
from torch import Tensor

from mmx.controls import find_control
from mmx.evaluation.metrics import measure
from mmx.evaluation.predict import predict
from mmx.evaluation.subsets import compute_prior
from mmx.objectives import Criterion
from mmx.stage_id import Role, StageId
from mmx.stages.core.context import Context, Opened, Specs, Trained
from mmx.stages.core.opened_data import open_task
from mmx.stages.core.stage import GivenSource, Stage
from mmx.stages.pipeline.train import describe_collapses, train_stage
from mmx.training.data import Rows
from mmx.training.recipe import Epoch
from mmx.transfer import Source
from mmx.transfer.scratch import Scratch

ControlAnswers = Callable[[Rows], Tensor]
"""Some of the target's rows to outputs ``(N, C)`` on the CPU."""


@dataclass(frozen=True)
class TrainedControl:
    """A control, ready for the comparison.

    Attributes:
        name: Its name in :data:`~mmx.controls.CONTROLS`.
        answers: Returns its outputs for rows of the target.
        criterion: The objective that measures it.
        val: Metrics of all validation rows.
        seconds: Seconds of training; 0 if another stage has trained it already.
        history: The validation metric after each epoch; None if nothing was trained, or
            validation left out rows.
        facts: Further entries of the summary.
        notes: Notes for the reader.
    """

    name: str
    answers: ControlAnswers
    criterion: Criterion
    val: dict[str, float]
    seconds: float = 0.0
    history: Sequence[Epoch] | None = None
    facts: dict[str, Any] = field(default_factory=dict)
    notes: tuple[str, ...] = ()

    @classmethod
    def of(cls, name: str, context: Context, trained: Trained) -> TrainedControl:
        """Return a control that answers every row with a trained model, with its alarms."""
        return cls(
            name,
            partial(predict_rows, context, trained),
            trained.criterion,
            trained.fitted.val,
            trained.fitted.seconds,
            trained.fitted.history,
            notes=tuple(f"control {name}: {note}" for note in describe_collapses(trained.fitted)),
        )

    @property
    def is_trained(self) -> bool:
        """Whether it was trained, with the target's budget."""
        return find_control(self.name).trained

    @property
    def stands_for_chance(self) -> bool:
        """Whether it has learned nothing."""
        return find_control(self.name).stands_for_chance


@dataclass(frozen=True)
class ControlBench:
    """What the controls of a run are trained on; parts that several of them need are made once.

    Attributes:
        context: The run's context.
        as_target: The target's data as the target stage reads it.
        source_specs: The source's specs, which the target may have taken over.
        given: The source, trained or published; None where there is none.
    """

    context: Context
    as_target: Opened
    source_specs: Specs
    given: GivenSource | None

    @cached_property
    def opened(self) -> Opened:
        """The target's data as it would be read without a source."""
        specs, task = self.as_target.specs, self.as_target.task
        if not any(spec is self.source_specs.get(name) for name, spec in specs.items()):
            return self.as_target
        return open_task(self.context, task, self.context.experiment.modalities[Role.TARGET], {})

    @cached_property
    def from_scratch(self) -> Trained:
        """The target's model trained from scratch."""
        return train_stage(self.context, Stage(StageId.CONTROL, self.opened, Scratch()))

    @cached_property
    def prior(self) -> Tensor:
        """The ``(C,)`` outputs of a model that knows only the training targets."""
        data = self.opened.data
        values = data.target[torch.from_numpy(data.rows("train")).to(data.device)].cpu()
        return compute_prior(values, self.opened.task.target)

    def validate(self, answers: ControlAnswers, criterion: Criterion) -> dict[str, float]:
        """Return the metrics of all validation rows."""
        data = self.opened.data
        rows = data.rows("val")
        target = self.as_target.task.target
        loss_of, metric = criterion.task_loss, self.context.experiment.metric
        return measure(answers(rows), data.truth(rows), target, loss_of, metric)


class ControlTrainer(ABC):
    """Base of all trainers of controls; see :class:`~mmx.controls.base.Control`.

    The one of the majority control is::

        class MajorityTrainer(ControlTrainer):
            def train(self, target: Trained) -> TrainedControl:
                def answers(rows: Rows) -> Tensor:
                    return self.bench.prior.repeat(len(rows), 1)

                val = self.bench.validate(answers, target.criterion)
                return TrainedControl(self.name, answers, target.criterion, val)

    Args:
        name: The name of the control, which is that of the file.
        bench: The run's bench.
    """

    def __init__(self, name: str, bench: ControlBench) -> None:
        self.name, self.bench = name, bench
        self.context = bench.context

    def check(self, source: Source) -> None:  # noqa: B027 most can always start
        """Refuse a control that cannot start, before anything is trained.

        Args:
            source: The source, trained or not: only its names and shapes matter.

        Raises:
            TransferError: The source does not fit it.
        """

    @abstractmethod
    def train(self, target: Trained) -> TrainedControl:
        """Return the trained control.

        Args:
            target: The run's trained target.
        """


def predict_rows(context: Context, trained: Trained, rows: Rows) -> Tensor:
    """Return a model's outputs; its own data has the features of its frozen encoders."""
    return predict(trained.model, trained.data, rows, context.precision)[0]
