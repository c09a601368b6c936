"""Fit the mapping of a stage, before anything after it, since later parts read mapped features.

A resumed run fits it again, for the notes, before it loads its training state.
"""

from __future__ import annotations

from collections.abc import Collection
from dataclasses import replace

from mmx.model import MultimodalModel
from mmx.stage_id import StageId
from mmx.stages.core.cached import cache_mapping
from mmx.stages.core.context import Context, Opened
from mmx.stages.phases.base import Notes, StageState
from mmx.training.encode import encode_rows

DRIFT = "the mapping was fitted to encoders that then went on training: frozen ones keep it true"


def fit_mapping(state: StageState) -> Notes:
    """Fit the mapping to the features of the encoders with their starting weights."""
    opened = replace(state.stage.opened, data=state.data)
    frozen = state.prepared.start.frozen_encoders
    return fit_mapping_of(state.model, opened, frozen, state.context, state.stage.id)


def fit_mapping_of(
    model: MultimodalModel,
    opened: Opened,
    frozen: Collection[str],
    context: Context,
    stage: StageId,
) -> Notes:
    """Fit a model's mapping on the training rows, as they are encoded when training starts.

    Args:
        model: The model with the mapping.
        opened: The task, with the features of frozen encoders.
        frozen: Modalities with frozen encoders.
        context: The run's context.
        stage: The stage with the mapping.

    Returns:
        Notes for the reader.
    """
    mapping, data = model.mapping, opened.data
    if mapping is None or not mapping.fitted:
        return ()

    def fit() -> Notes:
        rows = encode_rows(model, data, data.rows("train"), context.precision)
        return mapping.fit(rows, context.experiment.settings.seed)

    notes = cache_mapping(context, stage, opened, model, frozen, fit)
    return (*notes, DRIFT) if features_move(model, frozen) else notes


def features_move(model: MultimodalModel, frozen: Collection[str]) -> bool:
    """Return whether anything before the mapping trains, so that its inputs change."""
    return bool(model.encoders.keys() - set(frozen)) or model.trunk is not None
