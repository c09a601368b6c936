"""Fit the stand-ins for missing modalities, after the mapping and before training."""

from __future__ import annotations

from mmx.stages.core.stand_ins import fit_stand_ins
from mmx.stages.phases.base import Notes, StageState


def fit_missing(state: StageState) -> Notes:
    """Fit the stand-ins for missing modalities to the model with its starting weights."""
    fit_stand_ins(state.model, state.data, state.context.precision, state.seed)
    return ()
