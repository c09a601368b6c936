"""One layer, trained by gradients."""

from __future__ import annotations

from dataclasses import dataclass
from typing import ClassVar

from torch import Tensor, nn

from mmx.transfer.base import TargetKind
from mmx.transfer.heads.base import Head


class LinearHead(nn.Linear):
    """ŷ = W x + b, or ŷ = W n(x) + b with a BatchNorm n that has no scale and shift.

    Args:
        width: D.
        outputs: C.
        normalize: Whether x is normalised.

    Attributes:
        norm: n; None without.
        layers: The linear layers, first to last.
        dropout: Chance of a hidden unit to be dropped in training: there is none.
    """

    dropout = 0.0

    def __init__(self, width: int, outputs: int, *, normalize: bool) -> None:
        super().__init__(width, outputs)
        self.norm = nn.BatchNorm1d(width, affine=False) if normalize else None

    @property
    def layers(self) -> tuple[nn.Linear, ...]:
        """The linear layers, first to last."""
        return (self,)

    def forward(self, x: Tensor) -> Tensor:
        """Return ``(B, C)`` of ``(B, D)``."""
        return super().forward(x if self.norm is None else self.norm(x))


@dataclass(frozen=True, kw_only=True)
class Linear(Head):
    """A linear layer, trained by gradients.

    Args:
        normalize: Whether features are normalised before it, by the batch in training and by
            running statistics in evaluation. With a weight decay of 0 this is the linear
            probe of He et al. 2022, appendix A.1, arXiv 2111.06377.
    """

    normalize: bool = False
    batched: ClassVar[bool] = True

    def make(self, width: int, outputs: int, kind: TargetKind) -> nn.Module:
        """Return the layer, fresh; see :class:`~mmx.transfer.heads.base.Head`."""
        return LinearHead(width, outputs, normalize=self.normalize)
