"""Imputation of an absent modality from the other modalities, by ridge regression."""

from __future__ import annotations

from typing import Annotated, cast

import numpy as np
import torch
import torch.nn.functional as F
from pydantic import Field
from torch import Tensor, nn

from mmx.missing.base import Shape
from mmx.missing.imputing import Imputing


class Generate(Imputing):
    """Fills in what a ridge regression predicts from the other modalities.

        x̂_m = b_m + Σ_{n≠m, present} (W_mn (x_n - μ_n) / σ_n + c_mn)

    μ and σ are the mean and the standard deviation of each feature over the training rows. W
    and c are penalised, b is not. Every row is used twice, as it is and with modalities dropped
    at random, so that the regression can handle rows that lack several modalities. Use it where
    modalities say similar things and there are enough rows that have them all.

    Args:
        shapes: Modality to widths.
        alpha: Weight of the penalty, a sum of squares added to the squared errors of all rows.
        drop: Chance that each other modality is dropped; with 0, rows are used once, as they are.
        rows: The most training rows to learn a modality from, drawn once for each fit.

    Reference: Hoerl and Kennard 1970; computed by scikit-learn.
    """

    mean: Tensor
    scale: Tensor

    def __init__(
        self,
        shapes: dict[str, Shape],
        *,
        alpha: Annotated[float, Field(gt=0, le=1000)] = 1.0,
        drop: Annotated[float, Field(ge=0, lt=1)] = 0.3,
        rows: Annotated[int, Field(ge=1, le=10**10)] = 5000,
    ) -> None:
        super().__init__(shapes)
        self.alpha, self.drop, self.rows = alpha, drop, rows
        total, flags = sum(self.sizes.values()), len(shapes) - 1
        self.register_buffer("mean", torch.zeros(total))
        self.register_buffer("scale", torch.ones(total))
        self.regressions = nn.ModuleDict(
            {name: _Regression(total - size + flags, size) for name, size in self.sizes.items()}
        )

    def learn(self, x: dict[str, Tensor], present: dict[str, Tensor], seed: int) -> None:
        """Fit the regressions; see :class:`~mmx.missing.imputing.Imputing`."""
        random = np.random.default_rng(seed)
        having = {name: present[name].nonzero().squeeze(1).numpy() for name in self.modalities}
        drawn = {
            name: torch.from_numpy(random.permutation(r)[: self.rows]) for name, r in having.items()
        }
        spread = [_mean_and_deviation(x[name][drawn[name]].double()) for name in self.modalities]
        self.mean.copy_(torch.cat([mean for mean, _ in spread]))
        self.scale.copy_(torch.cat([scale for _, scale in spread]))
        for name, rows in drawn.items():
            if len(rows) == 0:
                continue  # no training row has it, so that it stays absent
            taken = {other: each[rows].double() for other, each in x.items()}
            here = {other: each[rows] for other, each in present.items()}
            seen = [here] if self.drop == 0 else [here, _drop_at_random(here, self.drop, random)]
            z = self._standardise(taken)
            inputs = torch.cat([_regression_inputs(name, z, each) for each in seen])
            weight, bias = self._ridge(inputs, taken[name].repeat(len(seen), 1))
            cast(_Regression, self.regressions[name]).set(weight, bias)

    def impute(self, x: dict[str, Tensor], present: dict[str, Tensor]) -> dict[str, Tensor]:
        """Return the predictions; see :class:`~mmx.missing.imputing.Imputing`."""
        z = self._standardise(x)
        return {name: self.regressions[name](_regression_inputs(name, z, present)) for name in x}

    def _standardise(self, x: dict[str, Tensor]) -> dict[str, Tensor]:
        """Return modality to ``(N, F_m)``, minus the mean and divided by the deviation."""
        like = x[self.modalities[0]]  # float64 on the CPU while fitting, float32 in forward
        mean, scale = (
            self.split_modalities(self.mean.to(like)),
            self.split_modalities(self.scale.to(like)),
        )
        return {name: (x[name] - mean[name]) / scale[name] for name in self.modalities}

    def _ridge(self, inputs: Tensor, targets: Tensor) -> tuple[Tensor, Tensor]:
        """Return ``(F_m, I)`` weights and ``(F_m,)`` biases for ``(N, I)`` inputs."""
        from sklearn.linear_model import Ridge  # slow to import, and not needed to refuse a config

        if inputs.shape[1] == 0:  # a single modality: nothing to predict from but the mean
            return targets.new_zeros(targets.shape[1], 0), targets.mean(0)
        ridge = Ridge(alpha=self.alpha).fit(inputs.numpy(), targets.numpy())
        return torch.from_numpy(ridge.coef_), torch.from_numpy(ridge.intercept_)


_ROUNDING = 1e-6
"""A feature whose deviation is below this fraction of the largest one does not vary."""


class _Regression(nn.Module):
    """W x + b in buffers: fitted, not trained."""

    weight: Tensor
    bias: Tensor

    def __init__(self, inputs: int, outputs: int) -> None:
        super().__init__()
        self.register_buffer("weight", torch.zeros(outputs, inputs))
        self.register_buffer("bias", torch.zeros(outputs))

    def set(self, weight: Tensor, bias: Tensor) -> None:
        self.weight.copy_(weight)
        self.bias.copy_(bias)

    def forward(self, x: Tensor) -> Tensor:
        """Return ``(B, F_m)``."""
        return F.linear(x, self.weight, self.bias)


def _mean_and_deviation(rows: Tensor) -> tuple[Tensor, Tensor]:
    """Return mean and deviation of each column; a deviation is 1 where it is only rounding."""
    if len(rows) == 0:
        return rows.new_zeros(rows.shape[1]), rows.new_ones(rows.shape[1])
    deviation = rows.std(0, correction=0)
    return rows.mean(0), deviation.where(deviation > _ROUNDING * deviation.max(), 1.0)


def _regression_inputs(name: str, z: dict[str, Tensor], present: dict[str, Tensor]) -> Tensor:
    """Return ``(N, I)``: features of the other modalities, zeros if absent, then presence."""
    others = [other for other in z if other != name]
    seen = [z[other].masked_fill(~present[other][:, None], 0.0) for other in others]
    nothing = z[name][:, :0]  # (N, 0), so that cat works for a single modality too
    return torch.cat([nothing, *seen, *(present[o][:, None].to(nothing) for o in others)], dim=1)


def _drop_at_random(
    present: dict[str, Tensor], drop: float, random: np.random.Generator
) -> dict[str, Tensor]:
    """Return the presence of each modality with some of it dropped at random."""
    return {
        name: here & torch.from_numpy(random.random(len(here)) >= drop)
        for name, here in present.items()
    }
