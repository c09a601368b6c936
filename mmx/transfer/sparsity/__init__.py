"""Sparsity patterns: which weights of a trained encoder are large enough to keep.

    masks = pattern.masks(layer, tensors)     # name to bool, True where a weight stays

A pattern looks at one layer at a time, so that every layer keeps the same part of itself.
"""

from typing import TYPE_CHECKING, Literal, TypeAlias

from mmx.transfer.sparsity.base import Pattern
from mmx.transfer.sparsity.layers import Layer, find_layers
from mmx.variants import find_variants

PATTERNS: dict[str, type[Pattern]] = find_variants("mmx.transfer.sparsity", Pattern)
"""Those of this folder, by the name of their file."""
if TYPE_CHECKING:
    PatternName: TypeAlias = str
else:
    PatternName = Literal[("none", *PATTERNS)]

__all__ = ["PATTERNS", "Layer", "Pattern", "PatternName", "find_layers"]
