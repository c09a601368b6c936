"""Fit the part of a fusion that gradients do not train, after training, on encoded rows."""

from __future__ import annotations

from dataclasses import replace

from mmx.evaluation.metrics import measure
from mmx.evaluation.predict import predict
from mmx.stage_id import Role
from mmx.stages.phases.base import Notes, StageState
from mmx.training.encode import encode_rows

HOPEFUL = "validation metrics are of rows that a part of the fusion was fitted on: hopeful"


def settle(state: StageState) -> Notes:
    """Settle the fusion if it has something to fit, and validate the result.

    A source is not settled, since nothing of what would be fitted is transferred.
    """
    model, data, precision = state.model, state.data, state.context.precision
    if state.stage.id.role is Role.SOURCE or not model.fusion.settles:
        return ()
    model.eval()
    train_rows = encode_rows(model, data, data.rows("train"), precision, after="missing")
    val_rows = encode_rows(model, data, data.rows("val"), precision, after="missing")
    notes = model.fusion.settle(train_rows, val_rows, state.seed)
    outputs, values = predict(model, data, data.rows("val"), precision)
    loss_of = state.prepared.criterion.task_loss
    val = measure(outputs, values, state.target, loss_of, state.metric)
    state.fitted = replace(state.result, val=val)
    return (*notes, HOPEFUL)
