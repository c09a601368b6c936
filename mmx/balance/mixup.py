"""Mixup of features."""

from __future__ import annotations

from typing import Annotated

import torch
from pydantic import Field
from torch import Tensor

from mmx.balance.base import Balance, Mixed, interpolate
from mmx.modalities import Features


class Mixup(Balance):
    """Mixes each row of a batch with another, in front of the fusion.

        x = λ x_i + (1 - λ) x_j,  L = λ L(ŷ, y_i) + (1 - λ) L(ŷ, y_j),  λ ~ Beta(α, α)

    One λ a batch, j a random permutation. Features are mixed, not inputs, since words and
    sounds of other lengths have no sum. A row that shares no modality with the other stays
    as it is, and so does its label.

    Args:
        alpha: α; the smaller, the closer λ is to 0 or 1. Below 0.01 single precision has no
            numbers close enough to them.

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
        share = float(torch.distributions.Beta(alpha, alpha).sample())
        partner = torch.randperm(len(target)).to(target.device)
        shares = torch.full((len(target),), share, device=target.device)
        mixed = interpolate(features, present, partner, shares)
        met = torch.stack([here & here[partner] for here in present.values()]).any(0)
        return Mixed(mixed, target, torch.where(met, target[partner], target), share)
