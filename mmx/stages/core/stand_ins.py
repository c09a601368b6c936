"""Fitting of the stand-ins for missing modalities to a model as it is now."""

from __future__ import annotations

from mmx.model import MultimodalModel
from mmx.training.data import Data
from mmx.training.encode import encode_rows
from mmx.training.precision import Precision


def fit_stand_ins(model: MultimodalModel, data: Data, precision: Precision, seed: int) -> None:
    """Fit the stand-ins for missing modalities on the training rows, as they are encoded now."""
    if not model.missing.fitted:
        return
    rows = encode_rows(model, data, data.rows("train"), precision, after="mapping")
    model.missing.fit(rows, seed)
