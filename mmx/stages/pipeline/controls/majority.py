"""The most frequent class of the training rows for every row: for each label, or the mean."""

from __future__ import annotations

from torch import Tensor

from mmx.stages.core.context import Trained
from mmx.stages.pipeline.controls.base import ControlTrainer, TrainedControl
from mmx.training.data import Rows


class MajorityTrainer(ControlTrainer):
    """Counts the training targets; nothing is trained."""

    def train(self, target: Trained) -> TrainedControl:
        """Return the control; see :class:`~mmx.stages.pipeline.controls.base.ControlTrainer`."""

        def answers(rows: Rows) -> Tensor:
            return self.bench.prior.repeat(len(rows), 1)

        val = self.bench.validate(answers, target.criterion)
        return TrainedControl(self.name, answers, target.criterion, val)
