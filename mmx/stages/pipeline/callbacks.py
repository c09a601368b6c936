"""Telling callbacks that a stage has ended."""

from __future__ import annotations

from types import MappingProxyType

import torch

from mmx.callbacks import StageEndFacts
from mmx.callbacks.calling import call_callbacks, overrides
from mmx.errors import CallbackError
from mmx.stage_id import StageId
from mmx.stages.core.cache_keys import digest_tensors
from mmx.stages.core.context import Context, Trained


def tell_stage_end(context: Context, stage: StageId, trained: Trained) -> None:
    """Call ``on_stage`` of each callback, with the model in evaluation mode.

    Raises:
        CallbackError: One raised an exception, or the model is not as it was.
    """
    callbacks = overrides(context.experiment.callbacks, "on_stage")
    if not callbacks:
        return
    fitted, model = trained.fitted, trained.model
    facts = StageEndFacts(
        run=context.directory.path,
        stage=str(stage),
        epochs=fitted.epochs,
        best_epoch=fitted.best_epoch,
        values=MappingProxyType(dict(fitted.val)),
        cached=trained.cached,
    )
    modes = {each: each.training for each in model.modules()}
    needed = {each: each.requires_grad for each in model.parameters()}
    before = digest_tensors(model.state_dict())
    model.eval()
    with torch.no_grad():
        call_callbacks(callbacks, "on_stage", facts, model)
    for module, mode in modes.items():
        module.training = mode
    for parameter, mode in needed.items():
        parameter.requires_grad_(mode)
    if digest_tensors(model.state_dict()) != before:
        names = ", ".join(
            f"{type(each).__module__}.{type(each).__qualname__}" for each in callbacks
        )
        raise CallbackError(
            f"on_stage of a callback changed the model of stage {stage}: {names}",
            tip="a callback may read the model; copy.deepcopy(model) gives one to change",
        )
