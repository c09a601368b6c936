"""One layer, trained by gradients."""

from __future__ import annotations

from dataclasses import dataclass
from typing import ClassVar

from torch import Tensor, nn

from mmx.transfer.base import TargetKind
from mmx.transfer.heads.base import Head


class LinearHead(nn.Linear):
    """ŷ = W x + b, or ŷ = W n(x) + b with a BatchNorm n without scale and shift.

    Args:
        width: D.
        outputs: C.
        normalize: Whether x is normalised.

    Attributes:
        norm: n, or None.
        layers: The linear layers, first to last.
        dropout: Dropout probability of hidden units; 0, since there are none.
    """

    dropout = 0.0

    def __init__(self, width: int, outputs: int, *, normalize: bool) -> None:
        super().__init__(width, outputs)
        # No scale and shift: the linear layer after it has both.
        self.norm = nn.BatchNorm1d(width, affine=False) if normalize else None

    @property
    def layers(self) -> tuple[nn.Linear, ...]:
        """The linear layers, first to last."""
        return (self,)

    def forward(self, x: Tensor) -> Tensor:
        """Return ``(B, C)`` for ``(B, D)``."""
        return super().forward(x if self.norm is None else self.norm(x))


@dataclass(frozen=True, kw_only=True)
class Linear(Head):
    """A linear layer, trained by gradients.

    The default. Use it when some encoders or the fusion train too, since a fitted head cannot;
    ``logistic`` is the quicker choice when the head is all that there is to fit.

    Args:
        normalize: Whether features are normalised first, by the batch in training and by
            running statistics in evaluation. With a weight decay of 0 this is the linear
            probe of He et al. 2022, appendix A.1, arXiv 2111.06377.
    """

    normalize: bool = False
    batched: ClassVar[bool] = True

    def make(self, width: int, outputs: int, kind: TargetKind) -> nn.Module:
        """Return a fresh layer; see :class:`~mmx.transfer.heads.base.Head`."""
        return LinearHead(width, outputs, normalize=self.normalize)
