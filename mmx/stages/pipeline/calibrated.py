"""What calibration has changed, for the summary: calibration error and bins before and after."""

from __future__ import annotations

from dataclasses import asdict
from typing import Any

from torch import Tensor

from mmx.calibration import Rescaling, find_reliability, suspend_calibration
from mmx.evaluation.predict import predict
from mmx.metrics import Answers
from mmx.metrics.ece import Ece
from mmx.metrics.log_loss import LogLoss
from mmx.runs.summary import CalibrationOfSplit, CalibrationResult
from mmx.stages.core.context import Context, Trained
from mmx.tasks import TaskData


def describe_calibration(
    context: Context, target: Trained, task: TaskData
) -> CalibrationResult | None:
    """Return the calibration of a target on validation and test rows; None if it has none."""
    module, data = target.model.calibration, target.data.unlock_test()
    chosen = context.experiment.calibration
    if chosen is None or not isinstance(module, Rescaling):
        return None
    splits = {}
    for split in ("val", "test"):
        with suspend_calibration(target.model):
            outputs, values = predict(target.model, data, data.rows(split), context.precision)
        after = module(outputs.to(module.scale.device)).cpu()
        sides = {"before": outputs, "after": after}
        found = {name: _describe(each, values, task) for name, each in sides.items()}
        splits[split] = CalibrationOfSplit.from_json(
            {
                **{
                    f"{key}_{side}": each[key]
                    for key in ("ece", "log_loss")
                    for side, each in found.items()
                },
                **{side: each["bins"] for side, each in found.items()},
            }
        )
    scale, method = module.scale.cpu(), context.experiment.find_name("calibration")
    more = {"temperature": float(1 / scale[0])} if chosen.one_temperature else {}
    return CalibrationResult(
        method=method,
        scale=scale.tolist(),
        offset=module.offset.cpu().tolist(),
        **more,
        splits=splits,
    )


def _describe(outputs: Tensor, values: Tensor, task: TaskData) -> dict[str, Any]:
    """Return calibration error, log loss and bins of outputs ``(N, C)``."""
    answers = Answers.of(outputs, values, task.target)
    return {
        "ece": Ece().find_value(answers),
        "log_loss": LogLoss().find_value(answers),
        "bins": [asdict(each) for each in find_reliability(answers)],
    }
