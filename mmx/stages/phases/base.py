"""The state that phases work on, and how the function of a phase is found.

A phase changes the model of its stage in place, records its result in the state, and returns
notes for the reader::

    def my_phase(phase: MyPhase, state: StageState) -> tuple[str, ...]: ...
"""

from __future__ import annotations

from collections.abc import Callable
from dataclasses import dataclass, field
from functools import partial
from importlib import import_module

from torch import Tensor

from mmx.metrics import Metric
from mmx.model import MultimodalModel
from mmx.stages.core.context import Context, WeightLine
from mmx.stages.core.stage import PreparedStage, Stage
from mmx.tasks import Target
from mmx.training.data import Data
from mmx.training.events import Listener
from mmx.training.recipe import FitResult
from mmx.transfer.phases import Phase

Notes = tuple[str, ...]


@dataclass
class StageState:
    """A stage under way; phases read and change it one after the other.

    Attributes:
        context: The run's context.
        stage: The stage that is trained.
        prepared: Its model, criterion, data and start.
        listen: Called with the events of its epochs.
        snapshot: Copies of tensors from before training, by name; empty if there are none.
        fitted: The result of training; None before it.
        line: The WiSE-FT line; None if there is none.
    """

    context: Context
    stage: Stage
    prepared: PreparedStage
    listen: Listener
    snapshot: dict[str, Tensor] = field(default_factory=dict)
    fitted: FitResult | None = None
    line: WeightLine | None = None

    @property
    def model(self) -> MultimodalModel:
        """The model, which phases change in place."""
        return self.prepared.model

    @property
    def data(self) -> Data:
        """The task's rows, with the features of frozen encoders."""
        return self.prepared.data

    @property
    def target(self) -> Target:
        """What is predicted."""
        return self.stage.opened.task.target

    @property
    def metric(self) -> Metric | None:
        """The metric that is chosen for this stage; None for the usual one."""
        return self.context.experiment.find_metric(self.stage.id.role)

    @property
    def seed(self) -> int:
        """The run's seed."""
        return self.context.experiment.settings.seed

    @property
    def result(self) -> FitResult:
        """The result of training.

        Raises:
            RuntimeError: No phase has trained yet.
        """
        if self.fitted is None:
            kind = type(self.stage.transfer).__name__
            raise RuntimeError(f"no phase of {kind} trains: one must set state.fitted")
        return self.fitted


def find_runner(phase: Phase) -> Callable[[StageState], Notes]:
    """Return the function that runs a phase: its own ``run``, or that of its name in this folder.

    Raises:
        TypeError: It has neither.
    """
    own: Callable[[StageState], Notes] | None = getattr(phase, "run", None)
    if own is not None:
        return own
    if not phase.name:
        raise TypeError(f"{type(phase).__name__} is a phase with neither a name nor run(state)")
    module = import_module(f"mmx.stages.phases.{phase.name}")
    return partial(getattr(module, phase.name), phase)
