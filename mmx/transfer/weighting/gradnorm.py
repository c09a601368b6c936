"""Two losses, weighed so that their gradients are of a size."""

from __future__ import annotations

import torch
from torch import Tensor

from mmx.transfer.weighting.base import Weighting


class GradNorm(Weighting):
    """Moves the weights until the gradients of both tasks have the sizes they should.

        G_i = ‖∇_W w_i L_i‖,  r_i = (L_i / L_i⁰) / mean_j(L_j / L_j⁰)
        wanted: G_i = mean_j(G_j) · r_i^α

    W are the last weights that the tasks share, L_i⁰ is the loss of the first step: the task
    that has come down less is pulled along by larger gradients. After each step's backward
    pass the weights descend the distance to what is wanted, with the wanted sizes held
    constant, and are scaled to a sum of 2:

        log w_i ← log w_i - rate · ∂/∂log w_i Σ_j |G_j - wanted_j| / mean_j(G_j)
                = log w_i - rate · sign(G_i - wanted_i) · G_i / mean_j(G_j)

    The paper descends in w_i itself and leaves the distance undivided. In log w_i the weights
    stay positive; divided, a step is 2 · rate at most, and both losses, or the gradients of a
    scaled backward pass, may have any common unit. Where one gradient is too large and the other
    too small, w_t / w_s changes by exp(±2 · rate). Where a step shows nothing (a gradient is
    zero or not finite, a first loss is zero) the weights stay. The losses must not be negative.

    Args:
        alpha: α; 0 asks for gradients of the same size whatever the losses do.
        rate: Step in log w_i.

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
        self.register_buffer("first", torch.full((2,), torch.nan))  # NaN: no step was taken yet

    def weights(self) -> Tensor:
        """Return ``(2,)``, of sum 2."""
        return self.current

    @torch.no_grad()
    def observe(self, losses: Tensor, norms: Tensor) -> None:
        """Move the weights; see :class:`~mmx.transfer.weighting.base.Weighting`."""
        self.first.copy_(torch.where(self.first.isnan(), losses, self.first))
        left = losses / self.first
        wanted = norms.mean() * (left / left.mean()) ** self.alpha
        slope = torch.sign(norms - wanted) * norms / norms.mean()
        moved = self.current * torch.exp(-self.rate * slope)
        moved = 2 * moved / moved.sum()
        told = moved.isfinite().all() & (norms > 0).all()
        self.current.copy_(torch.where(told, moved, self.current))
