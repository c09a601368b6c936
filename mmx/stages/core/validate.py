"""After each epoch: refit the stand-ins for missing modalities, validate, and probe."""

from __future__ import annotations

import math
from dataclasses import dataclass

import torch
from torch import Tensor

from mmx.evaluation.alignment import measure_alignment
from mmx.evaluation.metrics import measure
from mmx.evaluation.predict import predict_encoded
from mmx.evaluation.probe import PROBES, find_majority_share
from mmx.metrics import Metric
from mmx.modalities import Encoded
from mmx.model import MultimodalModel
from mmx.objectives import Criterion
from mmx.stages.core.context import JointTask
from mmx.stages.core.stand_ins import fit_stand_ins
from mmx.tasks import Target
from mmx.training.data import Data
from mmx.training.precision import Precision
from mmx.training.recipe import Validation


@dataclass(frozen=True)
class Validator:
    """Validates a stage's model after an epoch.

    Attributes:
        data, target, criterion, precision: Of the stage.
        moves: Whether features change while the stage trains, so that the stand-ins for missing
            modalities are fitted again.
        seed: The run's seed.
        joint: The source in joint training; None if the stage trains alone.
        metric: The metric that is chosen for the stage; None for the usual one.
    """

    data: Data
    target: Target
    criterion: Criterion
    precision: Precision
    moves: bool
    seed: int
    joint: JointTask | None = None
    metric: Metric | None = None

    def __call__(self, model: MultimodalModel) -> Validation:
        """Return the metrics, and the probes of the modalities if there are several."""
        if self.moves:
            fit_stand_ins(model, self.data, self.precision, self.seed)
        if self.joint is not None:
            self._follow_joint(self.joint)
        outputs, values, encoded = predict_encoded(
            model, self.data, self.data.rows("val"), self.precision
        )
        if outputs.shape[1] == 0:  # a label-free objective has no outputs
            return Validation(measure_alignment(self.criterion, encoded))
        loss_of = self.criterion.task_loss
        metrics = measure(outputs, values, self.target, loss_of, self.metric)
        _observe(self.criterion, encoded, outputs)
        if self.target.kind != "classes" or len(encoded.features) < 2:
            return Validation(metrics)
        probes = {name: PROBES.accuracy(encoded, name) for name in encoded.features}
        found = {name: accuracy for name, accuracy in probes.items() if accuracy is not None}
        usual = find_majority_share(encoded.target)
        # Standard error of a binomial proportion at chance level.
        noise = math.sqrt(usual * (1 - usual) / len(encoded))
        return Validation(metrics, found, usual, noise)

    def _follow_joint(self, joint: JointTask) -> None:
        """Refit the stand-ins of the source in joint training, and let its objective observe."""
        fit_stand_ins(joint.model, joint.data, self.precision, self.seed)
        if joint.criterion.observes:
            outputs, _, encoded = predict_encoded(
                joint.model, joint.data, joint.data.rows("val"), self.precision
            )
            _observe(joint.criterion, encoded, outputs)


@torch.no_grad()
def _observe(criterion: Criterion, val: Encoded, outputs: Tensor) -> None:
    """Show an objective the validation rows, if it reads them after an epoch."""
    if criterion.observes:
        criterion.after_epoch(val, outputs.to(val.target.device))
