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
    """Multiplies what one expert for each modality believes, over the set P of those present.

        p(y | x) ∝ p(y)^(1 - |P|) Π_{m ∈ P} p_m(y | x_m)

    This is Bayes' rule where modalities are independent given y: each expert has the prior
    p(y) in it already, and all but one of them are divided out.

    ``discrete`` experts, for classes and labels alike:

        ŷ = Σ_{m ∈ P} ŷ_m - (|P| - 1) b

    A softmax of the sum is the normalised product of the experts' softmaxes, since what
    normalises each is the same for all classes; a sigmoid of it is the normalised product
    of their Bernoullis. b (C) are the learned logits of the prior.

    ``gaussian`` experts N(ŷ_m, 1 / τ_m), for regression: the product's mean,

        ŷ = Σ_{m ∈ P} τ_m ŷ_m / Σ_{m ∈ P} τ_m             without a prior
        ŷ = Σ_{m ∈ P} τ_m ŷ_m / (1 + Σ_{m ∈ P} τ_m)       with the prior N(0, 1)

    with ln τ_m learned, 0 at the start. Targets are standardised, hence that prior; here it
    is an expert like the others, and not in them, so that a row of fewer modalities stays
    nearer to the mean.

    Without ``prior``, the constant is left to the heads' biases: then every further modality
    counts it once more. A single modality alone decides; b, and τ without a prior, would
    change nothing and do not exist.

    Args:
        widths: Modality to widths.
        outputs: C.
        hidden: Width of a ReLU layer in each head; None: heads are linear.
        experts: ``discrete`` or ``gaussian``.
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
        """Return the kinds of target served: numbers have Gaussian experts."""
        if options.get("experts") == "gaussian":
            return frozenset({"regression"})
        return frozenset({"classes", "multilabel"})

    def forward(self, features: dict[str, Features], present: dict[str, Tensor]) -> Tensor:
        """Return ``(B, C)`` logits or numbers; see :class:`~mmx.fusion.base.Fusion`."""
        decisions = self.decisions(features, present)  # (B, M, C)
        there = self.there(present)  # (B, M)
        if self.experts == "gaussian":
            return self._mean(decisions, there)
        product = decisions.masked_fill(~there[:, :, None], 0.0).sum(1)
        if self.prior_logits is None:
            return product
        return product - (there.sum(1, keepdim=True) - 1) * self.prior_logits

    def _mean(self, decisions: Tensor, there: Tensor) -> Tensor:
        """Return the precision-weighted mean, ``(B, C)``, whatever the size of the precisions."""
        if self.log_precision is None:
            return decisions[:, 0]
        logs = self.log_precision.expand(there.shape).masked_fill(~there, -torch.inf)
        if self.prior:  # ln 1 of the prior, whose mean is 0
            logs = torch.cat([logs, logs.new_zeros(len(logs), 1)], dim=1)
        shares = logs.softmax(1)[:, : len(self.modalities), None]  # (B, M, 1)
        return (shares * decisions).sum(1)
