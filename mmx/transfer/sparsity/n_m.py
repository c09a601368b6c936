"""N:M sparsity: the N largest of each M consecutive weights stay."""

from __future__ import annotations

from collections.abc import Mapping

import torch.nn.functional as F
from torch import Tensor

from mmx.transfer.sparsity.base import Masks, Pattern, mask_largest
from mmx.transfer.sparsity.layers import Layer


class NOfM(Pattern):
    """Keeps the N largest weights in each group of M consecutive ones along the inputs.

    The inputs of a kernel are its input channels at one position, as sparse matrix units group
    them. A last group of fewer than M keeps up to N. Use it for a pattern that hardware can
    exploit: 2:4 is what NVIDIA's sparse tensor cores run.

    Args:
        n: N, the weights that stay in a group.
        m: M, the weights in a group.

    Raises:
        ValueError: N is not below M.

    Reference: Zhou et al. 2021, arXiv 2102.04010; Mishra et al. 2021, arXiv 2104.08378.
    """

    def __init__(self, n: int = 2, m: int = 4) -> None:
        if n >= m:
            raise ValueError(f"`n` (={n}) must be below `m` (={m}): {n} of them stay")
        self.n, self.m = n, m

    def masks(self, layer: Layer, tensors: Mapping[str, Tensor]) -> Masks:
        """Return a mask for each of the layer's weights; biases stay."""
        return {name: self._mask(tensors[name]) for name in layer.weights}

    def _mask(self, weight: Tensor) -> Tensor:
        # Groups lie along the inputs, axis 1, as sparse kernels want them; moved last to be viewed.
        size = weight.detach().cpu().abs().movedim(1, -1)  # (C, …, K)
        # how many are missing to the next multiple of m; 0 if none
        missing = -size.shape[-1] % self.m
        padded = F.pad(size, (0, missing), value=-1.0)  # below any |w|: padding is chosen last
        mask = mask_largest(padded.reshape(-1, self.m), self.n).view(padded.shape)
        return mask[..., : size.shape[-1]].movedim(-1, 1).contiguous()
