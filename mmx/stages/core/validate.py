"""What happens after each epoch: fit anew what follows the encoders, validate, and watch."""

from __future__ import annotations

import math
from collections.abc import Collection
from dataclasses import dataclass

import torch
from torch import Tensor

from mmx.evaluation.alignment import alignment
from mmx.evaluation.metrics import measure
from mmx.evaluation.predict import predict_encoded
from mmx.evaluation.probe import chance, probe_accuracy
from mmx.modalities import Encoded
from mmx.model import MultimodalModel
from mmx.objectives import Criterion
from mmx.stage_id import StageId
from mmx.stages.core.cached import cache_mapping
from mmx.stages.core.context import Beside, Context, Opened
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
            fit_missing(model, self.data, self.precision, self.seed)
        if self.beside is not None:
            self._look_beside(self.beside)
        outputs, values, encoded = predict_encoded(
            model, self.data, self.data.rows("val"), self.precision
        )
        if outputs.shape[1] == 0:
            return Validation(alignment(self.criterion, encoded))
        metrics = measure(outputs, values, self.target, self.criterion.task_loss)
        _observe(self.criterion, encoded, outputs)
        if self.target.kind != "classes" or len(encoded.features) < 2:
            return Validation(metrics)
        probes = {name: probe_accuracy(encoded, name) for name in encoded.features}
        found = {name: accuracy for name, accuracy in probes.items() if accuracy is not None}
        usual = chance(encoded.target)
        noise = math.sqrt(usual * (1 - usual) / len(encoded))
        return Validation(metrics, found, usual, noise)

    def _look_beside(self, beside: Beside) -> None:
        """Do for the task that trains along what is done after an epoch."""
        fit_missing(beside.model, beside.data, self.precision, self.seed)
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


def prepare_beside(
    context: Context, opened: Opened, beside: Beside, model: MultimodalModel
) -> None:
    """Fit what the task that trains along does not share and gradients do not fit."""
    if beside.model.mapping is not model.mapping:
        fit_mapping(context, StageId.SOURCE, opened, beside.model, held=())
    seed = context.experiment.settings.seed
    fit_missing(beside.model, beside.data, context.precision, seed)


def fit_missing(model: MultimodalModel, data: Data, precision: Precision, seed: int) -> None:
    """Fit what stands in for missing modalities on the training rows, as they are encoded now."""
    if not model.missing.fitted:
        return
    rows = encode_rows(model, data, data.rows("train"), precision, behind="mapping")
    model.missing.fit(rows, seed)


def fit_mapping(
    context: Context, stage: StageId, opened: Opened, model: MultimodalModel, held: Collection[str]
) -> tuple[str, ...]:
    """Fit the mapping on the training rows, as they are encoded when training starts.

    Args:
        context: Of the run.
        stage: Whose mapping it is.
        opened: The task, with the features that are held.
        model: Whose mapping it is.
        held: Modalities whose features are held, since their encoders are frozen.

    Returns:
        Notes for the reader.
    """
    mapping, data = model.mapping, opened.data
    if mapping is None or not mapping.fitted:
        return ()

    def fit() -> tuple[str, ...]:
        rows = encode_rows(model, data, data.rows("train"), context.precision)
        return mapping.fit(rows, context.experiment.settings.seed)

    notes = cache_mapping(context, stage, opened, model, held, fit)
    if not moves(model, held):
        return notes
    drift = (
        "the mapping was fitted to encoders that then went on training: frozen ones keep it true"
    )
    return (*notes, drift)


def moves(model: MultimodalModel, held: Collection[str]) -> bool:
    """Return whether anything before the mapping trains, some modalities' features being held."""
    return bool(model.encoders.keys() - set(held)) or model.trunk is not None
