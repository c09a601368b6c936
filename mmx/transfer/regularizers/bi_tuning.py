"""Bi-tuning: fine-tuning by contrasts, of classes with rows and of rows with rows."""

from __future__ import annotations

import math
from typing import Annotated

import torch
import torch.nn.functional as F
from pydantic import Field
from torch import Tensor, nn

from mmx.errors import TransferError
from mmx.transfer.regularizers.base import Given, Penalty, Regularizer, Step
from mmx.transfer.regularizers.features import (
    Strength,
    Temperature,
    full,
    full_precision,
    rows_with,
    weighted_mean,
)


class BiTuning(Regularizer):
    """Uses the labels twice more: on the structure among the outputs and among the features.

        R = L(o_{j,y_i}) + mean_m L(e_mi · e_mj / τ)
        L(s_ij) = 1/n Σ_i [ln mean_j exp(s_ij) − mean_{j: y_j = y_i} s_ij]

    The first part is the contrastive half of the contrastive cross-entropy (the other half is
    the objective): class y_i, as the outputs o know it, is to find its rows among all rows of
    the batch. The second is the categorical contrastive loss of e_m = P_m f_m / ‖P_m f_m‖, in
    which a row is to find those of its class, over the rows that have modality m. The
    projections P_m train along and serve training alone.

    Keys are the rows of the batch, the row itself among them: there is no queue and no second
    encoder as in the paper. A mean over anchors, of a mean over keys in place of the usual
    sum, which only takes off ln n: a batch twice over has the same value. It may be negative.

    Args:
        strength: λ.
        width: Of the projections.
        temperature: τ.

    Reference: Zhong et al. 2020, arXiv 2011.06182.
    """

    needs = frozenset({"weights", "classes"})
    reads_outputs = True

    def __init__(
        self,
        *,
        strength: Strength = 1.0,
        width: Annotated[int, Field(ge=1)] = 128,
        temperature: Temperature = 0.07,
    ) -> None:
        self.strength = strength
        self.width = width
        self.temperature = temperature

    def bind(self, given: Given) -> Penalty:
        """Return the penalty; see :class:`~mmx.transfer.regularizers.base.Regularizer`.

        Raises:
            TransferError: The target has no classes.
        """
        if given.kind != "classes":
            raise TransferError(
                f"regularizer=bi_tuning needs classes, and the target is of kind {given.kind}",
                tip="regularizer=l2_sp",
            )
        with torch.random.fork_rng(devices=[]):
            torch.default_generator.manual_seed(given.seed)
            return BiTuningPenalty(given.widths, self.strength, self.width, self.temperature)


class BiTuningPenalty(Penalty):
    """The penalty of :class:`BiTuning`.

    Args:
        widths: Modality to D_m.
        strength: λ.
        width: Of the projections.
        temperature: τ.

    Attributes:
        projections: P_m, by modality.
    """

    def __init__(
        self, widths: dict[str, int], strength: float, width: int, temperature: float
    ) -> None:
        super().__init__()
        self.strength, self.temperature = strength, temperature
        self.projections = nn.ModuleDict(
            {name: nn.Linear(widths[name], width) for name in sorted(widths)}
        )

    def forward(self, step: Step) -> Tensor:
        """Return the penalty; see :class:`~mmx.transfer.regularizers.base.Penalty`."""
        batch, terms = step.batch, []
        with full_precision(step):
            outputs = full(step.outputs)
            of_classes = contrast(outputs[:, batch.target].T, batch.target)
            for name, projection in self.projections.items():
                x = full(rows_with(name, batch, step.features[name].pooled))
                if len(x):
                    e = F.normalize(projection(x), dim=1)  # (n, width)
                    classes = rows_with(name, batch, batch.target)
                    terms.append(contrast(e @ e.T / self.temperature, classes))
            return self.strength * of_classes + weighted_mean(self.strength, terms, step)


def contrast(scores: Tensor, classes: Tensor) -> Tensor:
    """Return L, a mean over anchors.

    Args:
        scores: ``(n, n)``, anchor by key.
        classes: ``(n,)``; every anchor finds its class among the keys, being one of them.
    """
    same = classes[:, None] == classes[None, :]
    found = scores.masked_fill(~same, 0.0).sum(1) / same.sum(1)
    return (scores.logsumexp(1) - math.log(len(scores)) - found).mean()
