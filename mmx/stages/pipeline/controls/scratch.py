"""The target's model with fresh weights, and the same data, draws and trainer."""

from __future__ import annotations

from dataclasses import replace

from mmx.stages.core.context import Trained
from mmx.stages.pipeline.controls.base import ControlTrainer, TrainedControl

FRESH = (
    "control scratch: the architecture is the source's and every weight of the run is fresh, the "
    "same as from scratch: the gain is nothing by construction; transfer.sparsity=magnitude takes "
    "the source's pattern along"
)


class ScratchTrainer(ControlTrainer):
    """Trains the target without its source."""

    def train(self, target: Trained) -> TrainedControl:
        """Return the control; see :class:`~mmx.stages.pipeline.controls.base.ControlTrainer`."""
        bench, run = self.bench, self.context.experiment
        found = TrainedControl.of(self.name, self.context, bench.from_scratch)
        fresh = run.transfer.needs == "architecture" and run.regularizer is None
        # With the source's vocabularies and columns, the target would be read differently.
        same = fresh and bench.opened is bench.as_target
        return replace(found, notes=(*found.notes, FRESH)) if same else found
