"""Ensemble selection: decisions added one by one by their loss on validation rows."""

from __future__ import annotations

from typing import Annotated, Any

import torch
from pydantic import Field
from torch import Tensor

from mmx.fusion.base import Widths, stack_presence
from mmx.fusion.mixing import Combine, log_shares, mix, select
from mmx.fusion.modality_heads import UnimodalHeads, find_kinds, make_head, name_label_tensors
from mmx.modalities import Encoded, Features


class Ensemble(UnimodalHeads):
    """Averages decisions; the weights are counts of a greedy selection on validation rows.

        ŷ = Σ_k n_k ŷ_k / Σ_k n_k                          of logits
        ŷ = ln(Σ_k n_k softmax(ŷ_k) / Σ_k n_k)             of probabilities

    Use it when some modalities may harm the decision: those that are never selected have
    weight zero.

    The candidates are one head for each modality and a joint head over all pooled features,
    concatenated with zeros where absent. The heads train by the loss of their equally
    weighted mean. Then :meth:`settle` selects with replacement: every round adds the decision
    that gives the mean the lowest loss on the validation rows (cross-entropy of classes,
    binary cross-entropy of labels, mean squared error of numbers). Of equal decisions the
    first modality by name is taken, and the joint head last. The counts n of the best round
    are kept.

    In each row, the decisions of the modalities present and of the joint head count. A row
    without any selected decision averages all that it has. With a single modality there is
    no joint head, which would be the same again, and ŷ is the one decision.

    Args:
        widths: Modality to widths.
        outputs: C.
        hidden: Width of a ReLU layer in each head; None: heads are linear.
        joint: Whether there is a joint head.
        rounds: Maximum number of rounds; after r of them, weights are multiples of 1 / r.
        combine: Average the ``logits`` or, for classes only, the ``probabilities``.

    Reference: Caruana et al. 2004, Ensemble selection from libraries of models.
    """

    settles = True

    def __init__(
        self,
        widths: dict[str, Widths],
        *,
        outputs: int,
        hidden: Annotated[int, Field(ge=1, le=65_536)] | None = None,
        joint: bool = True,
        rounds: Annotated[int, Field(ge=1, le=100_000)] = 50,
        combine: Combine = "logits",
    ) -> None:
        super().__init__(widths, outputs=outputs, hidden=hidden)
        self.rounds = rounds
        self.combine: Combine = combine
        self.joint = None
        self.candidates = self.modalities
        if joint and len(widths) > 1:
            total = sum(width.pooled for width in widths.values())
            self.joint = make_head(total, hidden, outputs)
            self.candidates += ("joint",)
            # Class rows can be copied by name from another task, for this head as for the others.
            self.label_tensors += name_label_tensors("joint", hidden)
        self.counts: Tensor
        self.register_buffer("counts", torch.ones(len(self.candidates)))

    @classmethod
    def kinds(cls, **options: Any) -> frozenset[str]:
        """Return the kinds of target served: probabilities of a softmax need classes."""
        return find_kinds(**options)

    def decisions(self, features: dict[str, Features], present: dict[str, Tensor]) -> Tensor:
        """Return ``(B, K, C)`` decisions; the joint head's is the last."""
        unimodal = super().decisions(features, present)
        if self.joint is None:
            return unimodal
        joint: Tensor = self.joint(torch.cat(self.list_pooled(features, present), dim=1))
        return torch.cat([unimodal, joint[:, None]], dim=1)

    def mark_decisions(self, present: dict[str, Tensor]) -> Tensor:
        """Return ``(B, K)`` bool, True for the decisions that count; the joint one always does."""
        here = stack_presence(present, self.modalities)
        # Every row has a modality, so any() is True everywhere; it only gives the column its
        # device.
        return here if self.joint is None else torch.cat([here, here.any(1, keepdim=True)], dim=1)

    def forward(self, features: dict[str, Features], present: dict[str, Tensor]) -> Tensor:
        """Return ``(B, C)`` logits; see :class:`~mmx.fusion.base.Fusion`."""
        # Constant over the batch but for presence: weights of absent modalities go to those
        # present.
        shares = log_shares(self.counts, self.mark_decisions(present))  # (B, K)
        return mix(self.decisions(features, present), shares, self.combine)

    def settle(self, train: Encoded, val: Encoded, seed: int) -> tuple[str, ...]:
        """Select on ``val``; see :meth:`mmx.fusion.base.Fusion.settle`."""
        # Called once after training: the decisions are fixed, so only the counts are searched.
        counts = select(*self.collect_decisions(val), self.combine, self.rounds)
        self.counts.copy_(counts)  # in place: the buffer stays the one that is saved
        chosen = zip(self.candidates, counts.int().tolist(), strict=True)
        listed = ", ".join(f"{name} {count}×" for name, count in chosen)
        return (f"selected on {len(val)} validation rows: {listed}",)
