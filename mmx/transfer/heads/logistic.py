"""Multinomial logistic regression, every strength of the penalty at once."""

from __future__ import annotations

from collections.abc import Iterator, Sequence
from dataclasses import dataclass
from typing import Annotated, ClassVar

import torch
import torch.nn.functional as F
from pydantic import Field
from torch import Tensor, nn

from mmx.transfer.base import TargetKind
from mmx.transfer.heads.base import FittedHead, HeadCandidate
from mmx.transfer.heads.rotation import rotate

CS = tuple(10.0**power for power in range(-5, 5))
UNSEEN = -30.0
"""Intercept of a class without training rows; the mean over the others is zero."""
NEWTON_STEPS, INNER_STEPS, HALVINGS = 100, 500, 30
BATCH_NUMBERS = 2**24
"""Rows times classes times strengths, at most, that are solved as one batch."""
WEIGHT_TOLERANCE = 1e-7
"""Relative error of the weights at which a solution is good enough."""


@dataclass(frozen=True, kw_only=True)
class Logistic(FittedHead):
    """Multinomial logistic regression on standardised features x, its intercept free.

        min_W,b C Σ_i -ln softmax(W x_i + b)_{y_i} + ‖W‖² / 2

    C, the inverse strength of the penalty, is chosen on validation. It is scikit-learn's
    ``C``; of two classes too both have weights, where scikit-learn's binary form has one
    vector and the same solution at 2 C.

    Args:
        grid: Values of C, in any order.
    """

    kinds: ClassVar[frozenset[TargetKind]] = frozenset({"classes"})
    varied = "C"
    grid: Annotated[tuple[Annotated[float, Field(gt=0, le=1e9)], ...], Field(min_length=1)] = CS

    def make(self, width: int, outputs: int, kind: TargetKind) -> nn.Module:
        """Return a linear layer; see :class:`~mmx.transfer.heads.base.Head`."""
        return nn.Linear(width, outputs)

    def candidates(
        self, x: Tensor, y: Tensor, outputs: int, kind: TargetKind
    ) -> Iterator[HeadCandidate]:
        """Yield a layer for each C; see :class:`~mmx.transfer.heads.base.FittedHead`."""
        grid = sorted(set(self.grid))
        for strength, state in zip(grid, fit_logistic(x, y, outputs, grid), strict=True):
            yield HeadCandidate(strength, state)


def fit_logistic(
    x: Tensor, y: Tensor, outputs: int, grid: Sequence[float]
) -> list[dict[str, Tensor]]:
    """Return weight ``(C, D)`` and bias ``(C,)`` of a linear layer for each value of the grid.

    One factorisation turns the standardised features so that their columns are orthogonal;
    on them all values are solved as one batch. A class without training rows gets no weight
    and an intercept of -30.

    Args:
        x: ``(N, D)`` finite features.
        y: ``(N,)`` classes.
        outputs: Number of classes.
        grid: Values of C > 0, the inverse strength of the penalty.
    """
    turned = rotate(x)
    seen, index = torch.unique(y, return_inverse=True)
    found = []
    for theta in solve_all(turned.z, index, len(seen), grid):  # (R + 1, K)
        weights = theta.new_zeros(len(theta) - 1, outputs)
        intercept = theta.new_full((outputs,), UNSEEN)
        weights[:, seen], intercept[seen] = theta[:-1], theta[-1]
        found.append(turned.to_linear(weights, intercept))
    return found


def solve_all(z: Tensor, y: Tensor, classes: int, grid: Sequence[float]) -> Tensor:
    """Return what :func:`solve` does of a whole grid, so many values at once as memory allows."""
    strengths = torch.tensor(grid, dtype=torch.float64, device=z.device)
    at_once = max(1, BATCH_NUMBERS // (len(z) * classes))
    return torch.cat([solve(z, y, classes, part) for part in torch.split(strengths, at_once)])


def solve(z: Tensor, y: Tensor, classes: int, strengths: Tensor) -> Tensor:
    """Return weights and, as their last row, intercepts for each C: ``(G, R + 1, K)``.

    Newton's method on (1 / N) Σ_i loss_i + ‖W‖² / (2 N C), all C as one batch. Each step is
    found by conjugate gradients, to which the columns' spread is the preconditioner, and
    halved as long as the loss does not fall. A C that is solved leaves the batch.

    Args:
        z: ``(N, R)`` float64, centred columns.
        y: ``(N,)`` classes, each of which occurs.
        classes: K.
        strengths: ``(G,)`` values of C.
    """
    design = torch.cat([z, z.new_ones(len(z), 1)], dim=1)
    problem = _Problem(design, F.one_hot(y, classes).to(z), 1 / (strengths * len(z)))
    theta = z.new_zeros(len(strengths), design.shape[1], classes)
    left = torch.arange(len(strengths), device=z.device)
    for _ in range(NEWTON_STEPS):
        part, now = problem.select(left), theta[left]
        chances = part.probabilities(now)
        slope = part.gradient(now, chances)
        # The loss is at least as curved as the penalty: the slope bounds what is left of the error.
        error = slope.flatten(1).norm(dim=1) / part.penalty
        off = error > (WEIGHT_TOLERANCE * now.flatten(1).norm(dim=1)).clamp(min=1e-12)
        if not off.any():
            break
        left, part, now, slope = left[off], part.select(off), now[off], slope[off]
        step = part.newton_step(chances[:, off], slope)
        length = part.find_step_length(now, slope, step)
        theta[left] = now + length[:, None, None] * step
        left = left[length > 0]
    return theta


@dataclass(frozen=True)
class _Problem:
    """Several strengths of penalty on one set of rows.

    Attributes:
        design: ``(N, R + 1)``, the last column 1.
        wanted: ``(N, K)`` one-hot.
        penalty: ``(G,)`` of ‖W‖² / 2, next to the mean over rows.
    """

    design: Tensor
    wanted: Tensor
    penalty: Tensor

    def select(self, which: Tensor) -> _Problem:
        """Return some of the strengths."""
        return _Problem(self.design, self.wanted, self.penalty[which])

    def logits(self, theta: Tensor) -> Tensor:
        """Return ``(N, G, K)`` of ``(G, R + 1, K)``: one matrix product for all strengths."""
        together = theta.transpose(0, 1).flatten(1)  # (R + 1, G·K)
        return (self.design @ together).view(len(self.design), *theta.shape[::2])

    def average_over_rows(self, rows: Tensor) -> Tensor:
        """Return ``(G, R + 1, K)``, the mean over rows of design times ``(N, G, K)``."""
        mean = self.design.T @ rows.flatten(1) / len(rows)
        return mean.view(-1, *rows.shape[1:]).transpose(0, 1)

    def probabilities(self, theta: Tensor) -> Tensor:
        """Return ``(N, G, K)`` probabilities."""
        return self.logits(theta).softmax(2)

    def penalty_gradient(self, theta: Tensor) -> Tensor:
        """Return the penalty's slope: of the weights, not of the intercepts."""
        pulled = self.penalty[:, None, None] * theta
        pulled[:, -1] = 0.0
        return pulled

    def loss(self, theta: Tensor) -> Tensor:
        """Return ``(G,)``."""
        surprise = -(self.logits(theta).log_softmax(2) * self.wanted[:, None]).sum(2).mean(0)
        return surprise + 0.5 * self.penalty * theta[:, :-1].square().sum((1, 2))

    def gradient(self, theta: Tensor, chances: Tensor) -> Tensor:
        """Return ``(G, R + 1, K)``, the loss's gradient."""
        return self.average_over_rows(chances - self.wanted[:, None]) + self.penalty_gradient(theta)

    def hessian_product(self, chances: Tensor, direction: Tensor) -> Tensor:
        """Return the Hessian times a direction, ``(G, R + 1, K)``."""
        moved = chances * self.logits(direction)
        rows = moved - chances * moved.sum(2, keepdim=True)
        return self.average_over_rows(rows) + self.penalty_gradient(direction)

    def newton_step(self, chances: Tensor, slope: Tensor) -> Tensor:
        """Return -H⁻¹ slope, ``(G, R + 1, K)``, by preconditioned conjugate gradients."""
        spread = self.design.square().mean(0)  # (R + 1,)
        unsure = (chances * (1 - chances)).mean(0)  # (G, K)
        scale = spread[None, :, None] * unsure[:, None] + self.penalty[:, None, None]
        step, rest = torch.zeros_like(slope), -slope
        eased = rest / scale
        # Each class's share of one common shift changes nothing: it stays out of the search.
        eased = eased - eased.mean(2, keepdim=True)
        direction, energy = eased, _dot(rest, eased)
        size = slope.flatten(1).norm(dim=1)
        enough = size * size.sqrt().clamp(max=0.1)
        for _ in range(INNER_STEPS):
            bent = self.hessian_product(chances, direction)
            curvature = _dot(direction, bent)
            going = (rest.flatten(1).norm(dim=1) > enough) & (curvature > 0) & (energy > 0)
            if not going.any():
                break
            length = torch.where(going, energy / curvature.clamp(min=1e-300), 0.0)
            step = step + length[:, None, None] * direction
            rest = rest - length[:, None, None] * bent
            eased = rest / scale
            eased = eased - eased.mean(2, keepdim=True)
            before, energy = energy, _dot(rest, eased)
            turn = torch.where(going, energy / before.clamp(min=1e-300), 0.0)
            direction = eased + turn[:, None, None] * direction
        return step

    def find_step_length(self, theta: Tensor, slope: Tensor, step: Tensor) -> Tensor:
        """Return ``(G,)`` how much of each step to take: 1, halved until the loss falls; or 0."""
        start, gain = self.loss(theta), _dot(slope, step)
        rounding = 1e-15 * (1 + self.logits(theta).abs().amax((0, 2)))
        length = torch.ones_like(start)
        for _ in range(HALVINGS):
            there = theta + length[:, None, None] * step
            bad = self.loss(there) > start + 1e-4 * length * gain + rounding
            if not bad.any():
                return length
            length = torch.where(bad, length / 2, length)
        return torch.where(bad, 0.0, length)


def _dot(one: Tensor, other: Tensor) -> Tensor:
    return (one * other).sum((1, 2))
