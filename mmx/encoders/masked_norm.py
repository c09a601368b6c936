"""Batch norm with statistics over the valid steps of a map only."""

from __future__ import annotations

import torch
from torch import Tensor, nn


class MaskedBatchNorm(nn.BatchNorm2d):
    """Batch norm that leaves padding out of mean and variance.

    It is for maps of sequences, such as log-mel spectrograms. With plain batch norm, the longest
    sound of a batch would change the activations of all other sounds and the running statistics,
    through the padding that it causes. In evaluation this is plain batch norm.
    """

    def forward(self, x: Tensor, mask: Tensor | None = None) -> Tensor:
        """Normalise.

        Args:
            x: ``(B, C, T, F)``.
            mask: ``(B, T)`` bool, True where the frame is valid; None: everywhere.

        Returns:
            ``(B, C, T, F)``; values in the padding have no meaning.
        """
        if mask is None or not self.training:
            return super().forward(x)
        # float32, so that autocast does not sum over frames in half precision.
        valid = mask[:, None, :, None].to(torch.float32)  # (B, 1, T, 1)
        count = mask.sum() * x.shape[3]
        mean = (x * valid).sum((0, 2, 3)) / count  # (C,)
        centred = x - mean[:, None, None]
        variance = (centred * valid).square().sum((0, 2, 3)) / count
        # As in PyTorch, the running variance is the unbiased one, n / (n - 1) times the other.
        self._track(mean.detach(), variance.detach() * count / (count - 1).clamp(min=1))
        scale = self.weight * torch.rsqrt(variance + self.eps)
        return centred * scale[:, None, None] + self.bias[:, None, None]

    @torch.no_grad()
    def _track(self, mean: Tensor, variance: Tensor) -> None:
        """Move the running statistics towards those of the batch."""
        momentum = self.momentum
        if self.running_mean is None or self.running_var is None or momentum is None:
            return
        self.running_mean.lerp_(mean, momentum)
        self.running_var.lerp_(variance, momentum)
        if self.num_batches_tracked is not None:
            self.num_batches_tracked.add_(1)


def expand_steps(mask: Tensor, x: Tensor) -> Tensor:
    """Return ``(B, T_k)`` bool, the valid steps of a map ``x`` ``(B, D_k, T_k, F_k)``.

    Args:
        mask: ``(B, T')`` bool, the valid tokens; a token spans T_k / T' steps of the map.
        x: The map.
    """
    return mask.repeat_interleave(x.shape[2] // mask.shape[1], dim=1)
