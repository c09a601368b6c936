"""Heads of a feature transfer: modules that turn cached, fused features into outputs.

    module = head.make(width, outputs, kind)      # (B, D) to (B, C)

``linear`` and ``mlp`` are trained by gradients. ``knn``, ``logistic`` and ``closed_form`` are
fitted: ``head.candidates(x, y, outputs, kind)`` yields a state of the module for each value
of a grid, and validation chooses one of them.
"""

from typing import TYPE_CHECKING, Literal, TypeAlias

from mmx.transfer.heads.base import FittedHead, Head, HeadCandidate
from mmx.variants import find_variants

HEADS: dict[str, type[Head]] = find_variants("mmx.transfer.heads", Head)
"""The heads of this folder, by the names of their files."""
if TYPE_CHECKING:
    HeadName: TypeAlias = str
else:
    HeadName = Literal[tuple(HEADS)]

__all__ = ["HEADS", "FittedHead", "Head", "HeadCandidate", "HeadName"]
