"""A product of experts."""

from __future__ import annotations

from typing import Annotated, Any, Literal

import torch
from pydantic import Field
from torch import Tensor, nn

from mmx.fusion.base import Widths
from mmx.fusion.modality_heads import UnimodalHeads
from mmx.modalities import Features


class Poe(UnimodalHeads):
    """Multiplies the distributions of one expert for each modality present.

        p(y | x) ∝ p(y)^(1 - |P|) Π_{m ∈ P} p_m(y | x_m),  P: the modalities present

    Use it when a confident modality should outweigh an uncertain one in each row, which a mean
    of decisions does not do.

    It is Bayes' rule if the modalities are independent given y: each expert includes the prior
    p(y), and all priors but one are divided out.

    ``discrete`` experts, for classes and labels alike:

        ŷ = Σ_{m ∈ P} ŷ_m - (|P| - 1) b

    The softmax of the sum is the normalised product of the experts' softmaxes, since each
    normaliser is the same for all classes; the sigmoid of the sum is the normalised product of
    their Bernoulli distributions. b (C) are the learned logits of the prior.

    ``gaussian`` experts N(ŷ_m, 1 / τ_m), for regression: the product's mean,

        ŷ = Σ_{m ∈ P} τ_m ŷ_m / Σ_{m ∈ P} τ_m             without a prior
        ŷ = Σ_{m ∈ P} τ_m ŷ_m / (1 + Σ_{m ∈ P} τ_m)       with the prior N(0, 1)

    with learned ln τ_m that start at 0. The prior has mean 0 and variance 1 because targets
    are standardised. It is a further expert and not part of the others, so that the prediction
    for a row with fewer modalities is closer to the mean.

    Without ``prior``, the heads' biases model the prior, which then counts once for each
    modality present. With a single modality, b (and τ without a prior) would have no effect
    and do not exist.

    Args:
        widths: Modality to widths.
        outputs: C.
        hidden: Width of a ReLU layer in each head; None: heads are linear.
        experts: ``discrete`` distributions for classes and labels, or ``gaussian`` ones for
            regression.
        prior: Whether there is a prior.

    References: Hinton 2002, Training products of experts by minimizing contrastive
    divergence; Wu and Goodman 2018, arXiv 1802.05335.
    """

    def __init__(
        self,
        widths: dict[str, Widths],
        *,
        outputs: int,
        hidden: Annotated[int, Field(ge=1, le=65_536)] | None = None,
        experts: Literal["discrete", "gaussian"] = "discrete",
        prior: bool = False,
    ) -> None:
        super().__init__(widths, outputs=outputs, hidden=hidden)
        self.experts = experts
        self.prior = prior
        several = len(widths) > 1
        gaussian = experts == "gaussian"
        self.log_precision = (
            nn.Parameter(torch.zeros(len(widths))) if gaussian and (prior or several) else None
        )
        self.prior_logits = None
        if prior and several and not gaussian:
            self.prior_logits = nn.Parameter(torch.zeros(outputs))
            self.label_tensors += ("prior_logits",)

    @classmethod
    def kinds(cls, **options: Any) -> frozenset[str]:
        """Return the kinds of target served: Gaussian experts serve regression only."""
        if options.get("experts") == "gaussian":
            return frozenset({"regression"})
        return frozenset({"classes", "multilabel"})

    def forward(self, features: dict[str, Features], present: dict[str, Tensor]) -> Tensor:
        """Return ``(B, C)`` logits or numbers; see :class:`~mmx.fusion.base.Fusion`."""
        decisions = self.decisions(features, present)  # (B, M, C)
        available = self.mark_decisions(present)  # (B, M)
        if self.experts == "gaussian":
            return self._mean(decisions, available)
        # A sum of logits is the log of a product of probabilities; 0 is a factor of 1.
        product = decisions.masked_fill(~available[:, :, None], 0.0).sum(1)
        if self.prior_logits is None:
            return product
        # Each of the |P| experts contains the prior once; all but one are taken out. (B, 1) · (C,)
        return product - (available.sum(1, keepdim=True) - 1) * self.prior_logits

    def _mean(self, decisions: Tensor, available: Tensor) -> Tensor:
        """Return the precision-weighted mean, ``(B, C)``."""
        if self.log_precision is None:
            return decisions[:, 0]
        # τ_m / Σ τ as a softmax of ln τ: no overflow, however large the precisions.
        logs = self.log_precision.expand(available.shape).masked_fill(~available, -torch.inf)
        if self.prior:  # ln τ = 0 of the prior N(0, 1); its mean adds nothing to the sum
            logs = torch.cat([logs, logs.new_zeros(logs.shape[0], 1)], dim=1)
        # The prior's share, the last column, is dropped: its mean is 0.
        shares = logs.softmax(1)[:, : len(self.modalities), None]  # (B, M, 1)
        return (shares * decisions).sum(1)
