"""Fit the parts that the source in joint training does not share, before both tasks train."""

from __future__ import annotations

from mmx.stage_id import StageId
from mmx.stages.core.stand_ins import fit_stand_ins
from mmx.stages.phases.base import Notes, StageState
from mmx.stages.phases.fit_mapping import fit_mapping_of


def fit_joint(state: StageState) -> Notes:
    """Fit the source's mapping, unless the target shares it, and its stand-ins."""
    joint, opened, context = state.prepared.joint, state.stage.joint, state.context
    if joint is None or opened is None:
        return ()
    if joint.model.mapping is not state.model.mapping:
        fit_mapping_of(joint.model, opened, (), context, StageId.SOURCE)
    fit_stand_ins(joint.model, joint.data, context.precision, state.seed)
    return ()
