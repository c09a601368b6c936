"""Structured pruning: the largest outputs of each layer stay.

Shape legend: ``C`` outputs of a layer.
"""

from __future__ import annotations

from collections.abc import Mapping

import torch
from torch import Tensor

from mmx.transfer.sparsity.base import Masks, Pattern, count_kept, mask_largest
from mmx.transfer.sparsity.layers import Layer


class Channel(Pattern):
    """Keeps whole outputs of a layer, those with the largest L2 norm.

        keep the (1 - amount) · C outputs c of largest ‖w_c‖₂, at least one

    A pruned output loses its bias and the scale and shift of the norm after it; in a recurrent
    layer, the unit loses its rows of all gates in both matrices. The output is then always zero.
    Use it to ask whether the widths that the source found matter: what stays is a narrower dense
    network.

    Args:
        amount: Fraction of a layer's outputs that is pruned.

    Reference: Li et al. 2017, arXiv 1608.08710, with L2 for L1.
    """

    def __init__(self, amount: float = 0.5) -> None:
        self.amount = amount

    def masks(self, layer: Layer, tensors: Mapping[str, Tensor]) -> Masks:
        """Return a mask for each tensor of the layer."""
        # In float64 on the CPU: the order of nearly equal norms is then the same on every device.
        rows = [tensors[name].detach().cpu().double().square() for name in layer.weights]
        outputs = len(rows[0]) // layer.gates  # C
        # (gates · C, …) → (gates, C, inputs): the norm of an output counts all its gates.
        squares = torch.stack([r.reshape(layer.gates, outputs, -1).sum((0, 2)) for r in rows]).sum(
            0
        )
        keep = mask_largest(squares[None], max(1, count_kept(outputs, self.amount)))[0]  # (C,)
        return {name: _rows(keep, tensors[name]) for name in (*layer.weights, *layer.per_output)}


def _rows(keep: Tensor, tensor: Tensor) -> Tensor:
    """Return a mask with the shape of ``tensor``, True in the rows of the outputs to keep."""
    # Each gate is a block of C rows of the tensor, hence repeat, not repeat_interleave.
    rows = keep.repeat(len(tensor) // len(keep))  # (gates · C,), gate by gate
    # expand is a view of one column for a whole row: a clone can be stored and changed.
    return rows.view(-1, *[1] * (tensor.dim() - 1)).expand(tensor.shape).clone()
