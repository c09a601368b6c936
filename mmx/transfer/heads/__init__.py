"""Heads of a feature transfer: what turns cached, fused features into outputs.

    module = head.make(width, outputs, kind)      # (B, D) to (B, C)

``linear`` and ``mlp`` are trained by gradients. ``knn``, ``logistic`` and ``closed_form`` are
fitted: ``head.candidates(x, y, outputs, kind)`` yields a state of the module for each value
of a grid, and validation chooses among them.
"""

from mmx.transfer.heads.base import Candidate, FittedHead, Head
from mmx.transfer.heads.closed_form import ClosedForm
from mmx.transfer.heads.knn import Knn
from mmx.transfer.heads.linear import Linear
from mmx.transfer.heads.logistic import Logistic
from mmx.transfer.heads.mlp import Mlp

HEADS: dict[str, type[Head]] = {
    "linear": Linear,
    "mlp": Mlp,
    "knn": Knn,
    "logistic": Logistic,
    "closed_form": ClosedForm,
}

__all__ = ["HEADS", "Candidate", "FittedHead", "Head"]
