"""What an encoder computes first, of each row alone and without a weight, computed once.

Spectrograms of sounds that nothing augments are the same in every epoch. They are kept only where
batches would hold the same numbers without: the bits of no run depend on it.
"""

from __future__ import annotations

from collections.abc import Callable

import numpy as np
import numpy.typing as npt
import torch
from torch import Tensor

from mmx.encoders import Encoder
from mmx.modalities import Stored
from mmx.model import MultimodalModel
from mmx.training.data import Data, ModalityReader, count_free_bytes, split_rows

Front = Callable[[Tensor, Tensor | None], Tensor]

ROWS = 64
"""Rows whose front is computed at once."""


def keep_fronts(data: Data, model: MultimodalModel) -> Data:
    """Return data whose batches hold the fronts of training and validation rows, where they can.

    They cannot where rows are augmented, not kept decoded, of different lengths (a batch is as
    long as its longest row, and sums over padding are rounded otherwise), or where they would not
    fit into memory. On CUDA the front is computed in every step, as its kernels depend on the
    size of the batch.
    """
    data.decode()
    for name, encoder in model.encoders.items():
        front = encoder.fixed_front() if isinstance(encoder, Encoder) else None
        stored = None if name in data.extracted else data.stored(name)
        if front is None or stored is None or data.device.type != "cpu":
            continue
        view = data.views[name]
        if view.modality.augments or not _are_alike(stored):
            continue
        table = _compute(data, view, stored, front)
        data = data if table is None else data.with_front(name, table)
    return data


def _are_alike(stored: Stored) -> bool:
    """Return whether all rows that have the modality fill their whole length."""
    lengths, full = stored.lengths, stored.values.shape[1]
    # A length of 0 is a row without the modality, whose front is not computed.
    return lengths is None or bool(((lengths == full) | (lengths == 0)).all())


@torch.no_grad()
def _compute(data: Data, view: ModalityReader, stored: Stored, front: Front) -> Tensor | None:
    """Return the front of training and validation rows, zeros for others; None where it cannot be.

    Rows of the test split are left out: they are locked.
    """

    def compute(places: npt.NDArray[np.int64]) -> Tensor:
        index = torch.from_numpy(places)
        lengths = None if stored.lengths is None else stored.lengths[index]
        return front(
            view.modality.prepare(Stored(stored.values[index], lengths), view.spec), lengths
        )

    rows = np.concatenate([data.rows("train"), data.rows("val")])
    places = np.unique(data.places(rows))
    if stored.lengths is not None:
        places = places[(stored.lengths[places] > 0).numpy()]
    if not len(places):
        return None
    first = compute(places[:ROWS])
    # Of a row alone, another kernel may be chosen, which rounds otherwise.
    # Bit for bit: a front that is read from the table must not change a run.
    if not torch.equal(first[:1], compute(places[:1])):
        return None
    if first[0].numel() * first.element_size() * data.rows_in_use > count_free_bytes(data.device):
        return None
    table = first.new_zeros(data.rows_in_use, *first.shape[1:])
    for part in split_rows(places, ROWS):
        table[torch.from_numpy(part)] = compute(part)
    return table
