"""Mixup of features."""

from __future__ import annotations

from typing import Annotated

import torch
from pydantic import Field
from torch import Tensor

from mmx.balance.base import Balance, Mixed, interpolate
from mmx.modalities import Features


class Mixup(Balance):
    """Mixes each row of a batch with another before the fusion.

        x = λ x_i + (1 - λ) x_j,  L = λ L(ŷ, y_i) + (1 - λ) L(ŷ, y_j),  λ ~ Beta(α, α)

    There is one λ for a batch, and j is a random permutation. Features are mixed instead of
    inputs, since texts or sounds of different lengths cannot be added. A row that shares no
    modality with its partner keeps its features and its label. Use it against overfitting,
    when the objective accepts two classes for a row.

    Args:
        alpha: α; the smaller, the closer λ is to 0 or 1. The least is 0.01: below it, draws
            in single precision are rounded to exactly 0 or 1.

    Reference: Zhang et al. 2018, arXiv 1710.09412; Verma et al. 2019, arXiv 1806.05236.
    """

    mixes_classes = True
    compares_rows = True

    def __init__(self, *, alpha: Annotated[float, Field(ge=0.01, le=1000)] = 0.2) -> None:
        self.alpha = alpha

    def mix(
        self,
        features: dict[str, Features],
        present: dict[str, Tensor],
        target: Tensor,
        counts: Tensor,
    ) -> Mixed:
        """Return the mixed batch; see :class:`~mmx.balance.base.Balance`."""
        alpha = torch.tensor(self.alpha)
        # λ is drawn before the permutation, both on the CPU, so that every device sees the same.
        share = float(torch.distributions.Beta(alpha, alpha).sample())
        partner = torch.randperm(len(target)).to(target.device)
        shares = torch.full((len(target),), share, device=target.device)
        mixed = interpolate(features, present, partner, shares)
        # (B,): whether row and partner have a modality in common; otherwise nothing was mixed.
        has_common = torch.stack([here & here[partner] for here in present.values()]).any(0)
        return Mixed(mixed, target, torch.where(has_common, target[partner], target), share)
