"""Calibrate the outputs of a stage's model on validation rows, after everything else."""

from __future__ import annotations

from dataclasses import replace

from mmx.calibration import Calibration
from mmx.evaluation.metrics import measure
from mmx.evaluation.predict import predict
from mmx.stage_id import Role
from mmx.stages.phases.base import Notes, StageState
from mmx.variants import variant


def calibrate(state: StageState) -> Notes:
    """Fit the calibration that is chosen, if any; a source is not calibrated.

    The metrics of the stage are then those of calibrated outputs. Nothing is selected by them.
    """
    chosen: Calibration | None = state.context.experiment.calibration
    if chosen is None or state.stage.id.role is Role.SOURCE:
        return ()
    model, data, precision = state.model, state.data, state.context.precision
    outputs, values = predict(model, data, data.rows("val"), precision)
    module = chosen.fit_module(outputs, values, state.target.kind)
    model.calibration = module.to(data.device)
    outputs, values = predict(model, data, data.rows("val"), precision)
    loss_of = state.prepared.criterion.task_loss
    val = measure(outputs, values, state.target, loss_of, state.metric)
    state.fitted = replace(state.result, val=val)
    name = variant(type(chosen))
    return (
        f"calibration={name} was fitted on {len(values)} validation rows, of which the validation "
        "metrics are: losses there are hopeful",
    )
