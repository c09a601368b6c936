"""Which weights of a layer stay, by their size in a trained model.

Shape legend: ``C`` outputs of a layer, ``K`` inputs of an output.
"""

from __future__ import annotations

from abc import ABC, abstractmethod
from collections.abc import Mapping

import torch
import torch.nn.functional as F
from torch import Tensor

from mmx.transfer.sparsity.layers import Layer

Masks = dict[str, Tensor]


class Pattern(ABC):
    """Base of all patterns. Of equal weights the first one stays, on every device."""

    @abstractmethod
    def masks(self, layer: Layer, tensors: Mapping[str, Tensor]) -> Masks:
        """Return a bool mask for each tensor of a layer that has zeros in it.

        Args:
            layer: Of the model.
            tensors: The trained weights by name.
        """


class Magnitude(Pattern):
    """The weights of a matrix or kernel that are largest, wherever they stand.

        keep the (1 - amount) · C · K entries of largest |w|

    Args:
        amount: Part of a layer's weights that goes.

    Reference: Han et al. 2015, arXiv 1506.02626.
    """

    def __init__(self, amount: float) -> None:
        self.amount = amount

    def masks(self, layer: Layer, tensors: Mapping[str, Tensor]) -> Masks:
        """Return a mask for each of the layer's weights; biases stay."""
        return {name: self._mask(tensors[name]) for name in layer.weights}

    def _mask(self, weight: Tensor) -> Tensor:
        size = weight.detach().cpu().abs().flatten()
        return _largest(size[None], _kept(len(size), self.amount)).view(weight.shape)


class NOfM(Pattern):
    """In each group of M weights that follow each other along the inputs, the N largest.

    The inputs of a kernel are its input channels, position by position, as sparse matrix
    units group them. A last group of fewer than M keeps up to N.

    Args:
        n: N, weights that stay in a group.
        m: M, weights in a group.

    Reference: Zhou et al. 2021, arXiv 2102.04010; Mishra et al. 2021, arXiv 2104.08378.
    """

    def __init__(self, n: int, m: int) -> None:
        self.n, self.m = n, m

    def masks(self, layer: Layer, tensors: Mapping[str, Tensor]) -> Masks:
        """Return a mask for each of the layer's weights; biases stay."""
        return {name: self._mask(tensors[name]) for name in layer.weights}

    def _mask(self, weight: Tensor) -> Tensor:
        size = weight.detach().cpu().abs().movedim(1, -1)  # (C, …, K)
        missing = -size.shape[-1] % self.m
        padded = F.pad(size, (0, missing), value=-1.0)  # never chosen first
        mask = _largest(padded.reshape(-1, self.m), self.n).view(padded.shape)
        return mask[..., : size.shape[-1]].movedim(-1, 1).contiguous()


class Channel(Pattern):
    """Whole outputs of a layer, those of largest L2 norm.

        keep the (1 - amount) · C outputs c of largest ‖w_c‖₂, at least one

    What belongs to an output goes with it: its bias, scale and shift of the norm behind it;
    in a recurrent layer, the unit's rows of all gates and of both matrices. The output is
    then zero, whatever comes in.

    Args:
        amount: Part of a layer's outputs that goes.

    Reference: Li et al. 2017, arXiv 1608.08710, with L2 for L1.
    """

    def __init__(self, amount: float) -> None:
        self.amount = amount

    def masks(self, layer: Layer, tensors: Mapping[str, Tensor]) -> Masks:
        """Return a mask for each tensor of the layer."""
        rows = [tensors[name].detach().cpu().double().square() for name in layer.weights]
        outputs = len(rows[0]) // layer.gates  # C
        squares = torch.stack([r.reshape(layer.gates, outputs, -1).sum((0, 2)) for r in rows]).sum(
            0
        )
        keep = _largest(squares[None], max(1, _kept(outputs, self.amount)))[0]  # (C,)
        return {name: _rows(keep, tensors[name]) for name in (*layer.weights, *layer.beside)}


def _kept(count: int, amount: float) -> int:
    return count - round(amount * count)


def _largest(sizes: Tensor, count: int) -> Tensor:
    """Return a mask of the ``count`` largest entries of each row; of equal ones the first."""
    order = sizes.argsort(dim=1, descending=True, stable=True)
    return torch.zeros_like(sizes, dtype=torch.bool).scatter_(1, order[:, :count], True)


def _rows(keep: Tensor, tensor: Tensor) -> Tensor:
    """Return a mask of ``tensor``'s shape, True in the rows of the outputs to keep."""
    rows = keep.repeat(len(tensor) // len(keep))  # gate after gate
    return rows.view(-1, *[1] * (tensor.dim() - 1)).expand(tensor.shape).clone()
