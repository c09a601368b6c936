"""The first weights of each layer stay."""

from __future__ import annotations

from collections.abc import Mapping

import torch
from torch import Tensor

from mmx.transfer.sparsity import Layer, Pattern


class Firsts(Pattern):
    """Keeps the first ``count`` entries of each weight, whatever their size."""

    def __init__(self, *, count: int = 4) -> None:
        self.count = count

    def masks(self, layer: Layer, tensors: Mapping[str, Tensor]) -> dict[str, Tensor]:
        """Return a mask for each of the layer's weights."""
        return {
            name: (torch.arange(tensors[name].numel()) < self.count).view(tensors[name].shape)
            for name in layer.weights
        }
