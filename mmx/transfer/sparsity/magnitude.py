"""Unstructured pruning: the largest weights of each layer stay."""

from __future__ import annotations

from collections.abc import Mapping

from torch import Tensor

from mmx.transfer.sparsity.base import Masks, Pattern, count_kept, mask_largest
from mmx.transfer.sparsity.layers import Layer


class Magnitude(Pattern):
    """Keeps the largest weights of a matrix or kernel, wherever they are.

        keep the (1 - amount) · C · K entries of largest |w|

    The finest of the patterns. Use it to ask whether single connections that the source found are
    worth keeping (the lottery ticket hypothesis).

    Args:
        amount: Fraction of a layer's weights that is pruned.

    Reference: Han et al. 2015, arXiv 1506.02626.
    """

    def __init__(self, amount: float = 0.5) -> None:
        self.amount = amount

    def masks(self, layer: Layer, tensors: Mapping[str, Tensor]) -> Masks:
        """Return a mask for each of the layer's weights; biases stay."""
        return {name: self._mask(tensors[name]) for name in layer.weights}

    def _mask(self, weight: Tensor) -> Tensor:
        size = weight.detach().cpu().abs().flatten()
        return mask_largest(size[None], count_kept(len(size), self.amount)).view(weight.shape)
