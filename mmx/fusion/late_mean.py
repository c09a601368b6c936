"""Late fusion: the mean of one decision for each modality."""

from __future__ import annotations

from typing import Annotated, Any

from pydantic import Field
from torch import Tensor

from mmx.fusion.base import Widths
from mmx.fusion.mixing import Combine, mix
from mmx.fusion.modality_heads import UnimodalHeads, find_kinds
from mmx.fusion.modality_weights import ModalityWeights
from mmx.modalities import Features


class LateMean(UnimodalHeads):
    """Averages the decisions ŷ_m of one head for each modality, over the set P of those present.

        ŷ = (1 / |P|) Σ_{m ∈ P} ŷ_m                        of logits
        ŷ = ln((1 / |P|) Σ_{m ∈ P} softmax(ŷ_m))           of probabilities

    Use it as the reference for methods at decision level, and where rows often lack a modality.

    Probabilities can be averaged for classes only. With a single modality ŷ is its decision,
    normalised where probabilities are averaged.

    Args:
        widths: Modality to widths.
        outputs: C.
        hidden: Width of a ReLU layer in each head; None: heads are linear.
        combine: Average the ``logits`` or the ``probabilities``.
    """

    def __init__(
        self,
        widths: dict[str, Widths],
        *,
        outputs: int,
        hidden: Annotated[int, Field(ge=1, le=65_536)] | None = None,
        combine: Combine = "logits",
    ) -> None:
        super().__init__(widths, outputs=outputs, hidden=hidden)
        self.combine: Combine = combine
        self.alpha = ModalityWeights(self.modalities, alpha="fixed", weights=None)

    @classmethod
    def kinds(cls, **options: Any) -> frozenset[str]:
        """Return the kinds of target served: probabilities of a softmax need classes."""
        return find_kinds(**options)

    def forward(self, features: dict[str, Features], present: dict[str, Tensor]) -> Tensor:
        """Return ``(B, C)`` logits; see :class:`~mmx.fusion.base.Fusion`."""
        # ln(1 / |P|) where present
        log_alpha: Tensor = self.alpha(self.mark_decisions(present))  # (B, M)
        return mix(self.decisions(features, present), log_alpha, self.combine)
