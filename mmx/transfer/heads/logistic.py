"""Multinomial logistic regression, fitted for every strength of the penalty at once."""

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
"""Intercept of a class without training rows; the intercepts of the others have mean zero."""
NEWTON_STEPS, INNER_STEPS, HALVINGS = 100, 500, 30
BATCH_NUMBERS = 2**24
"""Bound of rows times classes times strengths that are solved as one batch."""
WEIGHT_TOLERANCE = 1e-7
"""Relative error of the weights at which a solution is accepted."""


@dataclass(frozen=True, kw_only=True)
class Logistic(FittedHead):
    """Multinomial logistic regression on standardised features x, its intercept not penalised.

        min_W,b C Σ_i -ln softmax(W x_i + b)_{y_i} + ‖W‖² / 2

    C, the inverse strength of the penalty, is chosen on validation. It is scikit-learn's ``C``.
    Two classes also have a weight vector each, where scikit-learn's binary form has a single
    vector and the same solution at 2 C. Use it for the standard linear evaluation of features:
    its optimum is exact, and there is no learning rate to tune.

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

    One factorisation rotates the standardised features so that their columns are orthogonal;
    the whole grid is then solved as one batch. A class without training rows gets weights of zero
    and an intercept of -30.

    Args:
        x: ``(N, D)`` finite features.
        y: ``(N,)`` classes.
        outputs: Number of classes.
        grid: Values of C > 0, the inverse strength of the penalty.
    """
    turned = rotate(x)
    # Solved for the classes that occur: without rows the loss has no minimum in the intercept.
    seen, index = torch.unique(y, return_inverse=True)
    found = []
    for theta in solve_all(turned.z, index, len(seen), grid):  # (R + 1, K)
        # a class that does not occur has weight 0, and so its intercept decides
        weights = theta.new_zeros(len(theta) - 1, outputs)
        intercept = theta.new_full((outputs,), UNSEEN)
        weights[:, seen], intercept[seen] = theta[:-1], theta[-1]
        found.append(turned.to_linear(weights, intercept))
    return found


def solve_all(z: Tensor, y: Tensor, classes: int, grid: Sequence[float]) -> Tensor:
    """Return the solutions of :func:`solve` for a grid, in batches that fit into memory."""
    strengths = torch.tensor(grid, dtype=torch.float64, device=z.device)
    at_once = max(1, BATCH_NUMBERS // (len(z) * classes))
    return torch.cat([solve(z, y, classes, subset) for subset in torch.split(strengths, at_once)])


def solve(z: Tensor, y: Tensor, classes: int, strengths: Tensor) -> Tensor:
    """Return weights and, as their last row, intercepts for each C: ``(G, R + 1, K)``.

    Newton's method on (1 / N) Σ_i loss_i + ‖W‖² / (2 N C), all C as one batch. Each step is
    found by conjugate gradients, preconditioned by an estimate of the Hessian's diagonal, and
    halved until the loss falls. A C that is solved leaves the batch.

    Args:
        z: ``(N, R)`` float64, centred columns.
        y: ``(N,)`` classes, each of which occurs.
        classes: K.
        strengths: ``(G,)`` values of C.
    """
    design = torch.cat([z, z.new_ones(len(z), 1)], dim=1)
    # C multiplies the sum of losses in scikit-learn; here the loss is a mean, hence 1 / (C N).
    problem = _Problem(design, F.one_hot(y, classes).to(z), 1 / (strengths * len(z)))
    # zeros: every start is the uniform distribution
    theta = z.new_zeros(len(strengths), design.shape[1], classes)
    # indices of the strengths that are not solved yet
    left = torch.arange(len(strengths), device=z.device)
    for _ in range(NEWTON_STEPS):
        subset, current = problem.select(left), theta[left]
        class_probabilities = subset.probabilities(current)
        grad = subset.gradient(current, class_probabilities)
        # In the weights the loss is strongly convex with constant ``penalty``, which bounds the
        # error: ‖W − W*‖ ≤ ‖gradient‖ / penalty.
        error = grad.flatten(1).norm(dim=1) / subset.penalty
        # Where all weights are zero, a relative bound would never be met.
        unsolved = error > (WEIGHT_TOLERANCE * current.flatten(1).norm(dim=1)).clamp(min=1e-12)
        if not unsolved.any():  # waits for the device once an iteration
            break
        left, current, grad = left[unsolved], current[unsolved], grad[unsolved]
        subset = subset.select(unsolved)
        step = subset.newton_step(class_probabilities[:, unsolved], grad)
        length = subset.find_step_length(current, grad, step)
        theta[left] = current + length[:, None, None] * step
        left = left[length > 0]  # no step lowers the loss any more: rounding is reached
    return theta


@dataclass(frozen=True)
class _Problem:
    """Several strengths of the penalty on one set of rows.

        loss = 1/N Σ_i -ln softmax(θᵀ x_i)_{y_i} + penalty · ‖W‖² / 2

    Attributes:
        design: ``(N, R + 1)``, the rows x_i; their last column is 1.
        one_hot: ``(N, K)``, the classes.
        penalty: ``(G,)``, 1 / (N C).
    """

    design: Tensor
    one_hot: Tensor
    penalty: Tensor

    def select(self, which: Tensor) -> _Problem:
        """Return the problem of some of the strengths."""
        return _Problem(self.design, self.one_hot, self.penalty[which])

    def logits(self, theta: Tensor) -> Tensor:
        """Return ``(N, G, K)`` from θ ``(G, R + 1, K)``: one matrix product for all strengths."""
        # All strengths side by side, so that one product serves them all.
        flat = theta.transpose(0, 1).flatten(1)  # (R + 1, G·K)
        # (N, G, K): shape[::2] leaves out R + 1
        return (self.design @ flat).view(len(self.design), *theta.shape[::2])

    def average_over_rows(self, rows: Tensor) -> Tensor:
        """Return 1/N designᵀ · rows, ``(G, R + 1, K)``, for ``rows`` ``(N, G, K)``."""
        mean = self.design.T @ rows.flatten(1) / len(rows)  # (R + 1, N) @ (N, G·K)
        # (R + 1, G·K) → (R + 1, G, K) → (G, R + 1, K)
        return mean.view(-1, *rows.shape[1:]).transpose(0, 1)

    def probabilities(self, theta: Tensor) -> Tensor:
        """Return ``(N, G, K)`` probabilities."""
        return self.logits(theta).softmax(2)

    def penalty_gradient(self, theta: Tensor) -> Tensor:
        """Return the gradient of the penalty; it is 0 for the intercepts."""
        grad = self.penalty[:, None, None] * theta
        grad[:, -1] = 0.0  # the intercept's row is not penalised
        return grad

    def loss(self, theta: Tensor) -> Tensor:
        """Return the ``(G,)`` losses."""
        # (N, G, K), picked by the one-hot (N, 1, K)
        cross_entropy = -(self.logits(theta).log_softmax(2) * self.one_hot[:, None]).sum(2).mean(0)
        return cross_entropy + 0.5 * self.penalty * theta[:, :-1].square().sum((1, 2))

    def gradient(self, theta: Tensor, class_probabilities: Tensor) -> Tensor:
        """Return the gradient of the loss, ``(G, R + 1, K)``."""
        return self.average_over_rows(
            class_probabilities - self.one_hot[:, None]
        ) + self.penalty_gradient(theta)

    def hessian_product(self, class_probabilities: Tensor, direction: Tensor) -> Tensor:
        """Return the Hessian times a direction, ``(G, R + 1, K)``, without forming the Hessian."""
        # Of the softmax: (diag(p) − p pᵀ) v = p ∘ v − p (pᵀ v), for each row.
        moved = class_probabilities * self.logits(direction)
        rows = moved - class_probabilities * moved.sum(2, keepdim=True)
        return self.average_over_rows(rows) + self.penalty_gradient(direction)

    def newton_step(self, class_probabilities: Tensor, grad: Tensor) -> Tensor:
        """Return -H⁻¹ gradient, ``(G, R + 1, K)``, by preconditioned conjugate gradients."""
        spread = self.design.square().mean(0)  # (R + 1,)
        variance = (class_probabilities * (1 - class_probabilities)).mean(0)  # (G, K)
        # Jacobi: the Hessian's diagonal, as if features and classes were independent. (G, R + 1, K)
        scale = spread[None, :, None] * variance[:, None] + self.penalty[:, None, None]
        step, residual = torch.zeros_like(grad), -grad
        preconditioned = residual / scale
        # Adding one vector to the weights of all classes changes no probability: that direction,
        # in which the data's part of the Hessian is 0, is left out of the search.
        preconditioned = preconditioned - preconditioned.mean(2, keepdim=True)
        direction, energy = preconditioned, _dot(residual, preconditioned)
        size = grad.flatten(1).norm(dim=1)
        # Looser far from the optimum, tighter near it (Nocedal and Wright 2006, section 7.1).
        goal = size * size.sqrt().clamp(max=0.1)
        for _ in range(INNER_STEPS):
            product = self.hessian_product(class_probabilities, direction)
            curvature = _dot(direction, product)
            active = (residual.flatten(1).norm(dim=1) > goal) & (curvature > 0) & (energy > 0)
            if not active.any():
                break
            # A strength that is done takes steps of 0 while the others go on.
            length = torch.where(active, energy / curvature.clamp(min=1e-300), 0.0)
            step = step + length[:, None, None] * direction
            residual = residual - length[:, None, None] * product
            preconditioned = residual / scale
            preconditioned = preconditioned - preconditioned.mean(2, keepdim=True)
            # β = rᵀz of now / before (Fletcher and Reeves), the coefficient of conjugate
            # directions.
            before, energy = energy, _dot(residual, preconditioned)
            conjugacy = torch.where(active, energy / before.clamp(min=1e-300), 0.0)
            direction = preconditioned + conjugacy[:, None, None] * direction
        return step

    def find_step_length(self, theta: Tensor, grad: Tensor, step: Tensor) -> Tensor:
        """Return the ``(G,)`` parts of the step to take: 1, halved until the loss falls; or 0."""
        start, directional_slope = self.loss(theta), _dot(grad, step)
        # The loss is made of logits of this size: smaller differences of it are rounding.
        rounding = 1e-15 * (1 + self.logits(theta).abs().amax((0, 2)))
        length = torch.ones_like(start)
        # Armijo's condition with c = 1e-4; differences within rounding count as a fall.
        for _ in range(HALVINGS):
            trial = theta + length[:, None, None] * step
            too_long = self.loss(trial) > start + 1e-4 * length * directional_slope + rounding
            if not too_long.any():
                return length
            length = torch.where(too_long, length / 2, length)
        # Halved as often as allowed, and still too long: no step at all.
        return torch.where(too_long, 0.0, length)


def _dot(one: Tensor, other: Tensor) -> Tensor:
    return (one * other).sum((1, 2))
