"""What happens after each epoch: fit anew what follows the encoders, validate, and watch."""

from __future__ import annotations

from dataclasses import dataclass

import torch

from mmx.evaluation.alignment import alignment
from mmx.evaluation.metrics import measure
from mmx.evaluation.predict import predict_encoded
from mmx.evaluation.probe import chance, probe_accuracy
from mmx.model import MultimodalModel
from mmx.objectives import Criterion
from mmx.tasks import Target
from mmx.training.data import Data
from mmx.training.encode import encode_rows
from mmx.training.precision import Precision
from mmx.training.recipe import Validation


@dataclass(frozen=True)
class Validator:
    """Validates a stage's model after an epoch.

    Attributes:
        data, target, criterion, precision: Of the stage.
        refits: Whether what stands in for missing modalities is fitted anew, since the
            encoders have moved.
        seed: The run's.
    """

    data: Data
    target: Target
    criterion: Criterion
    precision: Precision
    refits: bool
    seed: int

    def __call__(self, model: MultimodalModel) -> Validation:
        """Return what validation finds."""
        if self.refits:
            fit_missing(model, self.data, self.precision, self.seed)
        outputs, values, encoded = predict_encoded(
            model, self.data, self.data.rows("val"), self.precision
        )
        if outputs.shape[1] == 0:
            return Validation(alignment(self.criterion, encoded))
        metrics = measure(outputs, values, self.target, self.criterion.task_loss)
        if self.criterion.observes:
            with torch.no_grad():
                self.criterion.after_epoch(encoded, outputs.to(self.data.device))
        if self.target.kind != "classes" or len(encoded.features) < 2:
            return Validation(metrics)
        probes = {name: probe_accuracy(encoded, name) for name in encoded.features}
        found = {name: accuracy for name, accuracy in probes.items() if accuracy is not None}
        return Validation(metrics, found, chance(encoded.target))


def fit_missing(model: MultimodalModel, data: Data, precision: Precision, seed: int) -> None:
    """Fit what stands in for missing modalities on the training rows, as they are encoded now."""
    rows = encode_rows(model, data, data.rows("train"), precision, behind="mapping")
    model.missing.fit(rows, seed)


def fit_mapping(
    model: MultimodalModel, data: Data, precision: Precision, seed: int
) -> tuple[str, ...]:
    """Fit the mapping on the training rows, as they are encoded when training starts."""
    if model.mapping is None or not model.mapping.fitted:
        return ()
    return model.mapping.fit(encode_rows(model, data, data.rows("train"), precision), seed)
