"""One decision for each modality, averaged."""

from __future__ import annotations

from typing import Annotated, Any, ClassVar, Literal

import torch
from pydantic import Field
from torch import Tensor, nn

from mmx.fusion.base import Fusion, Widths, presence
from mmx.fusion.weights import Alpha, ModalityWeights, Weights
from mmx.modalities import Features


class LateWeighted(Fusion):
    """Averages the decisions ŷ_m of one head for each modality, over those present.

        ŷ = Σ_m w_m ŷ_m / Σ_m w_m                          of logits
        ŷ = ln(Σ_m w_m softmax(ŷ_m) / Σ_m w_m)             of probabilities

    The log of the mean probability is a logit whose softmax is that mean, so
    cross-entropy stays right; it makes sense for classes alone, not for multi-label or
    regression targets.

    Args:
        widths: Modality to widths.
        outputs: C.
        hidden: Width of a ReLU layer in each head; None: heads are linear.
        alpha: Weights are ``learned`` with the rest, or ``fixed`` by ``weights``.
        weights: Modality to w > 0, for ``fixed`` only; None: all equal.
        combine: Average the ``logits`` or the ``probabilities``.

    Raises:
        ValueError: ``weights`` are given for ``learned``, or not one for each modality.
    """

    level: ClassVar[Literal["decision"]] = "decision"

    def __init__(
        self,
        widths: dict[str, Widths],
        *,
        outputs: int,
        hidden: Annotated[int, Field(ge=1)] | None = None,
        alpha: Alpha = "learned",
        weights: Weights | None = None,
        combine: Literal["logits", "probabilities"] = "logits",
    ) -> None:
        super().__init__(widths, outputs=outputs)
        self.width = outputs
        self.combine = combine
        self.heads = nn.ModuleDict(
            {name: _head(widths[name].pooled, hidden, outputs) for name in self.modalities}
        )
        self.alpha = ModalityWeights(self.modalities, alpha=alpha, weights=weights)
        last = "" if hidden is None else "2."  # the linear layer that gives the decision
        self.label_tensors = tuple(
            f"heads.{name}.{last}{part}" for name in self.modalities for part in ("weight", "bias")
        )

    @classmethod
    def kinds(cls, **options: Any) -> frozenset[str]:
        """Return the kinds of target served: probabilities of a softmax need classes."""
        probabilities = options.get("combine") == "probabilities"
        return frozenset({"classes"}) if probabilities else super().kinds()

    def forward(self, features: dict[str, Features], present: dict[str, Tensor]) -> Tensor:
        """Return ``(B, C)`` logits; see :class:`~mmx.fusion.base.Fusion`."""
        pooled = self.pooled(features, present)
        decisions: Tensor = torch.stack(
            [self.heads[name](x) for name, x in zip(self.modalities, pooled, strict=True)], dim=1
        )  # (B, M, C)
        log_alpha: Tensor = self.alpha(presence(present, self.modalities))[:, :, None]  # (B, M, 1)
        if self.combine == "probabilities":
            return (log_alpha + decisions.log_softmax(2)).logsumexp(1)
        return (log_alpha.exp() * decisions).sum(1)


def _head(width: int, hidden: int | None, outputs: int) -> nn.Module:
    if hidden is None:
        return nn.Linear(width, outputs)
    return nn.Sequential(nn.Linear(width, hidden), nn.ReLU(), nn.Linear(hidden, outputs))
