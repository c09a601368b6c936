"""GradNorm: two losses, weighed so that their gradients have similar norms."""

from __future__ import annotations

import torch
from torch import Tensor

from mmx.transfer.weighting.base import Weighting


class GradNorm(Weighting):
    """Adapts the weights until the gradients of both tasks have the intended norms.

        G_i = ‖∇_W w_i L_i‖,  r_i = (L_i / L_i⁰) / mean_j(L_j / L_j⁰)
        intended: G_i = mean_j(G_j) · r_i^α

    W are the last weights that the tasks share, and L_i⁰ is the loss of the first step: the task
    with the smaller decrease gets larger gradients. After each backward pass the weights take a
    gradient step on the distance to the intended norms, which are treated as constants, and are
    scaled to a sum of 2:

        log w_i ← log w_i - rate · ∂/∂log w_i Σ_j |G_j - intended_j| / mean_j(G_j)
                = log w_i - rate · sign(G_i - intended_i) · G_i / mean_j(G_j)

    The paper descends in w_i itself and does not divide the distance. In log w_i the weights
    stay positive. The division bounds a step by 2 · rate, and makes it independent of a common
    factor of the losses or of a scaled backward pass. If one gradient is too large and the other
    too small, w_t / w_s changes by exp(±2 · rate). The weights stay as they are after a step that
    gives no information (a gradient is zero or not finite, a first loss is zero). The losses must
    not be negative. Use it when one task learns much faster than the other.

    Args:
        alpha: α; 0 asks for gradients of equal norm whatever the losses are.
        rate: Step size in log w_i.

    Reference: Chen et al. 2018, arXiv 1711.02257.
    """

    moves = True
    reads_gradients = True
    takes_negative = False

    def __init__(self, *, alpha: float = 1.5, rate: float = 0.025) -> None:
        super().__init__()
        self.alpha = alpha
        self.rate = rate
        self.current: Tensor
        self.first: Tensor
        self.register_buffer("current", torch.ones(2))
        self.register_buffer("first", torch.full((2,), torch.nan))  # NaN before the first step

    def weights(self) -> Tensor:
        """Return ``(2,)``, of sum 2."""
        return self.current

    @torch.no_grad()
    def observe(self, losses: Tensor, norms: Tensor) -> None:
        """Adapt the weights; see :class:`~mmx.transfer.weighting.base.Weighting`."""
        self.first.copy_(torch.where(self.first.isnan(), losses, self.first))
        progress = losses / self.first  # L_i / L_i⁰
        # The task that has fallen less gets a larger norm: ratios of progress to the power of α.
        intended = norms.mean() * (progress / progress.mean()) ** self.alpha
        # The derivative of |G_i − intended_i| in log w_i, since G_i is proportional to w_i.
        slope = torch.sign(norms - intended) * norms / norms.mean()
        # A step in log w: weights stay positive.
        moved = self.current * torch.exp(-self.rate * slope)
        moved = 2 * moved / moved.sum()  # of sum 2, so that the learning rate keeps its meaning
        # Decided by torch.where and not by an if, which on CUDA would wait for the device.
        usable = moved.isfinite().all() & (norms > 0).all()
        self.current.copy_(torch.where(usable, moved, self.current))
