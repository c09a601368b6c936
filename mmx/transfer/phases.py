"""Phases: the steps of a stage after its model was started, chosen by the transfer mode.

    Start(report, phases=(LinearProbe(), Snapshot(names), TrainEpochs(), WiseFT()))

They run in order, after the mapping and the imputation of missing modalities were fitted. Here a
phase of mmx is only described; the function of the same name in the file of the same name in
``mmx/stages/phases/`` runs it. A phase from another package subclasses :class:`Phase` and has a
method ``run``::

    @dataclass(frozen=True)
    class Halve(Phase):
        def run(self, state):  # an mmx.stages.phases.base.StageState
            with torch.no_grad():
                state.model.head.weight.mul_(0.5)
            return ("the head's weights were halved",)  # notes for the reader
"""

from __future__ import annotations

from dataclasses import dataclass
from typing import ClassVar


class Phase:
    """One step of a stage; subclasses are frozen dataclasses with the options of the step.

    Attributes:
        name: Name of the file in ``mmx/stages/phases/`` and of the function in it that runs the
            phase, ``name(phase, state) -> notes``; empty if the class has ``run(state) -> notes``.
    """

    name: ClassVar[str] = ""


@dataclass(frozen=True)
class TrainEpochs(Phase):
    """Train with gradients for ``trainer.epochs``, and keep the weights of the best epoch."""

    name = "train_epochs"


@dataclass(frozen=True)
class LinearProbe(Phase):
    """Fit the linear head to frozen features, by logistic or ridge regression."""

    name = "fit_linear_probe"


@dataclass(frozen=True)
class Snapshot(Phase):
    """Remember the current values of tensors for a later phase.

    Attributes:
        names: Names of the tensors.
    """

    name = "snapshot"
    names: frozenset[str]


@dataclass(frozen=True)
class WiseFT(Phase):
    """Evaluate the line from the snapshot to the current weights; skipped if no tensor is on it.

    Attributes:
        keep_best: Whether to keep the point that is best on validation, and not the trained
            weights.
    """

    name = "wise_ft"
    keep_best: bool = False
