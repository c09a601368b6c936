"""Batch norm with statistics over the valid steps of a map only."""

from __future__ import annotations

from typing import Any

import torch
from torch import Tensor, nn

from mmx.modalities.masking import is_known_full
from mmx.processes import current_group

OVER = (0, 2, 3)  # the axes of a map (B, C, T, F) that statistics are taken over


class MaskedBatchNorm(nn.BatchNorm2d):
    """Batch norm that leaves padding out of mean and variance.

    It is for maps of sequences, such as log-mel spectrograms. With plain batch norm, the longest
    sound of a batch would change the activations of all other sounds and the running statistics,
    through the padding that it causes. In evaluation this is plain batch norm.

    Attributes:
        spans_processes: It adds up what it computes with a mask over the processes of a run.
    """

    spans_processes = True

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
        # valid steps times frequencies: the numbers that each channel's mean is over
        count = mask.sum() * x.shape[3]
        if torch.compiler.is_compiling() or current_group().shares_step:
            return self._compose(x, valid, count)
        known = None if is_known_full(mask) else valid
        out, mean, variance = _MaskedNorm.apply(x, self.weight, self.bias, known, count, self.eps)
        # n / (n - 1): running_var is unbiased, the batch is normalised by the biased variance, as
        # in torch.
        self._track(mean, variance * count / (count - 1).clamp(min=1))
        normed: Tensor = out
        return normed

    def _compose(self, x: Tensor, valid: Tensor, count: Tensor) -> Tensor:
        """Return the same of operators that torch's compiler can join, or over processes."""
        # Over all processes the mean must be known before the variance: two sums, one after the
        # other.
        add = current_group().add_statistic  # over processes that share a batch, if they do
        count = add(count)
        mean = add((x * valid).sum(OVER)) / count  # (C,)
        # (B, C, T, F) - (C, 1, 1): channels are axis 1.
        centred = x - mean[:, None, None]
        variance = add((centred * valid).square().sum(OVER)) / count
        # buffers, which no gradient reaches
        self._track(mean.detach(), variance.detach() * count / (count - 1).clamp(min=1))
        scale = self.weight * torch.rsqrt(variance + self.eps)
        return centred * scale[:, None, None] + self.bias[:, None, None]

    @torch.no_grad()
    def _track(self, mean: Tensor, variance: Tensor) -> None:
        """Move the running statistics towards those of the batch.

        As in PyTorch, the running variance is the unbiased one, n / (n - 1) times the other.
        """
        momentum = self.momentum
        if self.running_mean is None or self.running_var is None or momentum is None:
            return
        # (1 - momentum) · old + momentum · new, in place.
        self.running_mean.lerp_(mean, momentum)
        self.running_var.lerp_(variance, momentum)
        if self.num_batches_tracked is not None:
            self.num_batches_tracked.add_(1)


class _MaskedNorm(torch.autograd.Function):
    """The norm of the valid frames, with the gradients of its formula in fewer passes.

        μ = Σ v x / n,  c = x - μ,  σ² = Σ (v c)² / n,  y = c · w / √(σ² + ε) + b

    Every sum and product is the one that autograd would take of the operators, in that order, so
    that no bit differs. What is saved are passes: products with a mask that is one everywhere,
    and new tensors where one that nobody else reads can be written to.
    """

    @staticmethod
    def forward(
        ctx: Any,
        x: Tensor,
        weight: Tensor,
        bias: Tensor,
        valid: Tensor | None,
        count: Tensor,
        eps: float,
    ) -> tuple[Tensor, Tensor, Tensor]:
        """Return the normalised map, and mean and variance ``(C,)``.

        Args:
            ctx: Of autograd.
            x: ``(B, C, T, F)``.
            weight: ``(C,)``.
            bias: ``(C,)``.
            valid: ``(B, 1, T, 1)``, 1 where a frame is valid and 0 elsewhere; None: 1 everywhere.
            count: n, the valid values of a channel.
            eps: ε.
        """
        # Half precision would lose digits in sums over thousands of frames.
        wide = x.to(torch.promote_types(x.dtype, torch.float32))
        mean = (wide if valid is None else wide * valid).sum(OVER) / count  # (C,)
        centred = wide - mean[:, None, None]
        # Padding is out of the sums, though it is normalised like the rest.
        kept = centred if valid is None else centred * valid
        variance = kept.square().sum(OVER) / count
        root = torch.rsqrt(variance + eps)
        scale = weight * root
        out = (centred * scale[:, None, None]).add_(bias[:, None, None])
        ctx.save_for_backward(centred, kept, valid, weight, root, scale, count)
        ctx.dtype = x.dtype
        # Only the running statistics read them, without gradient.
        ctx.mark_non_differentiable(mean, variance)
        return out, mean, variance

    @staticmethod
    @torch.autograd.function.once_differentiable
    def backward(ctx: Any, grad: Tensor, *_: Tensor) -> tuple[Tensor | None, ...]:
        """Return the gradients of map, weight and bias."""
        centred, kept, valid, weight, root, scale, count = ctx.saved_tensors
        bias_grad = grad.sum(OVER)
        scale_grad = (grad * centred).sum(OVER)  # of weight / √(σ² + ε), (C,)
        weight_grad = scale_grad * root
        root_grad = scale_grad * weight
        # d(σ² + ε)^(-1/2) / dσ² = -½ (σ² + ε)^(-3/2).
        variance_grad = -0.5 * root_grad * root.pow(3)
        # 2 · v c · dσ² / n; doubling is exact, so that it may be done to the channel's number.
        inner = kept * (2 * (variance_grad / count))[:, None, None]
        if valid is not None:
            inner.mul_(valid)
        inner.add_(grad * scale[:, None, None])  # the gradient of c
        # d mean / dx = valid / count, for every number of the channel.
        mean_grad = (-inner.sum(OVER) / count)[:, None, None]
        # The two parts of x's gradient are rounded to its type, and then added.
        inner = inner.to(ctx.dtype)
        through_mean = mean_grad if valid is None else mean_grad * valid
        # One gradient for each argument of forward: valid, count and eps have none.
        return inner.add_(through_mean.to(ctx.dtype)), weight_grad, bias_grad, None, None, None


def expand_steps(mask: Tensor, x: Tensor) -> Tensor:
    """Return ``(B, T_k)`` bool, the valid steps of a map ``x`` ``(B, D_k, T_k, F_k)``.

    Args:
        mask: ``(B, T')`` bool, the valid tokens; a token spans T_k / T' steps of the map.
        x: The map.
    """
    return mask.repeat_interleave(x.shape[2] // mask.shape[1], dim=1)


def zero_invalid(x: Tensor, valid: Tensor) -> Tensor:
    """Return a map ``x`` ``(B, D_k, T_k, F_k)`` with zeros where ``valid`` ``(B, T_k)`` is False.

    The values are multiplied by zero: they must be finite.
    """
    # (B, 1, T_k, 1), over channels and frequencies
    return x if is_known_full(valid) else x * valid[:, None, :, None]
