"""Features of rows inside the model, for parts that are fitted without gradients."""

from __future__ import annotations

from typing import Literal

import torch
from torch import Tensor

from mmx.modalities import Encoded, Features
from mmx.model import MultimodalModel, without_tokens
from mmx.training.data import Data, Rows, split_rows
from mmx.training.precision import Precision

BATCH_SIZE = 256
"""Rows in a batch while nothing is trained; fixed, so that ``trainer.batch_size`` has no effect."""


@torch.no_grad()
def encode_rows(
    model: MultimodalModel,
    data: Data,
    rows: Rows,
    precision: Precision,
    *,
    after: Literal["encoders", "mapping", "missing"] = "encoders",
) -> Encoded:
    """Return the pooled features and levels of rows in evaluation mode, in float32.

    Each modality has one token, its pooled vector.

    Args:
        model: The model, which is left in the mode it was in.
        data: The task's rows.
        rows: Row numbers.
        precision: Number format of the forward pass.
        after: The part of the model that returns the features; after ``missing`` they are what
            the fusion sees.
    """
    was_training = model.training
    model.eval()
    parts: list[Encoded] = []
    for part, stored in data.batches(split_rows(rows, BATCH_SIZE)):
        batch = data.assemble(part, stored, augment=False)
        with precision.autocast():
            features, present = model.encode(batch), batch.present
            if after != "encoders":
                features = model.map_features(features, present)
            if after == "missing":
                features, present = model.missing(features, present)
        parts.append(drop_tokens(features, present, batch.target))
    model.train(was_training)  # callers may be within training
    return join_batches(parts)


def drop_tokens(
    features: dict[str, Features], present: dict[str, Tensor], target: Tensor
) -> Encoded:
    """Return a batch's features in float32 and without tokens."""
    kept = {name: _to_float(without_tokens(each)) for name, each in features.items()}
    return Encoded(kept, present, target)


def _to_float(features: Features) -> Features:
    # masks stay bool
    return features.map(lambda part: part if part.dtype == torch.bool else part.float())


def join_batches(parts: list[Encoded]) -> Encoded:
    """Return several batches as one."""
    names = list(parts[0].features)
    return Encoded(
        {name: _concatenate([part.features[name] for part in parts]) for name in names},
        {name: torch.cat([part.present[name] for part in parts]) for name in names},
        torch.cat([part.target for part in parts]),
    )


def _concatenate(parts: list[Features]) -> Features:
    return Features(
        torch.cat([part.tokens for part in parts]),
        torch.cat([part.mask for part in parts]),
        torch.cat([part.pooled for part in parts]),
        # Transposed: a tuple of levels for each batch becomes a tensor of all batches for each
        # level.
        tuple(torch.cat(level) for level in zip(*(part.levels for part in parts), strict=True)),
    )
