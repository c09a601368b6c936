"""The training rows' most frequent class for every row; label by label, or the mean."""

from __future__ import annotations

from torch import Tensor

from mmx.stages.core.context import Trained
from mmx.stages.pipeline.controls.base import ControlTrainer, TrainedControl
from mmx.training.data import Rows


class MajorityTrainer(ControlTrainer):
    """Counts, and trains nothing."""

    def train(self, target: Trained) -> TrainedControl:
        """Return the control; see :class:`~mmx.stages.pipeline.controls.base.ControlTrainer`."""

        def answers(rows: Rows) -> Tensor:
            return self.bench.prior.repeat(len(rows), 1)

        val = self.bench.validate(answers, target.criterion)
        return TrainedControl(self.name, answers, target.criterion, val)
