"""A model's outputs on rows of a task."""

from __future__ import annotations

import torch
from torch import Tensor

from mmx.modalities import Encoded
from mmx.model import MultimodalModel
from mmx.training.data import Data, Rows, split_rows
from mmx.training.encode import BATCH_SIZE, drop_tokens, join_batches
from mmx.training.precision import Precision


def predict(
    model: MultimodalModel, data: Data, rows: Rows, precision: Precision
) -> tuple[Tensor, Tensor]:
    """Return outputs ``(N, C)`` in float32 and the rows' targets, both on the CPU.

    Targets are in the task's own unit; see ``Data.truth``.
    """
    outputs, targets, _ = _predict(model, data, rows, precision, keep=False)
    return outputs, targets


def predict_encoded(
    model: MultimodalModel, data: Data, rows: Rows, precision: Precision
) -> tuple[Tensor, Tensor, Encoded]:
    """Return outputs and targets, and the pooled features of the rows on the device."""
    outputs, targets, encoded = _predict(model, data, rows, precision, keep=True)
    return outputs, targets, join_batches(encoded)


@torch.no_grad()
def _predict(
    model: MultimodalModel, data: Data, rows: Rows, precision: Precision, *, keep: bool
) -> tuple[Tensor, Tensor, list[Encoded]]:
    was_training = model.training
    model.eval()
    outputs, encoded = [], []
    for part, stored in data.batches(split_rows(rows, BATCH_SIZE)):
        batch = data.assemble(part, stored, augment=False)
        with precision.autocast():
            features = model.encode(batch)
            outputs.append(model.decide(features, batch.present).float())
        if keep:
            encoded.append(drop_tokens(features, batch.present, batch.target))
    model.train(was_training)
    return torch.cat(outputs).cpu(), data.truth(rows), encoded
