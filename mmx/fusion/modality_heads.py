"""The base of decision-level methods: one head for each modality."""

from __future__ import annotations

from typing import Any, ClassVar, Literal

import torch
from torch import Tensor, nn

from mmx.fusion.base import Fusion, Widths, stack_presence
from mmx.fusion.mixing import move_rows
from mmx.modalities import Encoded, Features


class UnimodalHeads(Fusion):
    """Base of the decision-level methods: ŷ_m = head_m(x_m), from the pooled features.

    Args:
        widths: Modality to widths.
        outputs: C.
        hidden: Width of a ReLU layer in each head; None: heads are linear.
    """

    level: ClassVar[Literal["decision"]] = "decision"
    width_option = "hidden"

    def __init__(self, widths: dict[str, Widths], *, outputs: int, hidden: int | None) -> None:
        super().__init__(widths, outputs=outputs)
        self.width = outputs
        self.heads = nn.ModuleDict(
            {name: make_head(widths[name].pooled, hidden, outputs) for name in self.modalities}
        )
        self.label_tensors = tuple(
            tensor
            for name in self.modalities
            for tensor in name_label_tensors(f"heads.{name}", hidden)
        )

    def decisions(self, features: dict[str, Features], present: dict[str, Tensor]) -> Tensor:
        """Return ``(B, M, C)`` decisions; those of absent modalities are finite but meaningless."""
        pooled = self.list_pooled(features, present)
        return torch.stack(
            [self.heads[name](x) for name, x in zip(self.modalities, pooled, strict=True)], dim=1
        )

    def collect_decisions(self, rows: Encoded) -> tuple[Tensor, Tensor, Tensor]:
        """Return what weights are fitted on, on the CPU in float64.

        Returns:
            ``(N, K, C)`` decisions, ``(N, K)`` bool that is True where they count, and the
            target.
        """
        like = next(self.parameters())
        features, present = move_rows(rows, like)
        with torch.no_grad():
            decisions = self.decisions(features, present)
        available = self.mark_decisions(present)
        target = rows.target.cpu()
        return decisions.double().cpu(), available.cpu(), target

    def mark_decisions(self, present: dict[str, Tensor]) -> Tensor:
        """Return ``(B, K)`` bool, True for the decisions that count: one for each modality."""
        return stack_presence(present, self.modalities)


def make_head(width: int, hidden: int | None, outputs: int) -> nn.Module:
    """Return a linear head, or one with a ReLU layer of ``hidden`` before it."""
    if hidden is None:
        return nn.Linear(width, outputs)
    return nn.Sequential(nn.Linear(width, hidden), nn.ReLU(), nn.Linear(hidden, outputs))


def name_label_tensors(name: str, hidden: int | None) -> tuple[str, str]:
    """Return the names of the tensors of head ``name`` that have one row for each output."""
    # With a hidden layer the head is Sequential(0: linear, 1: ReLU, 2: linear).
    last = name if hidden is None else f"{name}.2"
    return f"{last}.weight", f"{last}.bias"


def find_kinds(**options: Any) -> frozenset[str]:
    """Return the kinds of target that a mean serves: softmax probabilities need classes."""
    if options.get("combine") == "probabilities":
        return frozenset({"classes"})
    return Fusion.kinds()
