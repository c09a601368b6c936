"""Batch norm that learns its statistics from the valid frames alone."""

from __future__ import annotations

import torch
from torch import Tensor, nn


class MaskedBatchNorm(nn.BatchNorm2d):
    """Batch norm of log-mel pictures whose padding is left out of mean and variance.

    Plain batch norm would let the longest sound of a batch, by the padding it causes,
    change what every other sound looks like in training, and the running statistics with
    it. In evaluation this is plain batch norm.
    """

    def forward(self, x: Tensor, mask: Tensor | None = None) -> Tensor:
        """Normalise.

        Args:
            x: ``(B, C, T, F)``.
            mask: ``(B, T)`` bool, True where the frame is real; None: everywhere.

        Returns:
            ``(B, C, T, F)``; what stands in the padding has no meaning.
        """
        if mask is None or not self.training:
            return super().forward(x)
        valid = mask[:, None, :, None].to(torch.float32)
        count = mask.sum() * x.shape[3]
        mean = (x * valid).sum((0, 2, 3)) / count  # (C,)
        centred = x - mean[:, None, None]
        variance = (centred * valid).square().sum((0, 2, 3)) / count
        self._track(mean.detach(), variance.detach() * count / (count - 1).clamp(min=1))
        scale = self.weight * torch.rsqrt(variance + self.eps)
        return centred * scale[:, None, None] + self.bias[:, None, None]

    @torch.no_grad()
    def _track(self, mean: Tensor, variance: Tensor) -> None:
        momentum = self.momentum
        if self.running_mean is None or self.running_var is None or momentum is None:
            return
        self.running_mean.lerp_(mean, momentum)
        self.running_var.lerp_(variance, momentum)
        if self.num_batches_tracked is not None:
            self.num_batches_tracked.add_(1)
