"""Two layers, trained by gradients."""

from __future__ import annotations

from dataclasses import dataclass
from typing import Annotated, ClassVar

import torch.nn.functional as F
from pydantic import Field
from torch import Tensor, nn

from mmx.transfer.base import TargetKind
from mmx.transfer.heads.base import Head


class MlpHead(nn.Module):
    """ŷ = V dropout(relu(W n(x) + b)) + c; n is a BatchNorm without scale and shift, or absent.

    Args:
        width: D.
        outputs: C.
        hidden: Units of the hidden layer.
        dropout: Probability that a hidden unit is dropped in training.
        normalize: Whether x is normalised.

    Attributes:
        norm: n, or None.
    """

    def __init__(
        self, width: int, outputs: int, *, hidden: int, dropout: float, normalize: bool
    ) -> None:
        super().__init__()
        self.norm = nn.BatchNorm1d(width, affine=False) if normalize else None
        self.hidden = nn.Linear(width, hidden)
        self.out = nn.Linear(hidden, outputs)
        self.dropout = dropout

    @property
    def layers(self) -> tuple[nn.Linear, ...]:
        """The linear layers, first to last."""
        return self.hidden, self.out

    def forward(self, x: Tensor) -> Tensor:
        """Return ``(B, C)`` for ``(B, D)``."""
        x = F.relu(self.hidden(x if self.norm is None else self.norm(x)))
        # functional: the rate is an attribute, read by training many heads at once
        outputs: Tensor = self.out(F.dropout(x, self.dropout, self.training))
        return outputs


@dataclass(frozen=True, kw_only=True)
class Mlp(Head):
    """A hidden layer of ReLU units and a linear layer, trained by gradients.

    Use it when a linear head underfits: when the features hold the classes, but not in a form that
    a linear boundary can separate.

    Args:
        width: Units of the hidden layer.
        dropout: Probability that a hidden unit is dropped in a training step.
        normalize: Whether features are normalised first, as for ``linear``.
    """

    width: Annotated[int, Field(ge=1, le=65_536)] = 256
    dropout: Annotated[float, Field(ge=0, lt=1)] = 0.0
    normalize: bool = False
    batched: ClassVar[bool] = True

    def make(self, width: int, outputs: int, kind: TargetKind) -> nn.Module:
        """Return fresh layers; see :class:`~mmx.transfer.heads.base.Head`."""
        return MlpHead(
            width, outputs, hidden=self.width, dropout=self.dropout, normalize=self.normalize
        )
