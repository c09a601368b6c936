"""Phases: what a stage does with a started model, as the transfer asks for it.

    Start(report, phases=(LinearProbe(), Snapshot(names), TrainEpochs(), WiseFT()))

They run in order, after the mapping and the stand-ins for missing modalities were fitted. A phase
of mmx is a description here, and runs as the function of its name in the file of its name in
``mmx/stages/phases/``. A phase from elsewhere subclasses :class:`Phase` with a ``run`` of its own::

    @dataclass(frozen=True)
    class Halve(Phase):
        def run(self, state):  # a mmx.stages.phases.base.StageState
            with torch.no_grad():
                state.model.head.weight.mul_(0.5)
            return ("the head's weights were halved",)  # notes for the reader
"""

from __future__ import annotations

from dataclasses import dataclass
from typing import ClassVar


class Phase:
    """One step of a stage; subclasses are frozen dataclasses of what the step needs to know.

    Attributes:
        name: Of the file in ``mmx/stages/phases/`` and of the function in it that runs the phase,
            ``name(phase, state) -> notes``; empty where the class has ``run(state) -> notes``.
    """

    name: ClassVar[str] = ""


@dataclass(frozen=True)
class TrainEpochs(Phase):
    """Train by gradients for ``trainer.epochs``, and keep the weights of the best epoch."""

    name = "train_epochs"


@dataclass(frozen=True)
class LinearProbe(Phase):
    """Fit the linear head by logistic or ridge regression on features as they are."""

    name = "fit_linear_probe"


@dataclass(frozen=True)
class Snapshot(Phase):
    """Remember tensors as they are now, for a later phase.

    Attributes:
        names: Of the tensors.
    """

    name = "snapshot"
    names: frozenset[str]


@dataclass(frozen=True)
class WiseFT(Phase):
    """Evaluate the line from the snapshot to the weights now; nothing where it is of no tensor.

    Attributes:
        keep_best: Whether the point that is best on validation is kept, in place of the trained
            weights.
    """

    name = "wise_ft"
    keep_best: bool = False
