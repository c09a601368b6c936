"""A model's outputs on rows of a task."""

from __future__ import annotations

import torch
from torch import Tensor

from mmx.model import MultimodalModel
from mmx.training.data import Data, Rows, chunks
from mmx.training.precision import Precision

BATCH_SIZE = 256
"""Rows in a batch of evaluation; fixed, so that results do not depend on the trainer's."""


@torch.no_grad()
def predict(
    model: MultimodalModel, data: Data, rows: Rows, precision: Precision
) -> tuple[Tensor, Tensor]:
    """Return outputs ``(N, C)`` in float32 and targets of the rows, both on the CPU."""
    was_training = model.training
    model.eval()
    outputs, targets = [], []
    for part, stored in data.batches(chunks(rows, BATCH_SIZE)):
        batch = data.assemble(part, stored, augment=False)
        with precision.autocast():
            outputs.append(model(batch).float())
        targets.append(batch.target)
    model.train(was_training)
    return torch.cat(outputs).cpu(), torch.cat(targets).cpu()
