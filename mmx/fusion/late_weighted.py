"""Late fusion: the weighted mean of one decision for each modality."""

from __future__ import annotations

from typing import Annotated, Any, Literal

import torch
from pydantic import Field
from torch import Tensor

from mmx.fusion.base import Widths
from mmx.fusion.mixing import Combine, fit_log_weights, format_shares, mix
from mmx.fusion.modality_heads import UnimodalHeads, find_kinds
from mmx.fusion.modality_weights import FixedWeights, ModalityWeights
from mmx.modalities import Encoded, Features


class LateWeighted(UnimodalHeads):
    """Averages the decisions ŷ_m of one head for each modality, over those present.

        ŷ = Σ_m w_m ŷ_m / Σ_m w_m                          of logits
        ŷ = ln(Σ_m w_m softmax(ŷ_m) / Σ_m w_m)             of probabilities

    Use it when one modality is known or expected to be more reliable than another on all rows;
    where this depends on the row, use ``attention`` or ``poe``.

    The softmax of the log of the mean probability is that mean, so the log can be used as
    logits by the cross-entropy. Probabilities can be averaged for classes only, not for
    multi-label or regression targets. A single modality has weight 1.

    With ``alpha=validation`` the heads train with equal weights; then :meth:`settle` finds
    the w, on the simplex, that minimises the loss of ŷ on the validation rows (cross-entropy
    of classes, binary cross-entropy of labels, mean squared error of numbers), by L-BFGS in
    float64.

    Args:
        widths: Modality to widths.
        outputs: C.
        hidden: Width of a ReLU layer in each head; None: heads are linear.
        alpha: Weights are ``learned`` with the other parameters, ``fixed`` by ``weights``, or
            fitted on ``validation`` rows after training.
        weights: Modality to w > 0, for ``fixed`` only; None: all equal.
        combine: Average the ``logits`` or the ``probabilities``.

    Raises:
        ValueError: ``weights`` are given but ``alpha`` is not ``fixed``, or there is not
            exactly one for each modality.
    """

    def __init__(
        self,
        widths: dict[str, Widths],
        *,
        outputs: int,
        hidden: Annotated[int, Field(ge=1, le=65_536)] | None = None,
        alpha: Literal["learned", "fixed", "validation"] = "learned",
        weights: FixedWeights | None = None,
        combine: Combine = "logits",
    ) -> None:
        super().__init__(widths, outputs=outputs, hidden=hidden)
        self.combine: Combine = combine
        self.settles = alpha == "validation"
        if alpha != "validation":
            self.alpha = ModalityWeights(self.modalities, alpha=alpha, weights=weights)
        elif weights is None:
            self.alpha = FittedWeights(self.modalities)
        else:
            raise ValueError(f"`weights` (={weights}) are read only where `alpha` is fixed")

    @classmethod
    def kinds(cls, **options: Any) -> frozenset[str]:
        """Return the kinds of target served: probabilities of a softmax need classes."""
        return find_kinds(**options)

    def forward(self, features: dict[str, Features], present: dict[str, Tensor]) -> Tensor:
        """Return ``(B, C)`` logits; see :class:`~mmx.fusion.base.Fusion`."""
        log_alpha: Tensor = self.alpha(self.mark_decisions(present))  # (B, M)
        return mix(self.decisions(features, present), log_alpha, self.combine)

    def settle(self, train: Encoded, val: Encoded, seed: int) -> tuple[str, ...]:
        """Fit the weights on ``val``; see :meth:`mmx.fusion.base.Fusion.settle`."""
        if not self.settles:
            return super().settle(train, val, seed)
        log_weights = fit_log_weights(*self.collect_decisions(val), self.combine)
        self.alpha.log_weights.copy_(log_weights)
        found = format_shares(self.modalities, log_weights.exp())
        return (f"weights fitted on {len(val)} validation rows: {found}",)


class FittedWeights(ModalityWeights):
    """Weights that start equal, have no gradient and are stored in checkpoints.

    Args:
        modalities: Names, sorted.
    """

    def __init__(self, modalities: tuple[str, ...]) -> None:
        super().__init__(modalities, alpha="fixed", weights=None)
        # Fixed weights are not persistent, since the config has them; these are fitted.
        self.register_buffer("log_weights", torch.zeros(len(modalities)), persistent=True)
