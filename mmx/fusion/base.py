"""The contract of every fusion method."""

from __future__ import annotations

from abc import ABC, abstractmethod
from dataclasses import dataclass
from typing import Any, ClassVar, Literal

import torch
from torch import Tensor, nn

from mmx.modalities import Features


@dataclass(frozen=True)
class Widths:
    """What a fusion must know of one modality's encoder.

    Attributes:
        pooled: D of the tokens and of the pooled vector.
        levels: Width of each exposed encoder stage, early to late.
    """

    pooled: int
    levels: tuple[int, ...] = ()


class Fusion(nn.Module, ABC):
    """Base of all fusion methods.

    The constructor takes ``widths`` (modality to :class:`Widths`) and, by keyword,
    ``outputs`` (C, the width of the model's output); what a config may set is
    keyword-only, plain and annotated, since the config is checked against it.

    Attributes:
        outputs: C; only decision-level methods make use of it.
        level: Where the modalities meet. At ``decision`` level, :meth:`forward` returns
            ``(B, C)`` logits and the model adds no head.
        width: D_out, the width of what :meth:`forward` returns.
        modalities: The modalities, sorted by name.
        label_tensors: Decision level only: names of the tensors with one row for each
            output, which a transfer may match by class name.
    """

    level: ClassVar[Literal["data", "feature", "token", "decision", "algorithm"]] = "feature"
    width: int
    label_tensors: tuple[str, ...] = ()

    def __init__(self, widths: dict[str, Widths], *, outputs: int) -> None:
        super().__init__()
        self.modalities = tuple(sorted(widths))
        self.outputs = outputs

    def pooled(self, features: dict[str, Features], present: dict[str, Tensor]) -> list[Tensor]:
        """Return each modality's ``(B, D_m)`` pooled vectors, by name; zeros where absent."""
        return [zero_absent(features[name].pooled, present[name]) for name in self.modalities]

    @classmethod
    def kinds(cls, **_options: Any) -> frozenset[str]:
        """Return the kinds of target that the method serves with these options."""
        return frozenset({"classes", "multilabel", "regression"})

    @abstractmethod
    def forward(self, features: dict[str, Features], present: dict[str, Tensor]) -> Tensor:
        """Fuse a batch.

        Args:
            features: Modality to features, all of the same B; rows of an absent modality
                may hold anything.
            present: Modality to ``(B,)`` bool.

        Returns:
            ``(B, D_out)``; at decision level ``(B, C)`` logits.
        """


def zero_absent(x: Tensor, present: Tensor) -> Tensor:
    """Return ``x`` ``(B, D)`` with zeros in the rows where ``present`` ``(B,)`` is False.

    The rows are replaced, not multiplied by zero, which would keep NaN and infinity.
    """
    return x.masked_fill(~present[:, None], 0.0)


def presence(present: dict[str, Tensor], modalities: tuple[str, ...]) -> Tensor:
    """Return ``(B, M)`` bool, which of the modalities each row has."""
    return torch.stack([present[name] for name in modalities], dim=1)
