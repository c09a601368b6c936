"""A model's outputs on rows of a task."""

from __future__ import annotations

from collections.abc import Sequence

import torch
from torch import Tensor

from mmx.modalities import Encoded
from mmx.model import MultimodalModel
from mmx.processes import current_group
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

    def compute(batches: Sequence[Rows]) -> list[tuple[Tensor, Encoded | None]]:
        found = []
        for part, stored in data.batches(batches):
            batch = data.assemble(part, stored, augment=False)
            with precision.autocast():
                features = model.encode(batch)
                outputs = model.decide(features, batch.present).float()
            kept = drop_tokens(features, batch.present, batch.target) if keep else None
            found.append((outputs, kept))
        return found

    found = current_group().spread(split_rows(rows, BATCH_SIZE), compute, data.device)
    model.train(was_training)
    outputs = torch.cat([each for each, _ in found]).cpu()
    return outputs, data.truth(rows), [each for _, each in found if each is not None]
