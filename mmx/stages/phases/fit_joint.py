"""Fit what the source of joint training keeps for itself, before both tasks train together."""

from __future__ import annotations

from mmx.stage_id import StageId
from mmx.stages.core.missing import fit_stand_ins
from mmx.stages.phases.base import Notes, StageState
from mmx.stages.phases.fit_mapping import fit_mapping_of


def fit_joint(state: StageState) -> Notes:
    """Fit mapping and stand-ins of the task that trains along, as far as it does not share them."""
    beside, opened, context = state.prepared.beside, state.stage.beside, state.context
    if beside is None or opened is None:
        return ()
    if beside.model.mapping is not state.model.mapping:
        fit_mapping_of(beside.model, opened, (), context, StageId.SOURCE)
    fit_stand_ins(beside.model, beside.data, context.precision, state.seed)
    return ()
