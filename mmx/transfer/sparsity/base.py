"""The contract of every sparsity pattern: which weights of a layer stay."""

from __future__ import annotations

from abc import ABC, abstractmethod
from collections.abc import Mapping

import torch
from torch import Tensor

from mmx.transfer.sparsity.layers import Layer

Masks = dict[str, Tensor]


class Pattern(ABC):
    """Base of all patterns. Of equal weights the first one stays, on every device.

    A file here is a pattern that ``transfer.sparsity=<name of the file>`` chooses; one of a
    package of your own is a node, ``transfer.sparsity={_target_: my_package.mine.Mine}``.
    """

    @abstractmethod
    def masks(self, layer: Layer, tensors: Mapping[str, Tensor]) -> Masks:
        """Return a bool mask for each tensor of a layer that has zeros in it.

        Args:
            layer: Of the model.
            tensors: The trained weights by name.
        """


def count_kept(count: int, amount: float) -> int:
    """Return how many of ``count`` stay where a part of them goes."""
    return count - round(amount * count)


def mask_largest(sizes: Tensor, count: int) -> Tensor:
    """Return a mask of the ``count`` largest entries of each row; of equal ones the first."""
    order = sizes.argsort(dim=1, descending=True, stable=True)
    return torch.zeros_like(sizes, dtype=torch.bool).scatter_(1, order[:, :count], True)
