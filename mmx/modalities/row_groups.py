"""Rows of a batch in groups of like length, where one long row would pad all others.

Shape legend: ``B`` batch, ``T`` steps.
"""

from __future__ import annotations

from dataclasses import dataclass

import torch
from torch import Tensor

from mmx.modalities.base import Features

MUCH_LONGER = 16
"""Ratio of a row's length to the median of the batch from which it is encoded apart."""
WASTE = 2**25
"""Steps of padding in a batch below which it is encoded as one: 35 minutes at 16 kHz."""


@dataclass(frozen=True)
class RowGroup:
    """Rows of like length.

    Attributes:
        rows: ``(n,)`` int64 places in the batch, ascending.
        steps: Length of the longest of them.
    """

    rows: Tensor
    steps: int


def group_by_length(x: Tensor, lengths: Tensor) -> list[RowGroup] | None:
    """Return the rows in groups of like length, the shortest first; None to take them as one.

    A batch is divided only where its padding takes :data:`WASTE` steps and a row is
    :data:`MUCH_LONGER` than the median. So this depends on the lengths alone, and batches of
    rows of usual lengths are never divided.

    Args:
        x: ``(B, T, ...)``.
        lengths: ``(B,)`` int64 valid steps; rows of length 0 are in no group.
    """
    if x.shape[0] * x.shape[1] < WASTE:  # known without waiting for the device
        return None
    known = torch.sort(lengths.cpu())
    keep = known.values > 0
    values, order = known.values[keep], known.indices[keep]
    if int((x.shape[1] - values).sum()) < WASTE:
        return None
    groups = []
    while len(values):
        usual = int(values[(len(values) - 1) // 2])
        count = int((values <= MUCH_LONGER * usual).sum())
        rows = order[:count].sort().values
        groups.append(RowGroup(rows.to(x.device), int(values[count - 1])))
        values, order = values[count:], order[count:]
    return groups if len(groups) > 1 else None


def join_groups(parts: list[Features], groups: list[RowGroup], batch: int) -> Features:
    """Return the features of groups in one batch, zeros in rows of no group.

    Args:
        parts: Features of each group; tokens may differ in number.
        groups: Their rows.
        batch: B.
    """
    steps = max(part.tokens.shape[1] for part in parts)

    def place(pieces: list[Tensor]) -> Tensor:
        whole = pieces[0].new_zeros(batch, *pieces[0].shape[1:])
        for piece, group in zip(pieces, groups, strict=True):
            whole = whole.index_copy(0, group.rows, piece)
        return whole

    def widen(part: Tensor) -> Tensor:
        more = part.new_zeros(len(part), steps - part.shape[1], *part.shape[2:])
        return torch.cat([part, more], dim=1)

    return Features(
        place([widen(part.tokens) for part in parts]),
        place([widen(part.mask) for part in parts]),
        place([part.pooled for part in parts]),
        tuple(place(list(level)) for level in zip(*(part.levels for part in parts), strict=True)),
    )
