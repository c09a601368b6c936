"""What happens after each epoch: fit anew what follows the encoders, validate, and watch."""

from __future__ import annotations

import math
from dataclasses import dataclass

import torch
from torch import Tensor

from mmx.evaluation.alignment import measure_alignment
from mmx.evaluation.metrics import measure
from mmx.evaluation.predict import predict_encoded
from mmx.evaluation.probe import find_majority_share, probe_accuracy
from mmx.modalities import Encoded
from mmx.model import MultimodalModel
from mmx.objectives import Criterion
from mmx.stages.core.context import Beside
from mmx.stages.core.missing import fit_stand_ins
from mmx.tasks import Target
from mmx.training.data import Data
from mmx.training.precision import Precision
from mmx.training.recipe import Validation


@dataclass(frozen=True)
class Validator:
    """Validates a stage's model after an epoch.

    Attributes:
        data, target, criterion, precision: Of the stage.
        moves: Whether encoders train, so that what stands in for missing modalities is
            fitted anew.
        seed: The run's.
        beside: The task that trains along; None where there is none.
    """

    data: Data
    target: Target
    criterion: Criterion
    precision: Precision
    moves: bool
    seed: int
    beside: Beside | None = None

    def __call__(self, model: MultimodalModel) -> Validation:
        """Return what validation finds."""
        if self.moves:
            fit_stand_ins(model, self.data, self.precision, self.seed)
        if self.beside is not None:
            self._look_beside(self.beside)
        outputs, values, encoded = predict_encoded(
            model, self.data, self.data.rows("val"), self.precision
        )
        if outputs.shape[1] == 0:
            return Validation(measure_alignment(self.criterion, encoded))
        metrics = measure(outputs, values, self.target, self.criterion.task_loss)
        _observe(self.criterion, encoded, outputs)
        if self.target.kind != "classes" or len(encoded.features) < 2:
            return Validation(metrics)
        probes = {name: probe_accuracy(encoded, name) for name in encoded.features}
        found = {name: accuracy for name, accuracy in probes.items() if accuracy is not None}
        usual = find_majority_share(encoded.target)
        noise = math.sqrt(usual * (1 - usual) / len(encoded))
        return Validation(metrics, found, usual, noise)

    def _look_beside(self, beside: Beside) -> None:
        """Do for the task that trains along what is done after an epoch."""
        fit_stand_ins(beside.model, beside.data, self.precision, self.seed)
        if beside.criterion.observes:
            outputs, _, encoded = predict_encoded(
                beside.model, beside.data, beside.data.rows("val"), self.precision
            )
            _observe(beside.criterion, encoded, outputs)


@torch.no_grad()
def _observe(criterion: Criterion, val: Encoded, outputs: Tensor) -> None:
    """Let an objective look at the validation rows, where it wants to."""
    if criterion.observes:
        criterion.after_epoch(val, outputs.to(val.target.device))
